import doctest
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

import stream.models.f0
from stream.audio import ANALYSIS_RATE, CONTENT_HOP, Audio
from stream.controls import F0_METHODS, F0Method
from stream.models.f0 import (
    CrepeTiny,
    Detectors,
    F0Detector,
    SwiftF0,
    between,
    frame_centres,
    repair_octaves,
    shares,
)

SPEECH = Path(__file__).parents[1] / "speech"
DELAY = 2  # content frames of look-ahead
NAMED = Detectors(DELAY)
BOTH = pytest.mark.parametrize("detector", NAMED.values(), ids=NAMED.keys())


def voice(hz: Audio) -> Audio:
    """A voice-like sound of that pitch: harmonics below 4 kHz, falling by 6 dB an octave."""
    phase = 2.0 * np.pi * np.cumsum(hz) / ANALYSIS_RATE
    harmonics = range(1, int(4_000 / np.max(hz)) + 1)
    sound = np.sum([np.cos(k * phase) / k for k in harmonics], axis=0)
    return (0.1 * sound).astype(np.float32)


def cents(a: Audio, b: Audio | float) -> Audio:
    return 1200.0 * np.log2(np.asarray(a, np.float64) / b)


def windows(x: Audio, detector: F0Detector, frames: int, delay: int = DELAY) -> Audio:
    """The windows [frames, window] that the engine would pass for the content frames of `x`."""
    before, after = np.zeros(detector.window), np.zeros((delay + 1) * CONTENT_HOP)
    padded = np.concatenate([before, x, after]).astype(np.float32)
    ends = detector.window + CONTENT_HOP * (np.arange(frames) + 1 + delay)
    return np.stack([padded[end - detector.window : end] for end in ends])


def clip(name: str) -> Audio:
    samples, _ = sf.read(SPEECH / f"sense-and-sensibility-{name}.wav", dtype="float32")
    return np.asarray(samples, np.float32)


def test_examples() -> None:
    assert doctest.testmod(stream.models.f0).failed == 0


def test_there_is_a_detector_for_every_control() -> None:
    assert tuple(NAMED) == F0_METHODS
    assert len(NAMED) == len(F0_METHODS)


@BOTH
@pytest.mark.parametrize("hz", [70.0, 95.0, 150.0, 220.0, 440.0, 800.0])
def test_a_steady_voice_is_found(detector: F0Detector, hz: float) -> None:
    f0 = detector(voice(np.full(detector.window, hz))[np.newaxis])
    assert f0.shape == (1, 2)
    assert f0.dtype == np.float32
    assert np.abs(cents(f0, hz)).max() < 30.0


@BOTH
@pytest.mark.parametrize("rise", [1.0, -1.0])
def test_the_pitch_is_that_at_the_frame_centres(detector: F0Detector, rise: float) -> None:
    """A gliding voice: 10 ms too early or too late are 20 cents."""
    newest = np.arange(-detector.window, 0)
    hz = 200.0 * 2 ** (rise * newest / ANALYSIS_RATE * 20.0 / 12.0)
    f0 = detector(voice(hz)[np.newaxis])[0]
    expected = hz[[-880, -720]]
    assert np.abs(cents(f0, expected)).max() < 15.0
    assert cents(f0[1:], float(f0[0]))[0] * rise > 5.0


@BOTH
def test_no_voice_is_found_where_there_is_none(detector: F0Detector) -> None:
    rng = np.random.default_rng(0)
    hiss = (0.1 * rng.standard_normal((20, detector.window))).astype(np.float32)
    clear = voice(np.full(detector.window, 150.0))[np.newaxis]
    clear /= np.abs(clear).max()
    assert not detector(np.zeros_like(clear)).any()
    assert not detector(clear * np.float32(1e-4)).any()
    assert detector(clear * np.float32(1e-3)).all()
    assert np.mean(detector(hiss) > 0.0) < 0.1


@BOTH
@pytest.mark.parametrize("hz", [30.0, 1500.0])
def test_what_lies_outside_the_range_is_not_reported(detector: F0Detector, hz: float) -> None:
    tone = np.cos(2 * np.pi * hz * np.arange(detector.window) / ANALYSIS_RATE)
    f0 = detector(tone[np.newaxis].astype(np.float32))
    assert np.all((f0 == 0.0) | ((f0 >= 49.0) & (f0 <= 1120.0)))


