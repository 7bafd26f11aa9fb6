"""What a listener can change while speaking."""

from dataclasses import dataclass, fields
from typing import Literal

from stream.errors import ConfigError

F0Method = Literal["swift", "crepe-tiny"]

LIMITS: dict[str, tuple[float, float]] = {
    "pitch": (-24.0, 24.0),
    "index_rate": (0.0, 1.0),
    "protect": (0.0, 0.5),
    "gate_db": (-90.0, 0.0),
    "input_gain_db": (-30.0, 30.0),
    "output_gain_db": (-30.0, 30.0),
}
F0_METHODS: tuple[F0Method, ...] = ("swift", "crepe-tiny")


@dataclass(frozen=True, kw_only=True)
class Controls:
    """One setting of all controls; replaced as a whole between two hops, never changed.

    Raises `ConfigError` when a value is outside its range.
    """

    pitch: float = 0.0  # semitones, fractions allowed, applied to the source's f0
    auto_pitch: bool = True  # first move the speaker's median f0 to the voice's own
    index_rate: float = 0.0  # 0 features as heard .. 1 features retrieved from the voice's index
    protect: float = 0.33  # 0.5 off; lower keeps unvoiced sounds nearer to the features as heard
    f0_method: F0Method = "swift"
    speaker: int = 0  # for voices with several speakers
    gate_db: float = -60.0  # dBFS, input below this is silence; -90 turns the gate off
    input_gain_db: float = 0.0
    output_gain_db: float = 0.0

    def __post_init__(self) -> None:
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} must be within {low:g}..{high:g}, got {value:g}.")
        if self.f0_method not in F0_METHODS:
            raise ConfigError(f"f0_method must be one of {', '.join(F0_METHODS)}.")
        if self.speaker < 0:
            raise ConfigError(f"speaker must be 0 or more, got {self.speaker}.")

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of all controls."""
        return tuple(field.name for field in fields(cls))
