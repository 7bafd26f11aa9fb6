"""Profiles: one dial from which hop, look-ahead and context follow."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, get_args

from stream.audio import CONTENT_HOP

ProfileName = Literal["low", "balanced", "quality", "relaxed"]
ProfileChoice = Literal["auto", "low", "balanced", "quality", "relaxed"]
CHOICES: tuple[ProfileChoice, ...] = get_args(ProfileChoice)


@dataclass(frozen=True)
class Profile:
    """How much sound one inference step takes, and how much it hears around it.

    Longer hops cost less compute and more latency. Look-ahead and context are for voices whose
    encoder hears a window; the starter's has its own memory, and a look-ahead of its own. With
    `light_f0` the lightest detector finds the pitch, whatever the controls name.
    """

    name: ProfileName
    content_frames: int  # of 20 ms
    look_ahead: int = 0  # content frames heard beyond those that are said
    context: int = 0  # content frames of the past that the encoder hears again
    light_f0: bool = False

    @property
    def hop_ms(self) -> int:
        """Length of one inference step."""
        return self.content_frames * CONTENT_HOP // 16


Profiles = Mapping[ProfileName, Profile]

LEAST_CONTEXT = 16  # content frames; with fewer an encoder of full size hears worse


def _named(*profiles: Profile) -> Profiles:
    return MappingProxyType({profile.name: profile for profile in profiles})


STEADY = _named(
    Profile("low", 1),
    Profile("balanced", 2),
    Profile("quality", 5),
    Profile("relaxed", 10),
)
"""For voices that carry their memory along: every hop costs about the same a frame."""

WINDOWED = _named(
    Profile("low", 2, look_ahead=2, context=24),
    Profile("balanced", 5, look_ahead=2, context=30),
    Profile("quality", 8, look_ahead=2, context=40),
    Profile("relaxed", 16, look_ahead=2, context=60),
)
"""For voices whose encoder hears a window anew with every hop: short ones are dear.

They look equally far ahead, so that a stream may step from one to another without a seam.
"""

FILE_STEADY = Profile("relaxed", 10)  # longer hops save no more time
FILE_WINDOWED = Profile("relaxed", 75, look_ahead=12, context=75)
"""For files, where latency does not matter."""


def lighter(profile: Profile, *, light_f0: bool, less_context: bool) -> Profile:
    """The same hop for less computing: what a machine under pressure takes first.

    >>> lighter(WINDOWED["low"], light_f0=True, less_context=True).context
    16
    """
    context = max(LEAST_CONTEXT, profile.context // 2) if less_context else profile.context
    return replace(profile, light_f0=light_f0, context=min(context, profile.context))
