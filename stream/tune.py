"""Chooses the profile for this machine, and steps to another when the machine gets busy."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stream.controls import Controls
from stream.models.voice import Voice
from stream.profiles import Profile, Profiles
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


class Tuner:
    """Watches one live stream and says when it should take longer or shorter hops.

    Laws: it steps up when a tenth of the hops of the last 2 s took longer than they may. It steps
    down when every hop of a calm stretch would also have fitted into `DOWN` of the next shorter
    hop. A calm stretch lasts 20 s, and twice as long after every step down that had to be taken
    back, so that it does not flap. Time is told by the caller, in seconds.
    """

    UP, DOWN = 0.95, 0.6  # parts of a hop that computing takes
    BUSY_SECONDS, LATE_SHARE = 2.0, 0.1
    CALM_SECONDS, MOST_CALM = 20.0, 640.0

    def __init__(self) -> None:
        self._profile: Profile | None = None  # in force at the last hop
        self._calm_needed = self.CALM_SECONDS
        self._stepped_down = False  # by the last step
        self._recent: deque[tuple[float, bool]] = deque()  # when, and whether it took too long
        self._calm_since: float | None = None

    def observe(
        self, profile: Profile, profiles: Profiles, seconds: float, now: float
    ) -> Profile | None:
        """A hop of `profile` took `seconds`; which of `profiles` to change to, if it is time to."""
        if profile is not self._profile:
            self._profile = profile
            self._recent.clear()
            self._calm_since = None
        part = 1000.0 * seconds / profile.hop_ms
        self._recent.append((now, part > self.UP))
        while self._recent[0][0] < now - self.BUSY_SECONDS:
            self._recent.popleft()
        shorter, longer = _neighbours(profile, profiles)
        late = sum(late for _, late in self._recent)
        if longer and late >= 3 and late > self.LATE_SHARE * len(self._recent):
            if self._stepped_down:
                self._calm_needed = min(2.0 * self._calm_needed, self.MOST_CALM)
            self._stepped_down = False
            return longer
        if shorter is None or 1000.0 * seconds > self.DOWN * shorter.hop_ms:
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = now
        elif now - self._calm_since >= self._calm_needed:
            self._stepped_down, self._calm_since = True, None
            return shorter
        return None


def _neighbours(profile: Profile, profiles: Profiles) -> tuple[Profile | None, Profile | None]:
    """The next shorter and the next longer hop."""
    ordered = sorted(profiles.values(), key=lambda p: p.content_frames)
    shorter = [p for p in ordered if p.content_frames < profile.content_frames]
    longer = [p for p in ordered if p.content_frames > profile.content_frames]
    return (shorter[-1] if shorter else None), (longer[0] if longer else None)
