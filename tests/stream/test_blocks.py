import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streaming import cuts_of, noise, pieces

from stream.audio import Audio
from stream.blocks import Blocks

X = noise(1000)


@given(cuts=cuts_of(len(X)), size=st.sampled_from([1, 63, 64, 65, 1000, 1001]))
def test_the_blocks_and_the_rest_are_the_input(cuts: list[int], size: int) -> None:
    blocks = Blocks(size)
    done = [blocks.step(piece) for piece in pieces(X, cuts)]
    assert all(block.shape[1] == size for block in done)
    assert blocks.pending == len(X) % size
    np.testing.assert_array_equal(np.concatenate([*map(np.ravel, done), blocks.flush()]), X)


@given(cuts=cuts_of(len(X)))
def test_a_block_comes_out_as_soon_as_it_is_complete(cuts: list[int]) -> None:
    blocks = Blocks(64)
    fed = made = 0
    for piece in pieces(X, cuts):
        fed += len(piece)
        made += len(blocks.step(piece))
        assert made == fed // 64


@pytest.mark.parametrize("end", ["reset", "flush"])
def test_reset_and_flush_leave_it_as_new(end: str) -> None:
    blocks = Blocks(64)
    blocks.step(X[:100])
    getattr(blocks, end)()
    assert blocks.pending == 0
    np.testing.assert_array_equal(blocks.step(X[:64]), X[None, :64])


def test_a_returned_block_is_not_changed_by_what_follows() -> None:
    blocks = Blocks(64)
    x = X[:64].copy()
    first = blocks.step(x)
    blocks.step(X[64:200])
    np.testing.assert_array_equal(first[0], X[:64])


def test_the_size_must_be_positive() -> None:
    with pytest.raises(ValueError, match="at least 1 sample, got 0"):
        Blocks(0)


@given(cuts=cuts_of(len(X)), sizes=st.lists(st.sampled_from([16, 64, 100]), min_size=1))
def test_another_size_on_the_way_loses_nothing(cuts: list[int], sizes: list[int]) -> None:
    blocks = Blocks(64)
    out: list[Audio] = []
    for i, piece in enumerate(pieces(X, cuts)):
        out.append(blocks.step(piece).reshape(-1))
        blocks.size = sizes[i % len(sizes)]
    np.testing.assert_array_equal(np.concatenate([*out, blocks.flush()]), X)