@BOTH
def test_rows_do_not_depend_on_each_other(detector: F0Detector) -> None:
    x = windows(clip("0880")[16_000:], detector, 20)
    together = detector(x)
    assert (together > 0.0).any()
    np.testing.assert_array_equal(
        np.concatenate([detector(x[i : i + 1]) for i in range(20)]), together
    )
    assert detector(x[:0]).shape == (0, 2)


@pytest.mark.parametrize("kind", [SwiftF0, CrepeTiny])
@pytest.mark.parametrize("delay", [1, 4])
def test_it_serves_other_look_aheads(kind: type[SwiftF0 | CrepeTiny], delay: int) -> None:
    other = kind(frame_centres(delay))
    f0 = other(voice(np.full(other.window, 150.0))[np.newaxis])
    assert np.abs(cents(f0, 150.0)).max() < 30.0
    assert other.lookahead == CONTENT_HOP * delay + 80


def test_swift_hears_spectra_through_a_hann_window_at_its_own_level() -> None:
    detector = SwiftF0(frame_centres(DELAY))
    cosine = np.cos(2 * np.pi * 1_000.0 * np.arange(detector.window) / ANALYSIS_RATE)
    whole = detector.spectra(cosine.astype(np.float32))
    quiet = detector.spectra((0.01 * cosine).astype(np.float32))
    for name, size in SwiftF0.SPECTRA.items():
        spectrum = whole[name][0, 0]
        at = 1_000 * size // ANALYSIS_RATE
        np.testing.assert_allclose(
            spectrum[at - 1 : at + 2], np.array([1, 2, 1]) * size / 8, rtol=1e-3
        )
        assert spectrum[[*range(at - 2), *range(at + 3, len(spectrum))]].max() < 1e-3 * size
        np.testing.assert_allclose(quiet[name][0, 0], spectrum * 0.1 * np.sqrt(2), atol=1e-3 * size)


@pytest.fixture(scope="module")
def reference() -> tuple[Audio, Audio]:
    """6 s of speech, and SwiftF0's answer when it may hear all that its layers can hear."""

    class Unlimited(SwiftF0):
        CONTEXT = 8

    far = 10
    x = np.concatenate([clip("0880"), clip("0930")])
    detector = Unlimited(frame_centres(far))
    return x, detector(windows(x, detector, len(x) // CONTENT_HOP, far)).ravel()


@pytest.mark.parametrize(
    ("method", "level", "voicing", "median", "gross"),
    [
        ("swift", 1.0, 0.97, 5.0, 0.005),
        ("swift", 0.03, 0.97, 5.0, 0.005),
        ("crepe-tiny", 1.0, 0.87, 15.0, 0.06),
    ],
)
def test_on_speech_it_agrees_with_a_detector_that_hears_everything(
    reference: tuple[Audio, Audio],
    method: F0Method,
    level: float,
    voicing: float,
    median: float,
    gross: float,
) -> None:
    x, best = reference
    detector = NAMED[method]
    f0 = detector(windows(np.float32(level) * x, detector, len(x) // CONTENT_HOP)).ravel()
    both = (f0 > 0.0) & (best > 0.0)
    apart = np.abs(cents(f0[both], best[both]))
    assert np.mean((f0 > 0.0) == (best > 0.0)) >= voicing
    assert np.median(apart) < median
    assert np.mean(apart > 200.0) < gross
    assert 0.3 < np.mean(best > 0.0) < 0.9


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


def test_crepe_prefers_the_octave_below_when_it_shows() -> None:
    detector = CrepeTiny(frame_centres(DELAY))
    salience = np.zeros((2, 360))
    salience[:, 200], salience[:, 140] = 0.8, 0.4
    octaves, sure = detector._decode(salience)  # pyright: ignore[reportPrivateUsage]
    np.testing.assert_allclose(octaves, CrepeTiny.CENTS[140] / 1200 + np.log2(10.0))
    np.testing.assert_allclose(sure, 0.8)
    salience[:, 140] = 0.1
    octaves, _ = detector._decode(salience)  # pyright: ignore[reportPrivateUsage]
    np.testing.assert_allclose(octaves, CrepeTiny.CENTS[200] / 1200 + np.log2(10.0))


def test_a_look_ahead_is_not_negative() -> None:
    with pytest.raises(ValueError, match="not be negative, got -1"):
        frame_centres(-1)
