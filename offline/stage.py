"""What music passes on its way: blocks [n, channels] in, blocks out, every sample in its own place.

A stage keeps its own state and belongs to one piece of music. Laws of every stage: however the
input is cut into blocks, the output is the same, bit for bit; its delay is taken out again, so that
sample k of the output belongs to sample k of the input; together `step` and `flush` return as many
samples as went in, and more only where an effect rings on after the end.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from stream.audio import Audio, gain

SIZE = 8192  # samples that a blockwise stage works on at a time
INAUDIBLE = gain(-90.0)  # below this, what rings on has ended
LONGEST_RING = 60  # seconds: a delay that feeds back all of itself would never end
SLOWEST = 10  # seconds by which a stage may be late


class Stage(Protocol):
    """One thing done to music, with its state."""

    def step(self, x: Audio) -> Audio:
        """What can be told of the output after `x` [n, channels]: [m, channels], m may be 0."""
        ...

    def flush(self) -> Audio:
        """The rest. The stage is at its end then."""
        ...


class Blockwise:
    """A stage made of a function that gets blocks of exactly `SIZE` samples.

    work      [SIZE, channels] -> [m, channels], m <= SIZE; keeps its own state
    channels  of the sound
    late      by how many samples its output lags behind, beside those that it has not returned
    pause     samples: as long as that it may be silent before it sounds once more; 0: no tail
    rate      Hz
    """

    def __init__(
        self,
        work: Callable[[Audio], Audio],
        channels: int,
        *,
        rate: int,
        late: int = 0,
        pause: int = 0,
    ) -> None:
        self._work = work
        self._rate = rate
        self._late = late
        self._pause = pause
        self._pending: Audio = np.zeros((0, channels), np.float32)
        self._heard = self._given = 0

    def step(self, x: Audio) -> Audio:
        """See `Stage`."""
        self._heard += len(x)
        joined = np.concatenate([self._pending, x])
        whole = len(joined) - len(joined) % SIZE
        self._pending = joined[whole:].copy()
        done = [self._worked(joined[i : i + SIZE]) for i in range(0, whole, SIZE)]
        return np.concatenate([joined[:0], *done])

    def flush(self) -> Audio:
        """See `Stage`."""
        silence = np.zeros((SIZE, self._pending.shape[1]), np.float32)
        first = np.concatenate([self._pending, silence])[:SIZE]
        due = self._heard - self._given
        most = due + LONGEST_RING * self._rate
        parts, have, quiet = [], 0, 0
        for count in range((most + SLOWEST * self._rate) // SIZE):
            y = self._worked(silence if count else first)
            parts.append(y)
            have += len(y)
            loud = np.flatnonzero(np.max(np.abs(y), axis=1) > INAUDIBLE)
            quiet = len(y) - 1 - int(loud[-1]) if len(loud) else quiet + len(y)
            if have >= due and (not self._pause or quiet > self._pause or have > most):
                break
        ends = max(due, have - quiet) if self._pause else due
        return np.concatenate(parts)[:ends]

    def _worked(self, block: Audio) -> Audio:
        y = self._work(block)
        early = min(self._late, len(y))
        self._late -= early
        self._given += len(y) - early
        return y[early:]


class Series:
    """Stages one after the other, as one."""

    def __init__(self, stages: Iterable[Stage]) -> None:
        self._stages: Sequence[Stage] = tuple(stages)

    def step(self, x: Audio) -> Audio:
        """See `Stage`."""
        for stage in self._stages:
            x = stage.step(x)
        return x

    def flush(self) -> Audio:
        """See `Stage`."""
        rest: Audio | None = None
        for stage in self._stages:
            if rest is None:
                rest = stage.flush()
            else:
                rest = np.concatenate([stage.step(rest), stage.flush()])
        return np.zeros((0, 1), np.float32) if rest is None else rest


def through(stage: Stage, blocks: Iterable[Audio]) -> Iterator[Audio]:
    """`blocks` after the stage, its rest included; empty ones are left out."""
    for block in blocks:
        y = stage.step(block)
        if len(y):
            yield y
    rest = stage.flush()
    if len(rest):
        yield rest
