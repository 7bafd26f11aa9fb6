import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streaming import noise

import stream.audio
from stream.audio import (
    LIMIT_KNEE,
    Audio,
    crossfade,
    equal_power_rise,
    float_from_s16,
    frame_levels,
    gain,
    rms_db,
    s16_from_float,
    sin2_rise,
    soft_limit,
)

SIZES = [1, 2, 63, 64, 65, 480]


def test_examples() -> None:
    assert doctest.testmod(stream.audio).failed == 0


@given(db=st.floats(-80.0, 20.0, allow_subnormal=False))
def test_a_gain_changes_the_level_by_its_decibels(db: float) -> None:
    x = noise(640)
    np.testing.assert_allclose(rms_db(gain(db) * x), rms_db(x) + db, atol=1e-3)


@pytest.mark.parametrize("size", SIZES)
def test_a_frame_level_is_that_of_its_own_samples(size: int) -> None:
    x = noise(7 * size)
    x[:size] = 0.0
    levels = frame_levels(x, size)
    assert levels.shape == (7,)
    assert levels.dtype == np.float32
    assert levels[0] == -120.0
    for i in range(7):
        np.testing.assert_array_equal(levels[i], np.float32(rms_db(x[i * size : (i + 1) * size])))


def test_no_frames_have_no_levels() -> None:
    assert frame_levels(noise(0), 320).shape == (0,)


@pytest.mark.parametrize("n", [0, *SIZES])
def test_fades_rise_and_keep_the_sum_or_the_power(n: int) -> None:
    once, power = sin2_rise(n), equal_power_rise(n)
    np.testing.assert_allclose(once + once[::-1], np.ones(n), atol=1e-6)
    np.testing.assert_allclose(power**2 + power[::-1] ** 2, np.ones(n), atol=1e-6)
    for rise in (once, power):
        assert rise.dtype == np.float32
        assert np.all(np.diff(rise) > 0.0)
        assert np.all((rise > 0.0) & (rise < 1.0))


@pytest.mark.parametrize("n", SIZES)
def test_a_crossfade_of_a_sound_with_itself_is_the_sound(n: int) -> None:
    x = noise(n)
    np.testing.assert_allclose(crossfade(x, x, sin2_rise(n)), x, rtol=1e-5)


def test_a_crossfade_goes_from_the_old_to_the_new() -> None:
    mixed = crossfade(np.full(480, -1.0), np.full(480, 2.0), equal_power_rise(480))
    np.testing.assert_allclose(mixed[[0, -1]], [-1.0, 2.0], atol=0.01)


def test_a_crossfade_of_two_sounds_keeps_their_power() -> None:
    old, new = (np.random.default_rng(seed).standard_normal((2000, 65)) for seed in (1, 2))
    power = np.mean(crossfade(old, new, equal_power_rise(65)) ** 2, axis=0)
    np.testing.assert_allclose(power, 1.0, atol=0.2)


def test_the_limiter_leaves_what_is_below_the_knee_alone() -> None:
    x = np.linspace(-LIMIT_KNEE, LIMIT_KNEE, 999, dtype=np.float32)
    np.testing.assert_array_equal(soft_limit(x), x)
    loud_beside = np.append(x, np.float32(3.0))
    np.testing.assert_array_equal(soft_limit(loud_beside)[:-1], x)


def test_the_limiter_is_smooth_monotonic_and_bounded() -> None:
    x = np.linspace(-4.0, 4.0, 80_001)
    y = soft_limit(x.astype(np.float32)).astype(np.float64)
    slope = np.diff(y) / np.diff(x)
    assert np.all(np.abs(y) <= 1.0)
    assert np.all(slope > -1e-3)
    knee = np.searchsorted(x, LIMIT_KNEE)
    assert abs(slope[knee + 5] - 1.0) < 0.05
    np.testing.assert_array_equal(y, -y[::-1])


def test_the_limiter_makes_silence_of_what_is_no_number() -> None:
    bad = np.array([np.nan, np.inf, -np.inf, 0.5], np.float32)
    np.testing.assert_array_equal(soft_limit(bad), np.array([0.0, 1.0, -1.0, 0.5], np.float32))


def test_the_limiter_never_returns_its_argument() -> None:
    x = noise(64)
    assert not np.shares_memory(soft_limit(x), x)
    assert soft_limit(noise(0)).shape == (0,)


def test_every_16_bit_sample_survives_the_way_to_float_and_back() -> None:
    samples = np.arange(-32768, 32768).astype(np.int16)
    floats = float_from_s16(samples)
    assert floats.dtype == np.float32
    assert floats.min() == -1.0
    np.testing.assert_array_equal(s16_from_float(floats), samples)


@pytest.mark.parametrize(
    ("x", "expected"),
    [(1.5, 32767), (-1.5, -32768), (np.nan, 0), (np.inf, 32767), (-np.inf, -32768), (2e-5, 1)],
)
def test_16_bit_samples_are_clipped_and_rounded(x: float, expected: int) -> None:
    samples: Audio = np.array([x], np.float32)
    assert s16_from_float(samples).tolist() == [expected]
