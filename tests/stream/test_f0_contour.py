"""Pure functions on pitch contours."""

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stream.models.f0.contour
from stream.models.f0.contour import between, held, interpolated, repair_octaves, shares


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


CONTOUR = st.lists(st.sampled_from([0.0, 0.0, 90.0, 100.0, 250.0]), min_size=1, max_size=40)


@settings(max_examples=40)
@given(values=CONTOUR)
def test_interpolation_leaves_voiced_frames_and_fills_the_rest_between_their_neighbours(
    values: list[float],
) -> None:
    f0 = np.array(values, np.float32)
    filled = interpolated(f0)
    voiced = f0 > 0.0
    assert filled.dtype == np.float32
    np.testing.assert_array_equal(filled[voiced], f0[voiced])
    if not voiced.any():
        assert not filled.any()
        return
    at = np.flatnonzero(voiced)
    for i in np.flatnonzero(~voiced):
        before, after = np.searchsorted(at, i) - 1, np.searchsorted(at, i)
        near = f0[at[np.clip([before, after], 0, len(at) - 1)]]
        assert near.min() <= filled[i] <= near.max()
    bends = np.abs(np.diff(filled.astype(np.float64), 2))
    straight = ~voiced[1:-1] & (np.arange(1, len(f0) - 1) > at[0])
    straight &= np.arange(1, len(f0) - 1) < at[-1]
    assert not (bends[straight] > 1e-3).any()


@settings(max_examples=40)
@given(values=CONTOUR, cut=st.integers(0, 40))
def test_what_is_held_live_does_not_depend_on_the_cut_or_on_what_follows(
    values: list[float], cut: int
) -> None:
    f0 = np.array(values, np.float32)
    whole = held(f0, 0.0)
    first = held(f0[:cut], 0.0)
    last = float(first[-1]) if len(first) else 0.0
    np.testing.assert_array_equal(np.concatenate([first, held(f0[cut:], last)]), whole)
    np.testing.assert_array_equal(whole[f0 > 0.0], f0[f0 > 0.0])
    begun = np.cumsum(f0 > 0.0) > 0
    np.testing.assert_array_equal(whole > 0.0, begun)


def test_examples() -> None:
    assert doctest.testmod(stream.models.f0.contour).failed == 0
