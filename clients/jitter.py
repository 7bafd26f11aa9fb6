"""Playback of sound that arrives unevenly: as late as it must be, and no later.

`clients/web/` has a twin in JavaScript; `tests/golden/jitter/` holds traces that both must follow.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.audio import Audio

Doubles = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class JitterSettings:
    """How the delay is chosen. Times are milliseconds on the reader's clock."""

    first_ms: float = 20.0  # the target before anything is known
    most_ms: float = 400.0  # the target's limit
    margin_ms: float = 2.5  # added to the lateness that is to be borne
    quantile: float = 0.97  # of the arrivals shall be in time
    window_ms: float = 6000.0  # that arrivals are remembered
    slot_ms: float = 250.0  # between two looks at them
    decay: float = 0.9  # a falling target keeps this much of its excess from look to look
    stall_ms: float = 60.0  # what is later is a stall: skipped, not waited for
    resume_ms: float = 20.0  # an excess that is skipped where there is a hole anyhow
    leap_ms: float = 30.0  # a whole slot later than this: the stream itself has moved
    slack_ms: float = 1.5  # an excess that is left alone
    fade_ms: float = 5.0  # at holes and skips
    pull: float = 1.0  # part of the excess that is caught up in a second
    most_speed: float = 0.02  # by which the speed may differ from 1


@dataclass(frozen=True)
class JitterReport:
    """How a buffer does. Times are milliseconds."""

    target_ms: float  # the delay it wants behind the earliest arrivals
    delay_ms: float  # the delay it has
    speed: float  # at which it plays
    playing: bool
    underruns: int  # holes
    skips: int
    skipped: int  # samples that were never heard


CAPACITY_S = 4.0  # of sound kept
ARRIVALS = 2048  # remembered at most
PIECE = 1024  # samples read at once
WAKE = 0.75  # of its distance in the stream: what follows sooner is in the wake of a late packet


