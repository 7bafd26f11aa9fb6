"""Audio of one client that waits for conversion."""

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from server.config import Limits
from server.failures import Refused
from stream.audio import Audio

_SMALL = 256  # samples; shorter frames are merged, so that a flood of them stays cheap


@dataclass
class _Chunk:
    """Samples from position `start` on, whose first was due at `due`."""

    start: int
    due: float
    samples: Audio


class Hop(NamedTuple):
    """What one step of the conversion takes."""

    samples: Audio
    complete: float  # when its last sample was due here
    deadline: float  # when its conversion must be done, or the stream falls behind


class Intake:
    """Audio in order, on the stream's clock, handed out in hops.

    Time is told by the caller, in seconds. A frame is *due* when it arrives, or when the audio
    before it has had the time to be heard, whichever is later: a stalled client moves the clock
    forward, and a client faster than real time finds its audio due in the future, up to one inbox
    ahead. A hop that waits more than `max_late_s` past its time is late; `shed` drops it, with
    all others that are behind, so that the stream is on time again.

    A short jump of `position` is filled with zeros. A long one is held, and `full` says so, until
    what came before is out and `jump` is called.
    """

    def __init__(self, rate: int, hop: int, limits: Limits) -> None:
        self._rate = rate
        self._limits = limits
        self.change_hop(hop)
        self._short_gap = round(limits.short_gap_s * rate)
        self._chunks: deque[_Chunk] = deque()
        self._held: _Chunk | None = None
        self._taken = 0  # samples of the first chunk that are gone
        self._clock = float("-inf")  # when the next sample is due
        self._end: int | None = None  # position of the next sample
        self.queued = 0  # samples that wait
        self.accepted = 0  # samples since the start, filled gaps included

    def change_hop(self, hop: int) -> None:
        """Hand out hops of so many samples from now on."""
        self._hop = hop
        self._inbox = max(round(self._limits.inbox_s * self._rate), 2 * hop)

    @property
    def full(self) -> bool:
        """Whether the socket should not be read now."""
        return self.queued >= self._inbox or self._held is not None

    @property
    def hop_ready(self) -> bool:
        """Whether `take_hop` can be called."""
        return self.queued >= self._hop

    @property
    def end(self) -> int:
        """Position of the sample after the last that came; 0 before any."""
        if self._held is not None:
            return self._held.start + len(self._held.samples)
        return self._end or 0

    @property
    def jumping(self) -> bool:
        """Whether audio after a long gap is held."""
        return self._held is not None

    def put(self, position: int, samples: Audio, now: float) -> int | None:
        """Add a frame that arrived at `now`. Returns its position when it is the first.

        Raises `Refused` when `position` lies before what came already.
        """
        if self._end is None:
            self._enter(_Chunk(position, now, samples), now)
            return position
        jump = position - self._end
        if jump < 0:
            raise Refused("bad_message", f"Position {position} goes back; {self._end} was next.")
        if jump > self._short_gap:
            self._held = _Chunk(position, now, samples)
            return None
        if jump:
            samples = np.concatenate([np.zeros(jump, np.float32), samples])
        self._append(_Chunk(position - jump, self._due(now), samples))
        return None

    def lateness(self, now: float) -> float:
        """Seconds by which the next hop is past its time; -inf without one."""
        if not self.hop_ready:
            return float("-inf")
        chunk, end = self._last_of_hop()
        return now - (chunk.due + end / self._rate)

    def shed(self, now: float) -> int:
        """Drop late hops; returns the number of samples dropped, a multiple of the hop."""
        if self.lateness(now) <= self._limits.max_late_s:
            return 0
        dropped = 0
        while self.lateness(now) > 0:
            self._take(self._hop)
            dropped += self._hop
        return dropped

    def take_hop(self) -> Hop:
        """The next hop; there must be one."""
        chunk, end = self._last_of_hop()
        hops = -(-end // self._hop)  # that end in this chunk, this one included
        deadline = chunk.due + hops * self._hop / self._rate
        return Hop(self._take(self._hop), chunk.due, deadline)

    def take_rest(self) -> Audio:
        """[< hop] what is left, when no more audio follows without a gap."""
        return self._take(self.queued)

    def jump(self, now: float) -> int:
        """Go on with the audio that was held; returns its position."""
        held, self._held = self._held, None
        if held is None:
            raise ValueError("no audio is held")
        self._enter(held, now)
        return held.start

    def _enter(self, chunk: _Chunk, now: float) -> None:
        chunk.due = self._due(now)
        self._append(chunk)

    def _due(self, now: float) -> float:
        return min(max(now, self._clock), now + self._limits.inbox_s)

    def _append(self, chunk: _Chunk) -> None:
        count = len(chunk.samples)
        last = self._chunks[-1] if self._chunks else None
        if last is not None and len(last.samples) < _SMALL:
            last.samples = np.concatenate([last.samples, chunk.samples])
        else:
            self._chunks.append(chunk)
        self._clock = chunk.due + count / self._rate
        self._end = chunk.start + count
        self.queued += count
        self.accepted += count

    def _last_of_hop(self) -> tuple[_Chunk, int]:
        """The chunk in which the next hop ends, and how far into it."""
        end = self._taken + self._hop
        for chunk in self._chunks:
            if end <= len(chunk.samples):
                return chunk, end
            end -= len(chunk.samples)
        raise ValueError("no whole hop waits")

    def _take(self, count: int) -> Audio:
        parts: list[Audio] = [np.zeros(0, np.float32)]
        self.queued -= count
        while count:
            samples = self._chunks[0].samples
            part = samples[self._taken : self._taken + count]
            parts.append(part)
            count -= len(part)
            self._taken += len(part)
            if self._taken == len(samples):
                self._chunks.popleft()
                self._taken = 0
        return np.concatenate(parts)
