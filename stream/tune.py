"""Chooses the profile for this machine: the lowest latency that it keeps up with."""

from dataclasses import dataclass

from stream.controls import Controls
from stream.models.voice import Voice
from stream.profiles import Profile
from stream.timing import measure

SECONDS = 0.4  # of audio measured per profile
ROOM = 0.7  # of the hop that p99 compute may take: the rest is for everything else


@dataclass(frozen=True)
class Choice:
    """The profile that was chosen, and why, in words for the user."""

    profile: Profile
    why: str


def choose(voice: Voice, *, controls: Controls | None = None) -> Choice:
    """Measure `voice` here, about a second, and take the first profile that leaves room."""
    seen: list[str] = []
    profiles = list(voice.profiles.values())
    for profile in profiles:
        report = measure(voice, profile, SECONDS, controls=controls or Controls())
        part = report.whole.p99 / profile.hop_ms
        seen.append(f"{profile.name} takes {part:.0%} of its {profile.hop_ms} ms hop")
        if part <= ROOM:
            return Choice(profile, "; ".join(seen))
    slowest = profiles[-1]
    return Choice(slowest, "; ".join(seen) + ": this machine is too slow to be always in time")
