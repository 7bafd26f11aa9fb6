"""Pure functions on pitch contours."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.models.f0.contour import between, repair_octaves, shares


@given(at=st.lists(st.integers(64, 2_112), min_size=1, max_size=5))
def test_the_shares_interpolate_linearly(at: list[int]) -> None:
    distances = 64 + 256 * np.arange(9)[::-1]
    weights = shares(distances, np.array(at))
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    np.testing.assert_allclose(weights @ distances, at)
    assert (weights >= 0.0).all()


def test_an_unvoiced_frame_has_no_say_in_the_pitch() -> None:
    weights = np.array([[0.5, 0.5], [0.25, 0.75]])
    pitch, sure = between(weights, np.array([7.0, 10.0]), np.array([1.0, 0.0]))
    np.testing.assert_allclose(pitch, 7.0, atol=1e-6)
    np.testing.assert_allclose(sure, [0.5, 0.25])
    pitch, _ = between(weights, np.array([7.0, 8.0]), np.array([0.8, 0.8]))
    np.testing.assert_allclose(pitch, [7.5, 7.75])


OCTAVES = st.lists(st.sampled_from([0.0, 1.0, -1.0]), min_size=0, max_size=30)


@settings(max_examples=50)
@given(jumps=OCTAVES, data=st.data())
def test_the_octave_guard_moves_voiced_frames_by_whole_octaves(
    jumps: list[float], data: st.DataObject
) -> None:
    pitch = 7.0 + np.array(jumps, np.float64)
    voiced = np.array(data.draw(st.lists(st.booleans(), min_size=len(jumps), max_size=len(jumps))))
    voiced = voiced.astype(np.bool_)
    moved = repair_octaves(pitch, voiced) - pitch
    assert set(np.abs(moved).tolist()) <= {0.0, 1.0}
    assert not moved[~voiced].any()


@pytest.mark.parametrize("jump", [1.0, -1.0, 1.1, -0.9])
@pytest.mark.parametrize("length", [1, 2])
def test_the_octave_guard_undoes_short_jumps(jump: float, length: int) -> None:
    pitch = np.linspace(7.0, 7.1, 12)
    wrong = pitch.copy()
    wrong[5 : 5 + length] += jump
    repaired = repair_octaves(wrong, np.ones(12, np.bool_))
    assert np.abs(repaired - pitch).max() <= 0.1 + 1e-9


@pytest.mark.parametrize("jump", [1.0, -1.0, 0.5])
def test_the_octave_guard_keeps_leaps_that_stay(jump: float) -> None:
    pitch = np.where(np.arange(12) < 6, 7.0, 7.0 + jump)
    np.testing.assert_array_equal(repair_octaves(pitch, np.ones(12, np.bool_)), pitch)


def test_the_octave_guard_says_nothing_without_company() -> None:
    pitch = np.array([7.0, 8.0, 7.0])
    voiced = np.array([True, True, False])
    np.testing.assert_array_equal(repair_octaves(pitch, voiced), pitch)
