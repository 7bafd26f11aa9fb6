"""The wire protocol, version 1. Text frames are JSON messages; binary frames are audio.

`PROTOCOL.md` tells it as prose; a test keeps both in step. This module is a leaf: it loads
pydantic and the standard library, so that a client needs neither numpy nor a model runtime.
"""

import struct
from enum import IntFlag
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

VERSION: Final = 1
SUBPROTOCOL: Final = "timbral.v1"
PATH: Final = "/v1/stream"
MAX_TEXT: Final = 16 * 1024  # bytes a text frame
MAX_AUDIO: Final = 256 * 1024  # bytes a binary frame, header included
MAX_POSITION: Final = 2**63 - 1  # the last sample of any frame lies before it

Rate = Literal[8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000]
Encoding = Literal["s16le", "f32le"]
ProfileName = Literal["auto", "low", "balanced", "quality", "relaxed"]
F0Method = Literal[
    "swift", "harmonic", "crepe-tiny", "crepe-full", "rmvpe", "fcpe", "pm", "harvest", "dio"
]
F0Blend = Literal["median", "mean", "min", "max"]
Scale = Literal["chromatic", "major", "minor"]
ErrorCode = Literal[
    "bad_message",
    "unsupported",
    "unauthorized",
    "voice_not_found",
    "overloaded",
    "too_slow",
    "idle",
    "internal",
]
SAMPLE_BYTES: Final[dict[str, int]] = {"s16le": 2, "f32le": 4}
VoiceName = Annotated[str, Field(min_length=1, max_length=64)]


class Message(BaseModel):
    """What both sides send as text: exactly these fields, of exactly these types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ControlValues(Message):
    """Any subset of the controls; what is absent or null stays as it is."""

    pitch: float | None = Field(default=None, ge=-24.0, le=24.0, description="semitones")
    auto_pitch: bool | None = None
    formant: float | None = Field(default=None, ge=-6.0, le=6.0, description="semitones")
    index_rate: float | None = Field(default=None, ge=0.0, le=1.0)
    protect: float | None = Field(default=None, ge=0.0, le=0.5)
    f0_methods: tuple[F0Method, ...] | None = Field(default=None, min_length=1, max_length=4)
    f0_blend: F0Blend | None = None
    f0_min_hz: float | None = Field(default=None, ge=50.0, le=550.0)
    f0_max_hz: float | None = Field(default=None, ge=200.0, le=1100.0)
    autotune: float | None = Field(default=None, ge=0.0, le=1.0)
    autotune_scale: Scale | None = None
    autotune_key: int | None = Field(default=None, ge=0, le=11)
    loudness: float | None = Field(default=None, ge=0.0, le=1.0)
    speaker: int | None = Field(default=None, ge=0)
    speaker_b: int | None = Field(default=None, ge=0)
    morph: float | None = Field(default=None, ge=0.0, le=1.0)
    gate_db: float | None = Field(default=None, ge=-90.0, le=0.0, description="dBFS")
    input_gain_db: float | None = Field(default=None, ge=-30.0, le=30.0)
    output_gain_db: float | None = Field(default=None, ge=-30.0, le=30.0)


class Start(Message):
    """Client, first message: open a stream."""

    type: Literal["start"] = "start"
    version: Literal[1] = VERSION
    voice: VoiceName
    sample_rate: Rate = 48_000
    encoding: Encoding = "s16le"
    profile: ProfileName = "auto"
    controls: ControlValues = ControlValues()
    token: str | None = Field(default=None, max_length=512)
    resume: str | None = Field(default=None, max_length=64)


class SetControls(ControlValues):
    """Client: change controls from the next hop on."""

    type: Literal["controls"] = "controls"


class SetVoice(Message):
    """Client: go on in another voice."""

    type: Literal["voice"] = "voice"
    voice: VoiceName


class Bypass(Message):
    """Client: `on` asks for the raw voice, equally delayed."""

    type: Literal["bypass"] = "bypass"
    on: bool


class Ping(Message):
    """Client: is anybody there; `t` is any number, by custom the client's clock."""

    type: Literal["ping"] = "ping"
    t: float


class Stop(Message):
    """Client: no more audio; the server sends the rest, `stopped`, and closes."""

    type: Literal["stop"] = "stop"


class Ready(Message):
    """Server, answer to `start`: send audio."""

    type: Literal["ready"] = "ready"
    session: str
    version: Literal[1] = VERSION
    voice: str
    sample_rate: Rate
    encoding: Encoding
    hop_samples: int
    latency_samples: int
    provider: str
    profile: str
    why: str
    resume: str = ""
    resumed: bool = False
    position: int = 0


