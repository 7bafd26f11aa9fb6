"""What is known of the servers of a cluster, and which one a stream is sent to.

No thread, no clock: time is told by the caller, in seconds.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

STALE_S: Final = 3.0  # a server that was not heard of for so long is gone
SETTLE_S: Final = 2.0  # after which a stream that was sent to a server shows in what it tells
AIM: Final = 0.7  # how full servers are kept: what comes in a rush finds room while others start
CALM_S: Final = 300.0  # that fewer servers must be enough before one is given up


@dataclass(frozen=True)
class Beat:
    """What a server tells of itself, several times in `STALE_S`.

    replica   its name: what the secrets of its streams begin with
    scheme    `http` or `https`
    address   host and port
    fullness  part of what it can take that is taken; see `server.vacancy`
    streams   that are open
    most      streams that it may have
    comes     whether who has a stream here may come back to it
    takes     whether a new stream may find room
    """

    replica: str
    scheme: str
    address: str
    fullness: float
    streams: int
    most: int
    comes: bool
    takes: bool


@dataclass
class _Known:
    beat: Beat
    heard: float
    sent: deque[float] = field(default_factory=deque[float])  # when streams were sent there

    def expected(self, now: float) -> float:
        """How full it will be with what was sent there lately."""
        while self.sent and self.sent[0] <= now - SETTLE_S:
            self.sent.popleft()
        beat = self.beat
        share = max(1.0 / beat.most, beat.fullness / beat.streams if beat.streams else 0.0)
        return beat.fullness + len(self.sent) * share


class Board:
    """The servers that are there, and where the next stream goes.

    Laws, each with a test in tests/server/test_board.py:

    alive  no server is named that was not heard of for `STALE_S`, nor one that takes nobody
    own    who comes back is sent to the server with the stream, however full, while it is there
    even   of servers that are alike, none is sent two streams more than another in a rush
    """

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def hear(self, beat: Beat, now: float) -> None:
        """A server tells of itself."""
        known = self._known.get(beat.replica)
        sent = known.sent if known is not None else deque[float]()
        self._known[beat.replica] = _Known(beat, now, sent)

    def alive(self, now: float) -> list[Beat]:
        """What was told last by all that are there, by name."""
        self._known = {n: k for n, k in self._known.items() if now - k.heard < STALE_S}
        return [self._known[name].beat for name in sorted(self._known)]

    def place(self, replica: str, now: float) -> Beat | None:
        """Where a stream goes; None: nowhere now.

        replica  that has the stream of who comes back; "" for a newcomer
        """
        self.alive(now)
        own = self._known.get(replica)
        if own is not None and own.beat.comes:
            return own.beat
        open_ones = [known for known in self._known.values() if known.beat.takes]
        if not open_ones:
            return None
        best = min(open_ones, key=lambda known: known.expected(now))
        best.sent.append(now)
        return best.beat


def enough(fullness: Iterable[float]) -> int:
    """How many servers the streams of these need, each to be `AIM` full; 1 at least.

    >>> enough([0.9, 0.9]), enough([0.1, 0.2, 0.1]), enough([])
    (3, 1, 1)
    """
    return max(1, math.ceil(round(sum(fullness) / AIM, 6)))


def wanted(
    fullness: Iterable[float], running: int, since: float | None, now: float
) -> tuple[int, float | None]:
    """How many servers there should be, and since when fewer would be enough.

    running  that there are, starting ones included
    since    what was returned the last time

    Laws: more are wanted at once; of too many one is given up at a time, and only when fewer were
    enough for `CALM_S` without a break.
    """
    need = enough(fullness)
    if need >= running:
        return need, None
    if since is None:
        return running, now
    return (running - 1, None) if now - since >= CALM_S else (running, since)


def calm(state: Mapping[str, float]) -> float | None:
    """Since when fewer servers would be enough, as kept from one look to the next."""
    return state.get("since")