class JitterBuffer:
    """Sound with stream positions in, a steady flow out.

    `write` may be called by one thread while another calls `read`; neither locks, and `read`
    makes no arrays. The clock is the reader's: the samples asked for so far. A packet whose first
    sample has position `s` and that is there at clock `t` arrives at `t - s`; the smallest such
    number of the last seconds is `base`, what a packet has more is its lateness. Position `p` is
    played at clock `p + base + delay`.

    Laws, each with a test:

    steady   packets in time are played sample by sample, unchanged, none lost or doubled
    target   follows the lateness that `quantile` of the packets stay within, up at once, down
             slowly; a burst after a stall counts once
    speed    differs from 1 by at most `most_speed`; clocks that differ by 300 ppm cost nothing else
    stall    after one, what is too late is skipped, and the delay is what it was
    hole     sound fades out and in, within `fade_ms`
    start    what has piled up before the first read is dropped
    """

    def __init__(self, rate: int, settings: JitterSettings | None = None) -> None:
        if rate < 1:
            raise ValueError(f"the rate must be positive, got {rate} Hz")
        self.rate = rate
        self.settings = settings or JitterSettings()
        kept = self.settings
        self._margin = self._samples(kept.margin_ms)
        self._most = self._samples(kept.most_ms)
        self._window = self._samples(kept.window_ms)
        self._slot = self._samples(kept.slot_ms)
        self._stall = self._samples(kept.stall_ms)
        self._resume = self._samples(kept.resume_ms)
        self._leap = self._samples(kept.leap_ms)
        self._slack = self._samples(kept.slack_ms)
        self._fade = max(1, math.floor(self._samples(kept.fade_ms)))
        self._mask = (1 << math.ceil(math.log2(CAPACITY_S * rate))) - 1
        # the writer's
        self._ring: Doubles = np.zeros(self._mask + 1, np.float64)
        self._end = -1  # position after the last sample written; -1: none yet
        self._base = 0.0
        self._target = self._samples(kept.first_ms)
        self._when: Doubles = np.zeros(ARRIVALS, np.float64)
        self._late: Doubles = np.zeros(ARRIVALS, np.float64)
        self._first = self._count = 0  # of the arrivals remembered
        self._lows: list[tuple[float, float]] = []  # (clock, smallest arrival), one for each slot
        self._low = math.inf  # of the slot that runs
        self._look_at = 0.0
        self._last = (0.0, 0)  # clock and position of the last packet
        # the reader's
        self._clock = 0
        self._head = 0.0  # position to play next
        self._speed = 1.0
        self._catching_up = False
        self._landing = False
        self._playing = False
        self._starved = False
        self._risen = 0  # samples of the fade-in that were played
        self._tail_at = 0.0  # position that fades out
        self._tail_step = 1.0
        self._tail_done = self._fade  # samples of it that were played
        self._underruns = self._skips = self._skipped = 0
        self._steps: Doubles = np.arange(PIECE, dtype=np.float64)
        self._scratch: list[Doubles] = [np.zeros(PIECE, np.float64) for _ in range(8)]
        self._index: NDArray[np.int64] = np.zeros(PIECE, np.int64)

    @property
    def report(self) -> JitterReport:
        """How it does now."""
        delay = self._clock - self._base - self._head if self._end >= 0 else 0.0
        return JitterReport(
            target_ms=1000.0 * self._target / self.rate,
            delay_ms=1000.0 * delay / self.rate,
            speed=self._speed,
            playing=self._playing,
            underruns=self._underruns,
            skips=self._skips,
            skipped=self._skipped,
        )

    @property
    def head(self) -> float:
        """The stream position that is played next."""
        return self._head

    # --- the writer's side

    def write(self, position: int, samples: Audio) -> None:
        """A packet arrived: `samples` [n] from stream position `position` on.

        What lies before the end of the last packet is ignored; a hole is filled with silence.
        """
        size = len(self._ring)
        if self._end < 0:
            self._head = float(position)
            self._look_at = self._clock + self._slot
            self._base = float(self._clock - position)
            self._last = (self._clock - self._slot, position - 1)
            self._end = position
        fresh = samples[max(0, self._end - position) :]
        start = position + len(samples) - len(fresh)
        if not len(fresh):
            return
        self._note(start)
        if start > self._end:
            self._put(max(self._end, start - size), np.zeros(min(start - self._end, size)))
        self._put(start, fresh[-size:])
        self._end = start + len(fresh)

    def _put(self, position: int, samples: Doubles | Audio) -> None:
        at = position & self._mask
        first = min(len(samples), len(self._ring) - at)
        self._ring[at : at + first] = samples[:first]
        self._ring[: len(samples) - first] = samples[first:]

    def _note(self, position: int) -> None:
        """Remember how late a packet is."""
        now = float(self._clock)
        arrival = now - position
        self._low = min(self._low, arrival)
        self._base = min(self._base, arrival)
        late = arrival - self._base
        then, before = self._last
        if now - then >= WAKE * (position - before):
            self._remember(now, late)
        self._last = (now, position)
        if self._starved:
            self._starved = False
            if late <= self._stall:
                self._target = max(self._target, late + self._margin)
        if now >= self._look_at:
            self._look_at = now + self._slot
            self._look(now)

    def _remember(self, now: float, late: float) -> None:
        at = (self._first + self._count) % ARRIVALS
        self._when[at], self._late[at] = now, late
        if self._count < ARRIVALS:
            self._count += 1
        else:
            self._first = (self._first + 1) % ARRIVALS

    def _look(self, now: float) -> None:
        """Forget what is old, then choose base and target."""
        self._lows.append((now, self._low))
        if self._low - self._base > self._leap:  # the stream itself has moved
            self._lows = self._lows[-1:]
            self._count = 0
        self._low = math.inf
        oldest = now - self._window
        self._lows = [pair for pair in self._lows if pair[0] >= oldest]
        self._base = min(low for _, low in self._lows)
        while self._count and self._when[self._first] < oldest:
            self._first, self._count = (self._first + 1) % ARRIVALS, self._count - 1
        wanted = self._margin
        if self._count:
            known = np.sort(self._late[(self._first + np.arange(self._count)) % ARRIVALS])
            wanted += float(known[math.floor(self.settings.quantile * (self._count - 1))])
        wanted = min(wanted, self._most)
        self._target = max(wanted, wanted + (self._target - wanted) * self.settings.decay)

    # --- the reader's side

    def read(self, out: Audio) -> None:
        """Fill `out` [n], float32, with what is to be heard next."""
        for start in range(0, len(out), PIECE):
            self._read(out[start : start + PIECE])

    def _read(self, out: Audio) -> None:
        out[:] = 0.0
        if self._end >= 0:
            end = self._end
            self._steer(len(out), end)
            if self._playing:
                self._play(out, end)
            if self._tail_done < self._fade:
                self._play_tail(out)
        self._clock += len(out)

    def _steer(self, n: int, end: int) -> None:
        """Whether to play, from where, and how fast."""
        excess = self._clock - self._base - self._head - self._target
        if not self._playing:
            room = self._room(n, end)
            if excess < 0 or room < (excess if excess > self._stall else 0):
                return
            self._playing, self._risen = True, 0
            if excess > self._resume:
                excess -= self._skip(excess, n, end)
        elif excess > self._stall and self._room(n, end) > self._fade:
            self._tail_at, self._tail_step, self._tail_done = self._head, 1.0, 0
            excess -= self._skip(excess, n, end)
            self._risen = 0
        if abs(excess) > self._slack:
            self._catching_up = True
        elif abs(excess) < 0.25 * self._slack:
            self._catching_up = False
        most = self.settings.most_speed
        pull = self.settings.pull * excess / self.rate
        self._speed = 1.0 + max(-most, min(most, pull)) if self._catching_up else 1.0
        self._landing = not self._catching_up and self._head % 1.0 != 0.0 and most * n >= 0.5
        if self._landing:  # on a whole sample, from where sound passes unchanged
            self._speed = (math.floor(self._head + n + 0.5) - self._head) / n

    def _room(self, n: int, end: int) -> int:
        """How far the head could go ahead and still play a block."""
        return math.floor(end - n - 3 - self._head)

    def _skip(self, excess: float, n: int, end: int) -> int:
        ahead = max(0, min(math.floor(excess), self._room(n, end)))
        if ahead:
            self._head += ahead
            self._skips += 1
            self._skipped += ahead
        return ahead

    def _play(self, out: Audio, end: int) -> None:
        n = len(out)
        ready = max(0, min(n, math.ceil((end - 2 - self._head) / self._speed)))
        sound = self._interpolate(self._head, self._speed, ready)
        if self._risen < self._fade:
            sound *= self._rise(self._risen, ready)
            self._risen += ready
        out[:ready] = sound
        self._head += ready * self._speed
        if self._landing:
            self._head = math.floor(self._head + 0.5) * 1.0
        if ready < n:
            self._underruns += 1
            self._playing, self._starved = False, True
            self._tail_at, self._tail_step, self._tail_done = self._head - 1.0, -1.0, -ready

    def _play_tail(self, out: Audio) -> None:
        """Fade out: onwards where it skipped, backwards where there is no more."""
        begin = max(0, -self._tail_done)
        done = max(0, self._tail_done)
        n = min(len(out) - begin, self._fade - done)
        sound = self._interpolate(self._tail_at, self._tail_step, n)
        fall = self._rise(done, n)
        np.subtract(1.0, fall, out=fall)
        sound *= fall
        out[begin : begin + n] += sound
        self._tail_at += n * self._tail_step
        self._tail_done = done + n

    def _rise(self, done: int, n: int) -> Doubles:
        """3 s² - 2 s³ from sample `done` of the fade on, [n]; 1 once it is over."""
        x, y = self._scratch[6][:n], self._scratch[7][:n]
        np.add(self._steps[:n], done + 1.0, out=x)
        np.divide(x, self._fade + 1.0, out=x)
        np.minimum(x, 1.0, out=x)
        np.multiply(x, -2.0, out=y)
        np.add(y, 3.0, out=y)
        np.multiply(y, x, out=y)
        np.multiply(y, x, out=y)
        return y

    def _interpolate(self, start: float, step: float, n: int) -> Doubles:
        """The sound at `start + step k`, [n]: cubic Hermite (Catmull-Rom) between four samples."""
        at = int(start) & self._mask
        if step == 1.0 and start % 1.0 == 0.0 and at + n <= len(self._ring):
            sound = self._scratch[0][:n]
            sound[:] = self._ring[at : at + n]
            return sound
        f, whole, a, b, c, d = (part[:n] for part in self._scratch[:6])
        at = self._index[:n]
        np.multiply(self._steps[:n], step, out=f)
        np.add(f, start, out=f)
        np.floor(f, out=whole)
        np.subtract(f, whole, out=f)
        np.copyto(at, whole, casting="unsafe")
        np.subtract(at, 1, out=at)
        for neighbour in (a, b, c, d):
            np.bitwise_and(at, self._mask, out=at)
            np.take(self._ring, at, out=neighbour, mode="clip")
            np.add(at, 1, out=at)
        return _hermite(f, a, b, c, d, whole, self._scratch[6][:n])

    def _samples(self, ms: float) -> float:
        return ms * self.rate / 1000.0


def _hermite(
    f: Doubles, a: Doubles, b: Doubles, c: Doubles, d: Doubles, p: Doubles, q: Doubles
) -> Doubles:
    """((c3 f + c2) f + c1) f + b at `f` of the way from b to c; into `a`. p, q are scratch.

    c1 = (c - a) / 2,  c2 = a - 2.5 b + 2 c - d / 2,  c3 = (d - a) / 2 + 1.5 (b - c)
    """
    np.subtract(d, a, out=p)
    np.multiply(p, 0.5, out=p)
    np.subtract(b, c, out=q)
    np.multiply(q, 1.5, out=q)
    np.add(p, q, out=p)  # c3
    np.multiply(p, f, out=p)
    np.multiply(b, -2.5, out=q)
    np.add(q, a, out=q)
    np.multiply(d, 0.5, out=d)
    np.subtract(q, d, out=q)
    np.multiply(c, 2.0, out=d)
    np.add(q, d, out=q)  # c2
    np.add(p, q, out=p)
    np.multiply(p, f, out=p)
    np.subtract(c, a, out=q)
    np.multiply(q, 0.5, out=q)  # c1
    np.add(p, q, out=p)
    np.multiply(p, f, out=p)
    np.add(p, b, out=a)
    return a