class ControlsNow(Message):
    """Server: all controls as they are now in force."""

    type: Literal["controls"] = "controls"
    pitch: float
    auto_pitch: bool
    formant: float
    index_rate: float
    protect: float
    f0_methods: tuple[F0Method, ...]
    f0_blend: F0Blend
    f0_min_hz: float
    f0_max_hz: float
    autotune: float
    autotune_scale: Scale
    autotune_key: int
    loudness: float
    speaker: int
    speaker_b: int
    morph: float
    gate_db: float
    input_gain_db: float
    output_gain_db: float


class VoiceNow(Message):
    """Server: the voice that speaks from now on."""

    type: Literal["voice"] = "voice"
    voice: str


class Percentiles(Message):
    """Milliseconds that 50, 95 and 99 % of the hops stay within."""

    p50: float
    p95: float
    p99: float


class Stats(Message):
    """Server, once a second and once before `stopped`."""

    profile: str
    type: Literal["stats"] = "stats"
    compute_ms: Percentiles
    queue_ms: float
    deadline_misses: int
    underruns: int
    latency_samples: int
    rtf: float
    eased: str = ""


class Pong(Message):
    """Server, answer to `ping`."""

    type: Literal["pong"] = "pong"
    t: float


class Failure(Message):
    """Server: something was refused. `fatal` means that the connection closes next."""

    type: Literal["error"] = "error"
    code: ErrorCode
    message: str
    fatal: bool
    retry_s: float = 0.0


class Stopped(Message):
    """Server, after the last sample: how many samples came in and went out."""

    type: Literal["stopped"] = "stopped"
    samples_in: int
    samples_out: int


ClientMessage = Start | SetControls | SetVoice | Bypass | Ping | Stop
ServerMessage = Ready | ControlsNow | VoiceNow | Stats | Pong | Failure | Stopped
client_message: TypeAdapter[ClientMessage] = TypeAdapter(
    Annotated[ClientMessage, Field(discriminator="type")]
)
server_message: TypeAdapter[ServerMessage] = TypeAdapter(
    Annotated[ServerMessage, Field(discriminator="type")]
)


class Flag(IntFlag):
    """What a frame's `flags` may say."""

    CONCEALED = 1  # an echo, then silence, for audio that was too late or not converted
    SILENCE = 2  # every sample is zero
    GAP = 4  # first frame after a jump of `position`


HEADER = struct.Struct("<BBHIQ")
KIND_AUDIO: Final = 1
_FLAGS: Final = int(Flag.CONCEALED | Flag.SILENCE | Flag.GAP)


class BadFrame(ValueError):
    """Raised when a binary frame is not an audio frame of this protocol."""


class AudioFrame(NamedTuple):
    """Binary frame: a 16-byte header, little endian, then mono samples.

    seq       counts the frames of one direction from 0, modulo 2**32
    position  of the first sample, on the stream's clock, in samples at the client's rate
    """

    seq: int
    position: int
    pcm: bytes | memoryview
    flags: Flag = Flag(0)

    def pack(self) -> bytes:
        """The frame as sent."""
        return HEADER.pack(KIND_AUDIO, self.flags, 0, self.seq, self.position) + self.pcm

    @classmethod
    def unpack(cls, data: bytes) -> "AudioFrame":
        """Read a frame; `pcm` is a view into `data`. Raises `BadFrame`, whatever the bytes."""
        if len(data) < HEADER.size:
            raise BadFrame(
                f"a frame of {len(data)} bytes is shorter than its {HEADER.size}-byte header"
            )
        kind, flags, reserved, seq, position = HEADER.unpack_from(data)
        if kind != KIND_AUDIO:
            raise BadFrame(f"frame kind {kind} is unknown; audio is kind {KIND_AUDIO}")
        if reserved or flags & ~_FLAGS:
            raise BadFrame("reserved bits of the frame's header must be 0")
        return cls(seq, position, memoryview(data)[HEADER.size :], Flag(flags))

    def samples(self, encoding: Encoding) -> int:
        """The number of samples of `pcm`. Raises `BadFrame` for none, a part, or a far position."""
        count, rest = divmod(len(self.pcm), SAMPLE_BYTES[encoding])
        if rest or not count:
            raise BadFrame(
                f"{len(self.pcm)} bytes of audio are no whole number of {encoding} samples above 0"
            )
        if self.position + count > MAX_POSITION:
            raise BadFrame(f"position {self.position} is too far")
        return count
