"""The last seconds of a stream, addressed by absolute sample positions."""

import numpy as np

from stream.audio import Audio


class Ring:
    """Keeps the last `capacity` samples that were written.

    Positions count samples since the stream began; the sample written first has position 0.
    For every a <= b with a >= start (or b <= 0) and b <= end,

        read(a, b) == everything ever written, with zeros before position 0, cut to a..b

    however the writing was cut. What was read stays as it is when more is written.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1 sample, got {capacity}")
        self.capacity = capacity
        self._samples: Audio = np.zeros(capacity, np.float32)
        self.reset()

    @property
    def start(self) -> int:
        """Position of the oldest sample that can still be read."""
        return max(0, self._end - self.capacity)

    @property
    def end(self) -> int:
        """Position that the next sample will have: how many were written."""
        return self._end

    def write(self, x: Audio) -> None:
        """Append `x` [n]; n may be 0, or more than the capacity."""
        kept = x[-self.capacity :] if len(x) > self.capacity else x
        at = (self._end + len(x) - len(kept)) % self.capacity
        first = min(len(kept), self.capacity - at)
        self._samples[at : at + first] = kept[:first]
        self._samples[: len(kept) - first] = kept[first:]
        self._end += len(x)

    def read(self, a: int, b: int) -> Audio:
        """A copy of the samples at positions a .. b - 1, [b - a]; zeros before position 0.

        Raises `ValueError` when part of them is overwritten, or not there yet.
        """
        if not a <= b <= self._end:
            raise ValueError(f"cannot read {a}..{b}: the stream ends at {self._end}")
        out: Audio = np.zeros(b - a, np.float32)
        if b <= 0 or a == b:
            return out
        begin = max(a, 0)
        if begin < self.start:
            raise ValueError(f"cannot read {a}..{b}: what is left begins at {self.start}")
        at = begin % self.capacity
        first = min(b - begin, self.capacity - at)
        body = out[begin - a :]
        body[:first] = self._samples[at : at + first]
        body[first:] = self._samples[: b - begin - first]
        return out

    def reset(self) -> None:
        """Forget everything; the next sample has position 0."""
        self._end = 0
