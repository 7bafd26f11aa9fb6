import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streaming import cuts_of, noise, pieces

from stream.ring import Ring

X = noise(1000)


@given(
    cuts=cuts_of(len(X)),
    capacity=st.sampled_from([1, 63, 64, 65, 999, 1000, 5000]),
    data=st.data(),
)
def test_it_reads_what_was_written(cuts: list[int], capacity: int, data: st.DataObject) -> None:
    ring = Ring(capacity)
    written = 0
    for piece in pieces(X, cuts):
        ring.write(piece)
        written += len(piece)
        assert (ring.start, ring.end) == (max(0, written - capacity), written)
        np.testing.assert_array_equal(ring.read(ring.start, written), X[ring.start : written])
    a = data.draw(st.integers(ring.start, ring.end))
    b = data.draw(st.integers(a, ring.end))
    np.testing.assert_array_equal(ring.read(a, b), X[a:b])


def test_before_position_0_there_is_silence() -> None:
    ring = Ring(64)
    np.testing.assert_array_equal(ring.read(-5, 0), np.zeros(5))
    ring.write(X[:10])
    np.testing.assert_array_equal(ring.read(-3, 4), np.append(np.zeros(3), X[:4]))
    ring.write(X[10:200])
    np.testing.assert_array_equal(ring.read(-8, -3), np.zeros(5))


@pytest.mark.parametrize(
    ("a", "b", "why"),
    [
        (100, 201, "ends at 200"),
        (135, 140, "begins at 136"),
        (-1, 1, "begins at 136"),
        (150, 149, "cannot read 150..149"),
    ],
)
def test_it_refuses_what_is_overwritten_or_not_there_yet(a: int, b: int, why: str) -> None:
    ring = Ring(64)
    ring.write(X[:200])
    with pytest.raises(ValueError, match=why):
        ring.read(a, b)


def test_what_was_read_stays_when_more_is_written() -> None:
    ring = Ring(64)
    ring.write(X[:64])
    read = ring.read(0, 64)
    ring.write(X[64:128])
    np.testing.assert_array_equal(read, X[:64])


def test_reading_nothing_is_nothing() -> None:
    ring = Ring(64)
    ring.write(X[:200])
    assert ring.read(10, 10).shape == (0,)
    assert ring.read(200, 200).shape == (0,)


def test_reset_leaves_it_as_new() -> None:
    ring = Ring(64)
    ring.write(X[:100])
    ring.reset()
    assert (ring.start, ring.end) == (0, 0)
    ring.write(X[:3])
    np.testing.assert_array_equal(ring.read(-2, 3), np.append(np.zeros(2), X[:3]))


def test_the_capacity_must_be_positive() -> None:
    with pytest.raises(ValueError, match="at least 1 sample, got 0"):
        Ring(0)
