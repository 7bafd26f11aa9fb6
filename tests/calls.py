"""A fake conversion and a whole conversation without sockets, for tests of the server."""

import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from server.auth import Gate
from server.call import Call
from server.config import Limits, ServerConfig
from server.failures import TRY_LATER, Refused
from server.line import Job, Opened, Outcome, Turn
from server.pcm import decode
from server.protocol import (
    AudioFrame,
    ClientMessage,
    Encoding,
    Flag,
    ServerMessage,
    Start,
    server_message,
)
from server.resume import Ticket, Tickets
from server.session import attempt
from server.warm import Warm
from stream.audio import Audio
from stream.controls import Controls
from stream.errors import ConfigError, HostileFile, VoiceNotFound
from stream.ladder import STEPS, Step, eased
from stream.profiles import Profile, ProfileName

RATE = 8_000
START = Start(voice="ada", sample_rate=RATE, encoding="f32le")


HOPS: dict[ProfileName, int] = {"low": 1, "balanced": 2, "quality": 4}


@dataclass(frozen=True)
class Hopping(Profile):
    """A profile that knows its samples."""

    hop: int = 0


class FakeConversion:
    """Turns the sign of every sample, `latency` samples late. Obeys the laws of `Conversion`.

    raising  raises at the hops numbered so
    seconds  of real time that a step takes
    """

    def __init__(
        self, hop: int = 160, lag: int = 80, raising: set[int] | None = None, seconds: float = 0.0
    ) -> None:
        self.hop = hop
        self.latency = hop + lag
        self.controls = Controls()
        self.bypass = False
        self.voice: Any = None
        self.profiles = {name: Hopping(name, n, hop=n * hop) for name, n in HOPS.items()}
        self.profile = self.profiles["low"]
        self.blocks: list[int] = []
        self.resets = 0
        self._lag = lag
        self._raising = raising or set()
        self._seconds = seconds
        self._inside: Audio = np.zeros(0, np.float32)

    def step(self, block: Audio) -> Audio:
        self.blocks.append(len(block))
        if self._seconds:
            time.sleep(self._seconds)
        if len(self.blocks) - 1 in self._raising:
            raise RuntimeError("the graphics card is on fire")
        self._inside = np.concatenate([self._inside, block if self.bypass else -block])
        ready = max(0, len(self._inside) - self._lag)
        out, self._inside = self._inside[:ready], self._inside[ready:]
        return out

    def flush(self) -> Audio:
        out = self._inside
        self._inside = out[:0]
        return out

    def reset(self) -> None:
        self.resets += 1
        self._inside = np.zeros(0, np.float32)

    def change_voice(self, voice: Any) -> None:
        if voice == "slow":
            raise ConfigError("Voice 'slow' has another latency. Start a new stream to use it.")
        self.voice = voice

    def change_profile(self, profile: Hopping) -> None:
        self.latency += profile.hop - self.hop
        self.hop = profile.hop
        self.profile = profile


class FakeVoices:
    """Knows the voices ada, ben and slow."""

    NAMES = ("ada", "ben", "slow")

    def __init__(
        self, make: Callable[[], FakeConversion] = FakeConversion, hop_seconds: float = 0.0
    ) -> None:
        self.make = make
        self.hop_seconds = hop_seconds
        self.opened: list[FakeConversion] = []
        self.added: list[tuple[str | None, list[tuple[str, bytes]]]] = []
        self.removed: list[str] = []

    def open(self, start: Start, device: str, step: Step = STEPS[0]) -> Opened:
        self.load(start.voice, device)
        made = self.make()
        given = made.profile
        made.change_profile(eased(given, made.profiles, step))  # type: ignore[arg-type]
        self.opened.append(made)
        return Opened(made, "FakeProvider", given.name, "", self.hop_seconds, step)

    def load(self, voice: str, device: str = "cpu") -> str:
        del device
        if voice not in self.NAMES:
            raise VoiceNotFound(voice, self.NAMES)
        return voice

    def warm(self) -> Warm:
        return Warm({"cpu": "FakeProvider"}, {"low": 30.0})

    def measure(self) -> None:
        pass

    def cards(self) -> list[dict[str, Any]]:
        return [{"name": name} for name in self.NAMES]

    def preview(self, voice: str) -> Path | None:
        self.load(voice)
        return None

    def add(self, files: Sequence[Path], name: str | None, index: Path | None) -> dict[str, Any]:
        if name in self.NAMES:
            raise ConfigError(f"There is a voice '{name}' already.")
        held = [(path.name, path.read_bytes()) for path in [*files, *([index] if index else [])]]
        if any(data.startswith(b"evil") or not data for _, data in held):
            raise HostileFile(files[0], "it is evil")
        self.added.append((name, held))
        return {"voice": {"name": name or files[0].stem}, "missing": ""}

    def remove(self, voice: str) -> None:
        self.load(voice)
        self.removed.append(voice)

    def close(self) -> None:
        pass


