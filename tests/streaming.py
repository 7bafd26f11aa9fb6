"""The law that every streaming stage obeys, as a helper for tests."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from hypothesis import strategies as st

from stream.audio import Audio


class Stage(Protocol):
    """Audio in, audio out, with memory."""

    def step(self, x: Audio) -> Audio: ...
    def flush(self) -> Audio: ...


def pieces(x: Audio, cuts: Sequence[int]) -> list[Audio]:
    """`x` cut at the positions `cuts`; equal cuts give empty pieces."""
    return np.split(x, sorted(min(cut, len(x)) for cut in cuts))


def run(stage: Stage, x: Audio, cuts: Sequence[int] = ()) -> Audio:
    """Feed `x` to `stage`, cut at `cuts`, then flush."""
    return np.concatenate([*(stage.step(piece) for piece in pieces(x, cuts)), stage.flush()])


def noise(n: int, seed: int = 0) -> Audio:
    """`n` samples of white noise at about -20 dBFS, float32."""
    return (0.1 * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


def cuts_of(n: int) -> st.SearchStrategy[list[int]]:
    """Ways to cut `n` samples: any, one sample at a time, and pieces of 63, 64 and 65."""
    regular = st.sampled_from([1, 63, 64, 65]).map(lambda size: list(range(size, n, size)))
    return st.lists(st.integers(0, n), max_size=12) | regular
