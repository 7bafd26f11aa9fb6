"""What passes between a sound device's callback and the rest, without a lock."""

import time

import numpy as np

from clients.jitter import JitterBuffer
from stream.audio import Audio


class Ear:
    """The last seconds that a microphone heard, addressed by samples since the beginning.

    `put` is the callback's; everything else is for one other thread, which must take sound
    within `seconds`.
    """

    def __init__(self, rate: int, seconds: float = 2.0) -> None:
        self.rate = rate
        self._ring: Audio = np.zeros(int(rate * seconds), np.float32)
        self.written = 0
        self._stamp = (0, time.perf_counter())  # samples, and when the last of them came

    @property
    def capacity(self) -> int:
        """Samples that are kept."""
        return len(self._ring)

    def put(self, samples: Audio) -> None:
        """Keep `samples` [n]."""
        size = len(self._ring)
        samples = samples[-size:]
        at = self.written % size
        first = min(len(samples), size - at)
        self._ring[at : at + first] = samples[:first]
        self._ring[: len(samples) - first] = samples[first:]
        self.written += len(samples)
        self._stamp = (self.written, time.perf_counter())

    def take(self, start: int, n: int) -> Audio:
        """A copy of the samples `start` .. `start + n - 1`, [n]; they must be there still."""
        size = len(self._ring)
        at = start % size
        first = min(n, size - at)
        out = np.empty(n, np.float32)
        out[:first] = self._ring[at : at + first]
        out[first:] = self._ring[: n - first]
        return out

    def heard_at(self, sample: int) -> float:
        """When sample number `sample` came, in seconds of `time.perf_counter`."""
        written, now = self._stamp
        return now - (written - sample) / self.rate


class Mouth:
    """What a loudspeaker says: a jitter buffer that is replaced for every conversation.

    `read` is the callback's. Without a buffer, and when its buffer runs dry, it says nothing.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.buffer: JitterBuffer | None = None

    def read(self, out: Audio) -> None:
        """Fill `out` [n]."""
        buffer = self.buffer
        if buffer is None:
            out[:] = 0.0
        else:
            buffer.read(out)

    def begin(self) -> JitterBuffer:
        """A new conversation; returns its buffer."""
        self.buffer = JitterBuffer(self.rate)
        return self.buffer
