import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import stream.pitch
from stream.pitch import GLIDE, MEMORY, SETTLE, PitchMatch, coarse, shift

CONTOUR = np.where(
    np.random.default_rng(0).random(400) < 0.3,
    0.0,
    110.0 * 2 ** (np.random.default_rng(1).normal(0.0, 3.0, 400) / 12),
).astype(np.float32)  # 4 s of a lively speaker around 110 Hz, 30 % unvoiced


def test_examples() -> None:
    assert doctest.testmod(stream.pitch).failed == 0


def test_the_coarse_scale_covers_its_range_in_order() -> None:
    index = coarse(np.concatenate([[0.0], np.geomspace(20.0, 2000.0, 5000)]))
    assert (index[0], index[1], index[-1]) == (1, 1, 255)
    assert np.all(np.diff(index) >= 0)
    assert set(index.tolist()) == set(range(1, 256))
    assert index.dtype == np.int64


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65])
def test_shifting_up_and_down_again_is_nothing(n: int) -> None:
    f0 = CONTOUR[:n]
    back = shift(shift(f0, 7.3), -7.3)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, f0, rtol=1e-6)
    np.testing.assert_array_equal(shift(f0, np.zeros(n)), f0)


@given(cuts=st.lists(st.integers(0, 50), max_size=10))
def test_cutting_the_stream_does_not_change_the_offsets(cuts: list[int]) -> None:
    f0 = CONTOUR[:100]
    match = PitchMatch(200.0)
    parts = [match.step(piece) for piece in np.split(f0, 2 * np.sort(cuts))]
    np.testing.assert_array_equal(np.concatenate(parts), PitchMatch(200.0).step(f0))


def test_it_reaches_the_semitones_between_speaker_and_voice() -> None:
    offsets = PitchMatch(220.0).step(CONTOUR)
    assert abs(offsets[-1] - 12.0) < 0.5
    moved = shift(CONTOUR, offsets)
    assert abs(12 * np.log2(np.median(moved[moved > 0]) / 220.0)) < 0.5


def test_the_first_voiced_frame_counts_at_once() -> None:
    match = PitchMatch(220.0)
    f0 = np.array([0.0, 0.0, 0.0, 110.0], np.float32)
    np.testing.assert_allclose(match.step(f0), [0.0, 0.0, 12.0, 12.0], atol=1e-4)
    assert match.offset == pytest.approx(12.0)


def test_later_it_glides_so_that_intonation_passes() -> None:
    match = PitchMatch(220.0)
    match.step(np.full(SETTLE, 110.0, np.float32))
    offsets = match.step(np.full(4 * MEMORY, 220.0, np.float32))
    steps = np.abs(np.diff(offsets))
    assert steps.max() <= GLIDE + 1e-5
    assert abs(offsets[-1]) < 1e-3  # after 6 s the new speaker is the median


def test_a_first_syllable_that_misleads_is_mended_within_a_second() -> None:
    match = PitchMatch(220.0)
    match.step(np.full(12, 140.0, np.float32))
    offsets = match.step(np.full(100, 110.0, np.float32))
    assert offsets[0] < 9.0
    assert abs(offsets[-1] - 12.0) < 0.2
    assert np.abs(np.diff(offsets)).max() <= SETTLE / 12 * GLIDE + 1e-6


def test_an_octave_error_here_and_there_does_not_move_it() -> None:
    clean = np.full(200, 110.0, np.float32)
    wrong = clean.copy()
    wrong[::10] *= 2
    offsets = PitchMatch(220.0).step(wrong)[50:]
    np.testing.assert_allclose(offsets, PitchMatch(220.0).step(clean)[50:], atol=1e-3)


def test_an_offset_depends_on_nothing_later() -> None:
    later = CONTOUR.copy()
    later[200:] = 400.0
    np.testing.assert_array_equal(
        PitchMatch(200.0).step(later)[:200], PitchMatch(200.0).step(CONTOUR)[:200]
    )


def test_the_offset_is_bounded() -> None:
    assert PitchMatch(1000.0).step(np.full(50, 60.0, np.float32)).max() == 24.0


def test_silence_keeps_the_offset_and_reset_forgets_it() -> None:
    match = PitchMatch(220.0)
    match.step(np.full(20, 110.0, np.float32))
    np.testing.assert_allclose(match.step(np.zeros(100, np.float32)), 12.0, atol=1e-4)
    match.reset()
    np.testing.assert_array_equal(match.step(np.zeros(2, np.float32)), 0.0)
    np.testing.assert_array_equal(match.step(CONTOUR), PitchMatch(220.0).step(CONTOUR))


def test_the_target_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive, got 0"):
        PitchMatch(0.0)
