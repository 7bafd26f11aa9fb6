"""Profiles: one dial from which hop and latency follow."""

from dataclasses import dataclass
from typing import Literal, get_args

from stream.audio import CONTENT_HOP

ProfileName = Literal["low", "balanced", "quality", "relaxed"]
ProfileChoice = Literal["auto", "low", "balanced", "quality", "relaxed"]


@dataclass(frozen=True)
class Profile:
    """How much sound one inference step takes. Longer hops cost less compute and more latency."""

    name: ProfileName
    content_frames: int  # of 20 ms

    @property
    def hop_ms(self) -> int:
        """Length of one inference step."""
        return self.content_frames * CONTENT_HOP // 16


PROFILES: dict[ProfileName, Profile] = {
    "low": Profile("low", 1),
    "balanced": Profile("balanced", 2),
    "quality": Profile("quality", 5),
    "relaxed": Profile("relaxed", 10),
}
CHOICES: tuple[ProfileChoice, ...] = get_args(ProfileChoice)
