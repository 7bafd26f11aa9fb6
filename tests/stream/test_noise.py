import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.noise import frame_noise


@given(
    first=st.integers(-10, 2**63),
    lengths=st.lists(st.integers(0, 9), max_size=5),
    width=st.sampled_from([1, 63, 64, 65, 192]),
)
def test_any_cut_draws_the_same_numbers(first: int, lengths: list[int], width: int) -> None:
    whole = frame_noise(7, first, sum(lengths), width)
    parts = [np.zeros((width, 0), np.float32)]
    for n in lengths:
        parts.append(frame_noise(7, first, n, width))
        first += n
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_the_numbers_are_standard_normal_and_independent() -> None:
    x = frame_noise(1, 0, 2000, 192).astype(np.float64)
    n = x.size
    assert abs(x.mean()) < 5 / np.sqrt(n)
    assert abs(x.var() - 1.0) < 5 * np.sqrt(2 / n)
    assert abs((x**4).mean() - 3.0) < 5 * np.sqrt(96 / n)
    beside = [(x[:, 1:] * x[:, :-1]).mean(), (x[1:] * x[:-1]).mean()]  # frames, channels
    assert np.abs(beside).max() < 5 / np.sqrt(n)


def test_seeds_and_frames_do_not_share_numbers() -> None:
    rows = [frame_noise(seed, frame, 1, 64) for seed in range(5) for frame in range(-5, 5)]
    assert len(np.unique(np.concatenate(rows))) > 0.999 * 64 * len(rows)


def test_it_is_float32_in_c_order() -> None:
    x = frame_noise(0, 3, 2, 192)
    assert (x.dtype, x.shape, x.flags.c_contiguous) == (np.float32, (192, 2), True)
    assert frame_noise(0, 3, 0, 192).shape == (192, 0)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="key"):
        frame_noise(-1, 0, 1, 1)
