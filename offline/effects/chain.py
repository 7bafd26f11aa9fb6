"""A chain of effects as settings: what a preset says, checked. Light: nothing here makes sound."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Hz = Annotated[float, Field(ge=10.0, le=24_000.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Feedback = Annotated[float, Field(ge=-0.98, le=0.98)]
Slow = Annotated[float, Field(ge=0.01, le=50.0)]  # Hz, of what swings
Threshold = Annotated[float, Field(ge=-100.0, le=0.0)]  # dBFS
Ratio = Annotated[float, Field(ge=1.0, le=100.0)]
Ms = Annotated[float, Field(ge=0.1, le=5_000.0)]
Boost = Annotated[float, Field(ge=-40.0, le=40.0)]  # dB
Q = Annotated[float, Field(ge=0.05, le=50.0)]


class Effect(BaseModel):
    """One effect and its settings. `kind` says which; what is left out has the value named here."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Gain(Effect):
    """Louder or quieter."""

    kind: Literal["gain"] = "gain"
    gain_db: float = Field(default=0.0, ge=-80.0, le=60.0)


class HighPass(Effect):
    """Takes away what is lower: Butterworth, `slope` dB an octave."""

    kind: Literal["high-pass"] = "high-pass"
    hz: Hz = 80.0
    slope: Literal[6, 12, 24] = 12


class LowPass(Effect):
    """Takes away what is higher: Butterworth, `slope` dB an octave."""

    kind: Literal["low-pass"] = "low-pass"
    hz: Hz = 16_000.0
    slope: Literal[6, 12, 24] = 12


class Peak(Effect):
    """Raises or lowers what lies around a frequency."""

    kind: Literal["peak"] = "peak"
    hz: Hz = 1_000.0
    gain_db: Boost = 0.0
    q: Q = 0.71


class LowShelf(Effect):
    """Raises or lowers everything below a frequency."""

    kind: Literal["low-shelf"] = "low-shelf"
    hz: Hz = 150.0
    gain_db: Boost = 0.0
    q: Q = 0.71


class HighShelf(Effect):
    """Raises or lowers everything above a frequency."""

    kind: Literal["high-shelf"] = "high-shelf"
    hz: Hz = 6_000.0
    gain_db: Boost = 0.0
    q: Q = 0.71


Filter = Annotated[
    HighPass | LowPass | Peak | LowShelf | HighShelf,
    Field(discriminator="kind"),
]


class Clipping(Effect):
    """Cuts off what is louder."""

    kind: Literal["clipping"] = "clipping"
    threshold_db: Threshold = -6.0


class Limiter(Effect):
    """Keeps the true peak under a ceiling, looking ahead; no make-up gain."""

    kind: Literal["limiter"] = "limiter"
    ceiling_db: float = Field(default=-1.0, ge=-40.0, le=0.0)  # dBTP
    release_ms: Ms = 100.0


class PitchShift(Effect):
    """Higher or lower at the same tempo, the resonances of a voice kept or moved along."""

    kind: Literal["pitch-shift"] = "pitch-shift"
    semitones: float = Field(default=0.0, ge=-24.0, le=24.0)
    keep_formants: bool = False


class Chorus(Effect):
    """A second voice whose delay swings."""

    kind: Literal["chorus"] = "chorus"
    rate_hz: Slow = 1.0
    depth: Share = 0.25
    centre_delay_ms: float = Field(default=7.0, ge=1.0, le=99.0)
    feedback: Feedback = 0.0
    mix: Share = 0.5


class Phaser(Effect):
    """Notches that wander through the spectrum."""

    kind: Literal["phaser"] = "phaser"
    rate_hz: Slow = 1.0
    depth: Share = 0.5
    centre_hz: Hz = 1_300.0
    feedback: Feedback = 0.0
    mix: Share = 0.5


class Distortion(Effect):
    """Overdrive: the hyperbolic tangent of the louder sound."""

    kind: Literal["distortion"] = "distortion"
    drive_db: float = Field(default=25.0, ge=0.0, le=80.0)


class Compressor(Effect):
    """Makes loud passages quieter."""

    kind: Literal["compressor"] = "compressor"
    threshold_db: Threshold = -20.0
    ratio: Ratio = 4.0
    attack_ms: Ms = 1.0
    release_ms: Ms = 100.0


class NoiseGate(Effect):
    """Makes quiet passages quieter."""

    kind: Literal["noise-gate"] = "noise-gate"
    threshold_db: Threshold = -60.0
    ratio: Ratio = 10.0
    attack_ms: Ms = 1.0
    release_ms: Ms = 100.0


class Ladder(Effect):
    """The filter of an old synthesizer, which can sing and be overdriven."""

    kind: Literal["ladder"] = "ladder"
    mode: Literal["LPF12", "HPF12", "BPF12", "LPF24", "HPF24", "BPF24"] = "LPF12"
    hz: Hz = 1_000.0
    resonance: Share = 0.0
    drive: float = Field(default=1.0, ge=1.0, le=100.0)


class Convolution(Effect):
    """The sound of a room or a loudspeaker, from a recording of its answer to a click.

    The recording's energy is brought to 1: however loud it is, it changes the tone only.
    """

    kind: Literal["convolution"] = "convolution"
    impulse: Path  # an audio file; relative to the preset's folder
    mix: Share = 0.5


class Delay(Effect):
    """Echoes."""

    kind: Literal["delay"] = "delay"
    delay_ms: float = Field(default=350.0, ge=1.0, le=10_000.0)
    feedback: float = Field(default=0.3, ge=0.0, le=0.95)
    mix: Share = 0.25


class Reverb(Effect):
    """A room."""

    kind: Literal["reverb"] = "reverb"
    room: Share = 0.5
    damping: Share = 0.5
    wet: Share = 0.33
    dry: Share = 0.4
    width: Share = 1.0


class Gsm(Effect):
    """A mobile telephone of the 1990s: GSM full rate, 8 kHz."""

    kind: Literal["gsm"] = "gsm"


class Mp3(Effect):
    """What an MP3 encoder takes away; a higher figure takes more."""

    kind: Literal["mp3"] = "mp3"
    vbr_quality: float = Field(default=6.0, ge=0.0, le=9.9)


class Resample(Effect):
    """The sound of a low sampling rate, with images (`hold`, `linear`) or without (`sinc`)."""

    kind: Literal["resample"] = "resample"
    rate_hz: float = Field(default=8_000.0, ge=500.0, le=48_000.0)
    quality: Literal["hold", "linear", "sinc"] = "sinc"


class Bitcrush(Effect):
    """Few bits a sample."""

    kind: Literal["bitcrush"] = "bitcrush"
    bits: float = Field(default=8.0, ge=1.0, le=32.0)


Own = Gain | HighPass | LowPass | Peak | LowShelf | HighShelf | Clipping | Limiter | PitchShift
"""The effects made here."""

Board = (
    Chorus
    | Phaser
    | Distortion
    | Compressor
    | NoiseGate
    | Ladder
    | Convolution
    | Delay
    | Reverb
    | Gsm
    | Mp3
    | Resample
    | Bitcrush
)
"""The effects that the package pedalboard makes."""


class Chain(BaseModel):
    """Effects one after the other."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: Literal[1] = 1
    title: str = Field(default="", max_length=200)
    stereo: bool = False  # make two channels of one first, as a wide room needs
    effects: tuple[Annotated[Own | Board, Field(discriminator="kind")], ...] = Field(min_length=1)

    def files(self) -> tuple[Path, ...]:
        """The files that it hears besides the music."""
        return tuple(e.impulse for e in self.effects if isinstance(e, Convolution))
