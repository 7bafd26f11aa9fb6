"""What is done to recordings before a voice is trained on them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stream.controls import F0Method
from stream.profiles import FILE_STEADY, FILE_WINDOWED, STEADY, WINDOWED, Profile, ProfileName

Hears = Literal["low", "balanced", "quality", "relaxed", "file"]


class DatasetSettings(BaseModel):
    """All of it; two datasets of the same recordings and equal settings are equal.

    Raises pydantic's `ValidationError` for what is unknown or out of range.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_rate: int = Field(
        default=24_000, ge=16_000, le=48_000, multiple_of=100, description="Hz of the voice"
    )
    encoder: str = Field(default="student-256", description="id of the content encoder")
    f0: F0Method = Field(default="swift", description="pitch detector; those for files too")
    hearing: Hears = Field(
        default="file",
        description="the profile with which an encoder hears that wants windows; 'file' as "
        "`timbral convert` has it. Others hear the same with each.",
    )
    high_pass_hz: float = Field(default=48.0, ge=0.0, le=100.0, description="0 turns it off")
    denoise: float = Field(default=0.0, ge=0.0, le=1.0, description="0 off .. 1 all it can")
    loudness: Literal["recording", "off"] = Field(
        default="recording", description="whether each recording is brought to `level_db`"
    )
    level_db: float = Field(default=-23.0, ge=-40.0, le=-14.0, description="dBFS, while speaking")
    shortest_s: float = Field(default=1.0, ge=0.4, le=10.0, description="of a slice")
    longest_s: float = Field(default=8.0, ge=2.0, le=60.0, description="of a slice")
    pause_s: float = Field(default=0.5, ge=0.1, le=5.0, description="longer silence ends a slice")
    held_out: float = Field(default=0.05, gt=0.0, le=0.5, description="share kept for judging")
    seed: int = Field(default=0, ge=0, description="of the choice of what is held out")
    least_s: float = Field(default=10.0, ge=1.0, description="of speech, to train on at all")
    telephone: bool = Field(default=False, description="take sound without anything above 4 kHz")

    @model_validator(mode="after")
    def _can_be_cut(self) -> "DatasetSettings":
        if self.longest_s < 2 * self.shortest_s:
            raise ValueError("longest_s must be at least twice shortest_s")
        return self

    def profile(self, *, whole_hops: bool) -> Profile:
        """How an encoder hears: `whole_hops` for those that want windows."""
        if self.hearing == "file":
            return FILE_WINDOWED if whole_hops else FILE_STEADY
        name: ProfileName = self.hearing
        return (WINDOWED if whole_hops else STEADY)[name]
