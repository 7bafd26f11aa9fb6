"""Chooses the profile for this machine."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stream.controls import Controls
from stream.models.voice import Voice
from stream.profiles import Profile
from stream.timing import Report, measure

SECONDS = 0.4  # of audio measured per profile
LEAST_HOPS = 4
ROOM = 0.7  # of the hop that p99 compute may take: the rest is for everything else


@dataclass(frozen=True)
class Choice:
    """The profile that was chosen, and why, in words for the user."""

    profile: Profile
    why: str


def choose(voice: Voice, *, controls: Controls | None = None) -> Choice:
    """Measure `voice` here, about a second, and take the first profile that leaves room.

    A longer hop takes no less time than a shorter one; so what the shorter one took is enough to
    pass over the next.
    """
    wanted = controls or Controls()
    return first_with_room(_measured(voice, wanted))


def first_with_room(reports: Iterable[Report]) -> Choice:
    """The first of the profiles measured, the shortest hop first, that leaves room."""
    seen: list[str] = []
    slowest: Profile | None = None
    for report in reports:
        slowest = report.profile
        part = report.whole.p99 / slowest.hop_ms
        seen.append(f"{slowest.name} takes {part:.0%} of its {slowest.hop_ms} ms hop")
        if part <= ROOM:
            return Choice(slowest, "; ".join(seen))
    if slowest is None:
        raise ValueError("nothing was measured")
    return Choice(slowest, "; ".join(seen) + ": this machine is too slow to be always in time")


def _measured(voice: Voice, controls: Controls) -> Iterator[Report]:
    profiles = list(voice.profiles.values())
    least_ms = 0.0
    for profile in profiles:
        if least_ms > ROOM * profile.hop_ms and profile is not profiles[-1]:
            continue
        report = measure(voice, profile, SECONDS, controls=controls, least_hops=LEAST_HOPS)
        least_ms = report.whole.p50
        yield report
