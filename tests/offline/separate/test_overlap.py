"""The law of the overlap-add loop, over windows, edges, hops, lengths and blocks."""

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from separators import Same, in_blocks, noise

from offline.separate.overlap import overlap_add
from stream.audio import Audio


def joined(parts: Iterator[Audio], stems: int = 1) -> Audio:
    return np.concatenate([np.zeros((stems, 0, 2), np.float32), *parts], axis=1)


@settings(max_examples=150)
@given(
    window=st.integers(1, 70),
    edge=st.integers(0, 20),
    hop=st.integers(0, 70),
    frames=st.sampled_from([0, 1, 2, 63, 64, 65, 200]),
    cuts=st.lists(st.integers(0, 90), max_size=5),
)
@example(window=64, edge=0, hop=64, frames=64, cuts=[64])
@example(window=64, edge=16, hop=32, frames=65, cuts=[])
def test_what_returns_its_input_gives_the_song_back(
    window: int, edge: int, hop: int, frames: int, cuts: list[int]
) -> None:
    net = Same(("a", "b"), (1.0, -0.5), window, edge)
    usable = window - 2 * edge
    x = noise(frames)
    if usable < 1 or hop > usable:
        with pytest.raises(ValueError, match="holes"):
            joined(overlap_add([x], net, hop=hop))
        return
    found = joined(overlap_add(in_blocks(x, cuts), net, hop=hop), 2)
    assert found.shape == (2, frames, 2)
    limit = 0.5 * 10 ** (-90 / 20)
    assert np.abs(found[0] - x).max(initial=0) < limit
    assert np.abs(found[1] + 0.5 * x).max(initial=0) < limit
    np.testing.assert_array_equal(found, joined(overlap_add([x], net, hop=hop), 2))


def test_every_window_is_faded_into_the_next() -> None:
    """A network that counts its windows: the count never jumps."""

    class Counting(Same):
        def __call__(self, x: Audio) -> Audio:
            seen.append(len(x))
            return np.full((1, len(x), 2), float(len(seen)), np.float32)

    seen: list[int] = []
    net = Counting(window=1000, edge=0)
    found = joined(overlap_add([noise(5000)], net, hop=500))[0, :, 0]
    assert len(seen) == 9
    assert np.abs(np.diff(found)).max() < 0.005
    assert (np.diff(found) >= -1e-5).all()


def test_memory_does_not_grow_with_the_song() -> None:
    def peak(blocks: int) -> int:
        net = Same(window=16_384, edge=1024)
        block = noise(16_000)
        tracemalloc.start()
        for _ in overlap_add((block for _ in range(blocks)), net):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(400) < 1.1 * peak(20)
