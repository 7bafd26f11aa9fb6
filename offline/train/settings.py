"""How a voice is trained, and what a training run is made of."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stream.errors import ConfigError

Family = Literal["narrow", "rvc-v1", "rvc-v2"]
Precision = Literal["fp32", "bf16", "fp16"]

NARROW_RATE = 24_000
RVC_RATES = (32_000, 40_000, 48_000)


class TrainSettings(BaseModel):
    """All that decides what the weights become. Same settings, data and machine: same weights.

    The chance in training is a function of the seed and the step, so a run that was resumed is
    the run that was not interrupted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: Family = "narrow"
    sample_rate: int = Field(default=NARROW_RATE, description="Hz of the voice")
    steps: int | None = Field(default=None, ge=1, description="updates of the weights")
    minutes: float | None = Field(
        default=None, gt=0.0, description="about how long to train; settles `steps`"
    )
    batch: int = Field(default=8, ge=1, le=256, description="stretches of speech at once")
    accumulate: int = Field(default=1, ge=1, le=64, description="batches an update")
    frames: int = Field(default=160, ge=40, le=1000, description="10 ms frames of a stretch")
    segment: int = Field(default=52, ge=16, le=400, description="of them, spoken aloud")
    precision: Precision = "fp32"
    rate: float = Field(default=1e-3, gt=0.0, lt=1.0, description="learning rate")
    critics_rate: float = Field(default=4e-4, gt=0.0, lt=1.0, description="of the critics")
    warm_up: int = Field(default=60, ge=0, description="updates until the rate is full")
    decay: float = Field(default=0.05, gt=0.0, le=1.0, description="of the rate that is left")
    clip: float = Field(default=5.0, gt=0.0, description="longest gradient")
    average: float = Field(default=0.997, ge=0.0, lt=1.0, description="of the weights, kept")
    critics_from: float = Field(
        default=0.4, ge=0.0, le=1.0, description="share of the run after which critics join"
    )
    seed: int = Field(default=0, ge=0, lt=1 << 31)
    every: int = Field(default=200, ge=1, description="updates between evaluations")
    save_every: int = Field(default=200, ge=1, description="updates between checkpoints")
    patience: int = Field(default=6, ge=0, description="evaluations without a gain; 0: no end")
    base: str = Field(default="auto", description="auto, none, a voice, or a folder with G and D")
    narrower: int = Field(
        default=1, ge=1, le=16, description="divides RVC's widths; other than 1 fits no base"
    )

    @model_validator(mode="after")
    def _possible(self) -> TrainSettings:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give either steps or minutes")
        if self.segment >= self.frames:
            raise ValueError("segment must be shorter than frames")
        return self

    @property
    def version(self) -> Literal["v1", "v2"]:
        """Of RVC, whose features the voice takes."""
        return "v2" if self.family == "rvc-v2" else "v1"

    @property
    def encoder(self) -> str:
        """Id of the content encoder that the voice hears with."""
        return {
            "narrow": "student-256",
            "rvc-v1": "contentvec-256",
            "rvc-v2": "contentvec-768",
        }[self.family]


def defaults(family: Family, sample_rate: int | None = None) -> dict[str, object]:
    """What a family is trained with when nothing else is asked for.

    RVC's are those of its own recipe: batches of stretches, segments of 0.32 to 0.4 s, AdamW at
    1e-4. Raises `ConfigError` for a rate that the family does not have.
    """
    if family == "narrow":
        if sample_rate not in (None, NARROW_RATE):
            raise ConfigError(
                f"The narrow family speaks at {NARROW_RATE} Hz, not {sample_rate}. "
                "Leave --rate out, or choose --family rvc-v2."
            )
        return {"family": family, "sample_rate": NARROW_RATE, "steps": 3_000}
    rate = sample_rate or 40_000
    if rate not in RVC_RATES:
        known = ", ".join(map(str, RVC_RATES))
        raise ConfigError(f"RVC voices have {known} Hz, not {rate}: choose one with --rate.")
    return {
        "family": family,
        "sample_rate": rate,
        "steps": 20_000,
        "batch": 4,
        "frames": 360,
        "segment": {32_000: 40, 40_000: 32, 48_000: 36}[rate],
        "rate": 1e-4,
        "critics_rate": 1e-4,
        "warm_up": 20,
        "decay": 0.5,
        "clip": 1_000.0,
        "average": 0.999,
        "critics_from": 0.0,
    }
