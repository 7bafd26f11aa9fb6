"""What a listener can change while speaking."""

from dataclasses import dataclass, fields
from typing import Literal, get_args

from stream.errors import ConfigError

F0Method = Literal[
    "swift", "harmonic", "crepe-tiny", "crepe-full", "rmvpe", "fcpe", "pm", "harvest", "dio"
]
F0Blend = Literal["median", "mean", "min", "max"]
Scale = Literal["chromatic", "major", "minor"]

F0_METHODS: tuple[F0Method, ...] = get_args(F0Method)
F0_BLENDS: tuple[F0Blend, ...] = get_args(F0Blend)
SCALES: tuple[Scale, ...] = get_args(Scale)
MOST_METHODS = 4  # that may be combined

LIMITS: dict[str, tuple[float, float]] = {
    "pitch": (-24.0, 24.0),
    "formant": (-6.0, 6.0),
    "index_rate": (0.0, 1.0),
    "protect": (0.0, 0.5),
    "f0_min_hz": (50.0, 550.0),
    "f0_max_hz": (200.0, 1100.0),
    "autotune": (0.0, 1.0),
    "loudness": (0.0, 1.0),
    "morph": (0.0, 1.0),
    "gate_db": (-90.0, 0.0),
    "input_gain_db": (-30.0, 30.0),
    "output_gain_db": (-30.0, 30.0),
}


@dataclass(frozen=True, kw_only=True)
class Controls:
    """One setting of all controls; replaced as a whole between two hops, never changed.

    Raises `ConfigError` when a value is outside its range.
    """

    pitch: float = 0.0  # semitones, fractions allowed, applied to the source's f0
    auto_pitch: bool = True  # first move the speaker's median f0 to the voice's own
    formant: float = 0.0  # semitones by which the resonances move, as if of a smaller (+) throat
    index_rate: float = 0.0  # 0 features as heard .. 1 features retrieved from the voice's index
    protect: float = 0.33  # 0.5 off; lower keeps unvoiced sounds nearer to the features as heard
    f0_methods: tuple[F0Method, ...] = ("swift",)  # several are combined by `f0_blend`
    f0_blend: F0Blend = "median"
    f0_min_hz: float = 50.0  # a pitch outside the range counts as unvoiced
    f0_max_hz: float = 1100.0
    autotune: float = 0.0  # 0 sung as heard .. 1 exactly on the notes of the scale
    autotune_scale: Scale = "chromatic"
    autotune_key: int = 0  # 0 C, 1 C sharp .. 11 B
    loudness: float = 0.0  # 0 the voice's own loudness .. 1 the speaker's, moment by moment
    speaker: int = 0  # for voices with several speakers
    speaker_b: int = 0  # the speaker to morph towards
    morph: float = 0.0  # 0 `speaker` .. 1 `speaker_b`
    gate_db: float = -60.0  # dBFS, input below this is silence; -90 turns the gate off
    input_gain_db: float = 0.0
    output_gain_db: float = 0.0

    def __post_init__(self) -> None:
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} must be within {low:g}..{high:g}, got {value:g}.")
        _one_of("f0_blend", self.f0_blend, F0_BLENDS)
        _one_of("autotune_scale", self.autotune_scale, SCALES)
        if not 1 <= len(set(self.f0_methods)) == len(self.f0_methods) <= MOST_METHODS:
            raise ConfigError(f"f0_methods must be 1 to {MOST_METHODS} different detectors.")
        for method in self.f0_methods:
            _one_of("f0_methods", method, F0_METHODS)
        if self.f0_min_hz >= self.f0_max_hz:
            raise ConfigError("f0_min_hz must be below f0_max_hz.")
        if not 0 <= self.autotune_key <= 11:
            raise ConfigError(f"autotune_key must be within 0..11, got {self.autotune_key}.")
        for name in ("speaker", "speaker_b"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be 0 or more, got {getattr(self, name)}.")

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of all controls."""
        return tuple(field.name for field in fields(cls))


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {value!r}.")
