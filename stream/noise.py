"""Noise that belongs to a frame, not to the call that asks for it."""

import numpy as np

from stream.audio import Audio


class FrameNoise:
    """Standard normal numbers for the frames of a stream, `width` for each.

    A frame's numbers depend on `seed` (0 or more), `width` and its absolute number alone, so any
    cut of a stream draws the same: each frame has a counter of its own in a Philox generator, and
    nothing is carried over. Streams of noise that must not resemble each other take different
    seeds. Not for use by two threads at once.
    """

    def __init__(self, seed: int, width: int) -> None:
        self._width = width
        self._bits = np.random.Philox(key=seed)
        self._normal = np.random.Generator(self._bits)
        self._state = self._bits.state  # nothing drawn yet: no left-over bits

    def rows(self, first_frame: int, n: int) -> Audio:
        """[n, width] float32, for frames first_frame .. first_frame + n - 1."""
        out = np.empty((n, self._width), np.float32)
        for i in range(n):
            counter = (0, (first_frame + i) & 0xFFFF_FFFF_FFFF_FFFF, 0, 0)
            self._state["state"]["counter"][:] = counter
            self._bits.state = self._state
            self._normal.standard_normal(dtype=np.float32, out=out[i])
        return out

    def columns(self, first_frame: int, n: int) -> Audio:
        """The same as [width, n]."""
        return np.ascontiguousarray(self.rows(first_frame, n).T)


def frame_noise(seed: int, first_frame: int, n: int, width: int) -> Audio:
    """[width, n]: what `FrameNoise` gives for these frames, for once."""
    return FrameNoise(seed, width).columns(first_frame, n)
