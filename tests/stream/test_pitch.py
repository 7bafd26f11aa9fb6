import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stream.pitch
from stream.controls import SCALES, Scale
from stream.pitch import GLIDE, MEMORY, SETTLE, PitchMatch, autotune, coarse, shift

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


@settings(max_examples=40)
@given(
    hz=st.floats(20.0, 4_000.0, allow_subnormal=False),
    strength=st.floats(0.0, 1.0, allow_subnormal=False),
    scale=st.sampled_from(SCALES),
    key=st.integers(0, 11),
)
def test_autotune_draws_each_pitch_towards_the_nearest_note_of_the_scale(
    hz: float, strength: float, scale: Scale, key: int
) -> None:
    f0 = np.array([hz, 0.0], np.float32)
    sung = 69 + 12 * np.log2(float(f0[0]) / 440.0)
    steps = {
        "chromatic": range(12),
        "major": (0, 2, 4, 5, 7, 9, 11),
        "minor": (0, 2, 3, 5, 7, 8, 10),
    }
    notes = [n for n in range(-20, 150) if (n - key) % 12 in steps[scale]]
    least = min(abs(n - sung) for n in notes)
    tuned, unvoiced = autotune(f0, strength, scale, key)
    found = 69 + 12 * np.log2(float(tuned) / 440.0)
    assert unvoiced == 0.0
    assert abs(found - sung) == pytest.approx(strength * least, abs=1e-4)
    assert min(abs(n - found) for n in notes) == pytest.approx((1.0 - strength) * least, abs=1e-4)


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65])
def test_autotune_keeps_shape_silence_and_what_is_in_tune(n: int) -> None:
    on_notes = np.where(np.arange(n) % 3 == 0, 0.0, 440.0 * 2 ** (np.arange(n) % 24 / 12 - 1.0))
    tuned = autotune(on_notes.astype(np.float32), 1.0, "chromatic", 0)
    assert tuned.dtype == np.float32
    np.testing.assert_allclose(tuned, on_notes, rtol=1e-6)
    np.testing.assert_array_equal(autotune(CONTOUR[:n], 0.0, "minor", 9), CONTOUR[:n])


def test_autotune_lands_exactly_on_the_a_of_every_octave() -> None:
    f0 = np.array([54.0, 112.0, 217.0, 445.0, 870.0], np.float32)
    np.testing.assert_array_equal(
        autotune(f0, 1.0, "minor", 9), np.array([55, 110, 220, 440, 880], np.float32)
    )


@given(cuts=st.lists(st.integers(0, 50), max_size=10))
def test_cutting_the_stream_does_not_change_the_offsets(cuts: list[int]) -> None:
    f0 = CONTOUR[:100]
    match = PitchMatch(200.0)
    parts = [match.step(piece) for piece in np.split(f0, 2 * np.sort(cuts))]
    np.testing.assert_array_equal(np.concatenate(parts), PitchMatch(200.0).step(f0))


def test_the_coarse_scale_has_rvcs_own_values() -> None:
    """Of 110 Hz others make 29 or 43, of 880 Hz 211 or 227: bounds in Hz, or another maximum."""
    assert coarse(np.array([110.0, 440.0, 523.0, 880.0])).tolist() == [23, 122, 143, 217]


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