class FakeRoom:
    """A device that does everything at once, and lets in while `room` is left."""

    device = "cpu"

    def __init__(self) -> None:
        self.step = STEPS[0]
        self.refuses = False
        self.promised = False
        self.turns: deque[Turn] = deque(maxlen=500)

    def let_in(self, kind: Hashable, seconds: float, hop_s: float) -> None:
        del seconds, hop_s
        if self.refuses:
            raise Refused("overloaded", "This machine is busy.", close=TRY_LATER)
        self.promised = True

    def leave(self) -> None:
        self.promised = False

    def submit(self, job: Job) -> "Future[Outcome]":
        future: Future[Outcome] = Future()
        if job.turn is not None:
            self.turns.append(job.turn)
        future.set_result(attempt(job.work))
        return future


@dataclass
class Talk:
    """A `Call`, driven: every job is run at once, and takes `compute` seconds of `now`."""

    voices: FakeVoices = field(default_factory=FakeVoices)
    limits: Limits = field(default_factory=Limits)
    token: str | None = None
    tickets: "Tickets[Talk] | None" = None
    encoding: Encoding = "f32le"
    compute: float = 0.0
    now: float = 1000.0
    messages: list[ServerMessage] = field(default_factory=list)
    frames: list[AudioFrame] = field(default_factory=list)
    position: int = 0
    seq: int = 0

    def __post_init__(self) -> None:
        gate = Gate(ServerConfig(token=self.token))

        def admit(start: Start) -> None:
            gate.check(start.token, "127.0.0.1", self.now)

        self.room = FakeRoom()
        self.ticket = Ticket(self.tickets) if self.tickets is not None else None
        if self.ticket:
            self.ticket.stream = self
        self.call = Call(
            "s1",
            self.voices,
            self.room,
            self.limits,
            self.now,
            admit=admit,
            ticket=self.ticket,
        )

    def claim(self, start: Start) -> bool:
        """As `server.session.Session` does."""
        return self.call.fits(start) and self.call.park(self.now)

    @property
    def conversion(self) -> FakeConversion:
        return self.voices.opened[-1]

    def tell(self, *messages: ClientMessage | str | bytes) -> list[ServerMessage]:
        """Send messages or raw frames, do all there is to do; returns the new answers."""
        before = len(self.messages)
        for message in messages:
            frame = message if isinstance(message, (str, bytes)) else message.model_dump_json()
            self.call.receive(frame, self.now)
            self.settle()
        return self.messages[before:]

    def say(self, samples: Audio | int, position: int | None = None) -> list[ServerMessage]:
        """Send f32le audio (a count: that many halves), where the last ended or at `position`."""
        audio = np.full(samples, 0.5, np.float32) if isinstance(samples, int) else samples
        start = self.position if position is None else position
        frame = AudioFrame(self.seq, start, audio.astype("<f4").tobytes()).pack()
        self.seq, self.position = self.seq + 1, start + len(audio)
        return self.tell(frame)

    def settle(self) -> None:
        """Run jobs until there are none, and take what is to be sent."""
        while (job := self.call.next_load()) is not None:
            self.call.settle_load(job, attempt(job.work), self.now)
        while (job := self.call.next_hop(self.now)) is not None:
            outcome = self.call.submit(job).result()
            self.now += self.compute
            self.call.settle_hop(job, outcome._replace(seconds=self.compute), self.now)
            self.take()
        self.take()

    def take(self) -> None:
        """What is to be sent is sent."""
        while self.call.outbox:
            frame = self.call.outbox.take(self.now)
            self.call.outbox.sent()
            if isinstance(frame, str):
                self.messages.append(server_message.validate_json(frame))
            else:
                self.frames.append(AudioFrame.unpack(bytes(frame)))

    def wait(self, seconds: float, step: float = 0.25) -> list[ServerMessage]:
        """Let time pass."""
        before = len(self.messages)
        for _ in range(round(seconds / step)):
            self.now += step
            self.call.tick(self.now)
            self.settle()
        return self.messages[before:]

    def heard(self) -> Audio:
        """All samples that came back, put where they belong; where none came, NaN."""
        end = max(f.position + f.samples(self.encoding) for f in self.frames)
        out = np.full(end - self.frames[0].position, np.nan, np.float32)
        for frame in self.frames:
            at = frame.position - self.frames[0].position
            samples = decode(frame.pcm, self.encoding)
            assert np.isnan(out[at : at + len(samples)]).all(), "two answers for one sample"
            out[at : at + len(samples)] = samples
        return out

    def flagged(self, flag: Flag) -> int:
        """How many samples came back in frames with `flag`."""
        return sum(f.samples(self.encoding) for f in self.frames if flag in f.flags)
