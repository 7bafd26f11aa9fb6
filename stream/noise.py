"""Noise that belongs to a frame, not to the call that asks for it."""

import numpy as np

from stream.audio import Audio


def frame_noise(seed: int, first_frame: int, n: int, width: int) -> Audio:
    """Standard normal numbers, [width, n] float32, for frames first_frame .. first_frame + n - 1.

    Column i depends on `seed` (0 or more), `width` and the frame's absolute number alone, so any
    cut of a stream draws the same numbers:

        frame_noise(s, k, a + b, w) == frame_noise(s, k, a, w) and frame_noise(s, k + a, b, w)

    Each frame has a counter of its own in a Philox generator; nothing is carried over. Streams of
    noise that must not resemble each other take different seeds.
    """
    generator = np.random.Philox(key=seed)
    normal = np.random.Generator(generator)
    state = generator.state  # nothing drawn yet: no left-over bits
    out = np.empty((n, width), np.float32)
    for i in range(n):
        state["state"]["counter"][:] = (0, (first_frame + i) & 0xFFFF_FFFF_FFFF_FFFF, 0, 0)
        generator.state = state
        normal.standard_normal(dtype=np.float32, out=out[i])
    return np.ascontiguousarray(out.T)
