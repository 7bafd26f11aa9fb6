"""What a device under pressure gives up, step by step, and gets back.

No clock: time is told by the caller, in seconds.
"""

from collections import deque
from typing import Final, NamedTuple

from stream.profiles import Profile, Profiles, lighter


class Step(NamedTuple):
    """What is given up, as clients and figures name it."""

    name: str
    light_f0: bool = False
    less_context: bool = False
    longer: int = 0  # profiles further along


STEPS: Final = (
    Step(""),
    Step("light pitch", light_f0=True),
    Step("less context", light_f0=True, less_context=True),
    Step("longer hops", light_f0=True, less_context=True, longer=1),
    Step("longest hops", light_f0=True, less_context=True, longer=2),
)
TOP: Final = len(STEPS) - 1


def eased(profile: Profile, profiles: Profiles, step: Step) -> Profile:
    """The profile that a stream takes which was given `profile`, at this step."""
    ordered = sorted(profiles.values(), key=lambda p: p.content_frames)
    place = [p.name for p in ordered].index(profile.name)
    further = ordered[min(len(ordered) - 1, place + step.longer)]
    if step == STEPS[0]:
        return further
    return lighter(further, light_f0=step.light_f0, less_context=step.less_context)


class Ladder:
    """Watches a device: how busy it is and how many hops come late.

    Laws: it climbs one step when the load is over `HIGH`, or more than `LATE_SHARE` of the hops of
    the last `BUSY_S` were late; at most one step in `BUSY_S`, so that the step before can show what
    it does. It comes down one step after a calm stretch, in which the load stays under `LOW` and
    no hop is late. That lasts `CALM_S`, and twice as long after every descent that had to be taken
    back, so that it does not flap.
    """

    HIGH, LOW = 0.75, 0.4
    LATE_SHARE, FEWEST = 0.02, 3
    BUSY_S, CALM_S, MOST_CALM_S = 2.0, 15.0, 480.0

    def __init__(self) -> None:
        self.level = 0
        self._hops: deque[tuple[float, bool]] = deque()
        self._moved = float("-inf")
        self._came_down = False
        self._calm_s = self.CALM_S
        self._calm_since: float | None = None

    @property
    def step(self) -> Step:
        """What is given up now."""
        return STEPS[self.level]

    @property
    def at_top(self) -> bool:
        """Whether there is nothing more to give up."""
        return self.level == TOP

    def hop(self, late: bool, now: float) -> None:
        """A hop was converted, in time or not."""
        self._hops.append((now, late))

    def look(self, load: float, now: float) -> None:
        """Climb or descend, if it is time to. `load`: part of the time the workers were busy."""
        while self._hops and self._hops[0][0] < now - self.BUSY_S:
            self._hops.popleft()
        late = sum(late for _, late in self._hops)
        pressed = late >= self.FEWEST and late > self.LATE_SHARE * len(self._hops)
        if load > self.HIGH or pressed:
            self._calm_since = None
            if now - self._moved >= self.BUSY_S:
                self.climb(now)
        elif load > self.LOW or late:
            self._calm_since = None
        elif self.level:
            self._calm_since = now if self._calm_since is None else self._calm_since
            if now - self._calm_since >= self._calm_s:
                self.level -= 1
                self._moved, self._came_down, self._calm_since = now, True, None

    def climb(self, now: float) -> None:
        """Give up one thing more, if there is any."""
        if self.at_top:
            return
        if self._came_down:
            self._calm_s = min(2.0 * self._calm_s, self.MOST_CALM_S)
        self.level += 1
        self._moved, self._came_down, self._calm_since = now, False, None
        self._hops.clear()  # they were converted before this step
