"""What every detector must do that the package ships, and each one's own law."""

import doctest
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

import stream.models.f0.detector
from stream.audio import ANALYSIS_RATE, CONTENT_HOP, Audio
from stream.controls import F0_METHODS, F0Method
from stream.errors import AssetMissing, ConfigError
from stream.models.chorus import together
from stream.models.f0 import Crepe, Detectors, F0Detector, SwiftF0, centres
from stream.models.f0.detector import hold_newest
from stream.models.f0.detectors import ASSETS
from stream.models.f0.ensemble import Ensemble
from stream.models.f0.salience import CREPE_CENTS

SWIFT, CREPE = ASSETS / "swift-f0.onnx", ASSETS / "crepe-tiny.onnx"
SPEECH = Path(__file__).parents[1] / "speech"
DELAY = 2  # content frames of look-ahead
NAMED = Detectors(Path())
SHIPPED: tuple[F0Method, ...] = ("swift", "harmonic", "crepe-tiny")
BOTH = pytest.mark.parametrize("detector", [NAMED[name] for name in SHIPPED], ids=SHIPPED)


def voice(hz: Audio) -> Audio:
    """A voice-like sound of that pitch: harmonics below 4 kHz, falling by 6 dB an octave."""
    phase = 2.0 * np.pi * np.cumsum(hz) / ANALYSIS_RATE
    harmonics = range(1, int(4_000 / np.max(hz)) + 1)
    sound = np.sum([np.cos(k * phase) / k for k in harmonics], axis=0)
    return (0.1 * sound).astype(np.float32)


def cents(a: Audio, b: Audio | float) -> Audio:
    return 1200.0 * np.log2(np.asarray(a, np.float64) / b)


def hop_by_hop(x: Audio, detector: F0Detector, hop: int, delay: int = DELAY) -> Audio:
    """The committed frames of all whole hops of `x`, as the engine gets them."""
    frames = len(x) // (hop * CONTENT_HOP) * hop
    window = detector.window(hop, delay)
    padded = np.pad(x, (window, (delay + 1) * CONTENT_HOP))
    found = [np.zeros(0, np.float32)]
    for first in range(0, frames, hop):
        end = window + CONTENT_HOP * (first + hop + delay)
        found.append(detector(padded[end - window : end], hop, delay)[: 2 * hop])
    return np.concatenate(found)


def clip(name: str) -> Audio:
    samples, _ = sf.read(SPEECH / f"sense-and-sensibility-{name}.wav", dtype="float32")
    return np.asarray(samples, np.float32)


def test_examples() -> None:
    assert doctest.testmod(stream.models.f0.detector).failed == 0


def test_there_is_a_detector_for_every_control() -> None:
    assert tuple(NAMED) == F0_METHODS
    assert len(NAMED) == len(F0_METHODS)
    assert NAMED["swift"] is NAMED["swift"]


def test_a_model_that_is_not_installed_says_how_to_get_it(tmp_path: Path) -> None:
    for method in ("rmvpe", "fcpe", "crepe-full"):
        with pytest.raises(AssetMissing, match=f"timbral models pull {method}"):
            Detectors(tmp_path)[method]


def test_the_controls_choose_one_detector_or_an_ensemble() -> None:
    assert NAMED.live(("swift",), "mean") is NAMED["swift"]
    both = NAMED.live(SHIPPED, "mean")
    assert isinstance(both, Ensemble)
    assert both.live
    with pytest.raises(ConfigError, match="'harvest' needs a whole recording"):
        NAMED.live(("swift", "harvest"), "mean")


@BOTH
@pytest.mark.parametrize("hz", [70.0, 95.0, 150.0, 220.0, 440.0, 800.0])
def test_a_steady_voice_is_found(detector: F0Detector, hz: float) -> None:
    f0 = detector(voice(np.full(detector.window(1, DELAY), hz)), 1, DELAY)
    assert f0.shape == (2 + 2 * DELAY,)
    assert f0.dtype == np.float32
    assert np.abs(cents(f0[:2], hz)).max() < 30.0


@BOTH
@pytest.mark.parametrize("rise", [1.0, -1.0])
def test_the_pitch_is_that_at_the_frame_centres(detector: F0Detector, rise: float) -> None:
    """A gliding voice: 10 ms too early or too late are 20 cents."""
    newest = np.arange(-detector.window(1, DELAY), 0)
    hz = 200.0 * 2 ** (rise * newest / ANALYSIS_RATE * 20.0 / 12.0)
    f0 = detector(voice(hz), 1, DELAY)[:2]
    expected = hz[[-880, -720]]
    assert np.abs(cents(f0, expected)).max() < 15.0
    assert cents(f0[1:], float(f0[0]))[0] * rise > 5.0


@BOTH
def test_no_voice_is_found_where_there_is_none(detector: F0Detector) -> None:
    rng = np.random.default_rng(0)
    hiss = (0.1 * rng.standard_normal(20 * CONTENT_HOP)).astype(np.float32)
    clear = voice(np.full(detector.window(1, DELAY), 150.0))
    clear /= np.abs(clear).max()
    assert not detector(np.zeros_like(clear), 1, DELAY).any()
    assert not detector(clear * np.float32(1e-4), 1, DELAY).any()
    assert detector(clear * np.float32(1e-3), 1, DELAY)[:2].all()
    assert np.mean(hop_by_hop(hiss, detector, 1) > 0.0) < 0.1


@BOTH
@pytest.mark.parametrize("hz", [30.0, 1500.0])
def test_what_lies_outside_the_range_is_not_reported(detector: F0Detector, hz: float) -> None:
    tone = np.cos(2 * np.pi * hz * np.arange(detector.window(1, DELAY)) / ANALYSIS_RATE)
    f0 = detector(tone.astype(np.float32), 1, DELAY)
    assert np.all((f0 == 0.0) | ((f0 >= 49.0) & (f0 <= 1120.0)))


@BOTH
@pytest.mark.parametrize("hop", [2, 5])
def test_what_is_committed_is_the_same_at_every_hop(detector: F0Detector, hop: int) -> None:
    x = clip("0880")[16_000 : 16_000 + 20 * CONTENT_HOP]
    apart = hop_by_hop(x, detector, 1)
    assert (apart > 0.0).any()
    np.testing.assert_array_equal(hop_by_hop(x, detector, hop), apart)


@BOTH
@pytest.mark.parametrize(("hop", "delay"), [(1, 2), (2, 0), (5, 2), (8, 5), (8, 12)])
def test_what_is_heard_together_is_nearly_what_is_heard_one_by_one(
    detector: F0Detector, hop: int, delay: int
) -> None:
    x = clip("0880")[16_000 : 16_000 + detector.window(hop, delay)]
    one_by_one, together = detector(x, hop, delay), detector(x, hop, delay, together=True)
    assert together.shape == one_by_one.shape
    together, one_by_one = together[: 2 * hop], one_by_one[: 2 * hop]  # what is committed
    assert np.mean((together > 0.0) == (one_by_one > 0.0)) >= 0.7
    both = (together > 0.0) & (one_by_one > 0.0)
    if both.any():
        assert np.median(np.abs(cents(together[both], one_by_one[both]))) < 10.0


@BOTH
@pytest.mark.parametrize("delay", [0, 1, 4, 12])
def test_it_serves_every_look_ahead(detector: F0Detector, delay: int) -> None:
    f0 = detector(voice(np.full(detector.window(3, delay), 150.0)), 3, delay)
    assert f0.shape == (6 + 2 * delay,)
    assert np.abs(cents(f0[f0 > 0.0], 150.0)).max() < 30.0
    # with no look-ahead at all SwiftF0 finds little voice
    assert f0.all() if delay else f0[:2].any()


def test_the_newest_frames_hold_the_last_pitch_only_where_they_know_none() -> None:
    f0 = np.array([100.0, 110.0, 0.0, 120.0], np.float32)
    assert hold_newest(f0, 1).tolist() == [100.0, 110.0, 110.0, 120.0]
    assert hold_newest(f0, 0).tolist() == f0.tolist()
    assert hold_newest(np.array([100.0, 0.0, 0.0, 0.0], np.float32), 1).tolist() == [
        100.0,
        0.0,
        0.0,
        0.0,
    ]


@BOTH
def test_a_window_of_another_length_is_refused(detector: F0Detector) -> None:
    with pytest.raises(ValueError, match="samples for 2 frames"):
        detector(np.zeros(detector.window(2, DELAY) - 1, np.float32), 2, DELAY)


@BOTH
@pytest.mark.parametrize("n", [0, 1, 159, 160, 161, 320, 10_007])
def test_a_file_has_a_frame_for_every_ten_milliseconds(detector: F0Detector, n: int) -> None:
    f0 = detector.detect_file(voice(np.full(max(n, 1), 150.0))[:n])
    assert f0.shape == (n // 160,)
    assert f0.dtype == np.float32
    assert np.abs(cents(f0[10:-10], 150.0)).max(initial=0.0) < 30.0


def test_a_files_pieces_do_not_show() -> None:
    x = clip("0880")

    class Small(SwiftF0):
        PIECE = 20

    whole, pieces = (kind(SWIFT).detect_file(x) for kind in (SwiftF0, Small))
    both = (whole > 0.0) & (pieces > 0.0)
    assert np.mean((whole > 0.0) == (pieces > 0.0)) > 0.98
    assert np.median(np.abs(cents(whole[both], pieces[both]))) < 1.0


def test_frames_lie_ten_milliseconds_apart_the_last_one_five_before_the_end() -> None:
    np.testing.assert_array_equal(np.diff(centres(3, 4)), -160)
    assert centres(3, 4)[-1] == 80
    with pytest.raises(ValueError, match="negative, got 1 and -1"):
        centres(1, -1)


def test_swift_hears_spectra_through_a_hann_window_at_its_own_level() -> None:
    detector = SwiftF0(SWIFT)
    cosine = np.cos(2 * np.pi * 1_000.0 * np.arange(detector.window(1, DELAY)) / ANALYSIS_RATE)
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


@pytest.mark.parametrize(
    ("method", "level", "voicing", "median", "gross"),
    [
        ("swift", 1.0, 0.97, 5.0, 0.005),
        ("swift", 0.03, 0.97, 5.0, 0.005),
        ("harmonic", 1.0, 0.96, 7.0, 0.01),
        ("harmonic", 0.01, 0.96, 7.0, 0.01),
        ("crepe-tiny", 1.0, 0.87, 15.0, 0.06),
    ],
)
def test_on_speech_it_agrees_with_a_detector_that_hears_everything(
    method: F0Method, level: float, voicing: float, median: float, gross: float
) -> None:
    x = np.concatenate([clip("0880"), clip("0930")])
    f0 = hop_by_hop(np.float32(level) * x, NAMED[method], 1)
    best = NAMED["swift"].detect_file(x)[: len(f0)]
    both = (f0 > 0.0) & (best > 0.0)
    apart = np.abs(cents(f0[both], best[both]))
    assert np.mean((f0 > 0.0) == (best > 0.0)) >= voicing
    assert np.median(apart) < median
    assert np.mean(apart > 200.0) < gross
    assert 0.3 < np.mean(best > 0.0) < 0.9


def test_harmonic_hears_no_level_and_no_more_than_forty_milliseconds_ahead() -> None:
    """Law: what it commits depends on the sound's shape, up to two content frames after it."""
    detector, n = NAMED["harmonic"], 20
    x = clip("0880")[16_000 : 16_000 + detector.window(n, 8)]
    near = x[: detector.window(n, DELAY)]
    committed = detector(near, n, DELAY)[: 2 * n]
    assert (committed > 0.0).any()
    np.testing.assert_array_equal(detector(x, n, 8)[: 2 * n], committed)
    for db in (-10, -40):
        quiet = detector(near * np.float32(10 ** (db / 20)), n, DELAY)[: 2 * n]
        np.testing.assert_allclose(quiet, committed, rtol=1e-4)


def test_harmonic_hears_several_streams_in_one_call() -> None:
    detector = NAMED["harmonic"]
    x = clip("0880")
    starts = range(8_000, 40_000, 4_000)
    windows = [x[start : start + detector.window(2, DELAY)] for start in starts]
    alone = [detector(window, 2, DELAY) for window in windows]
    assert any(f0.any() for f0 in alone)
    calls: list[str] = []
    ended = together(
        [partial(detector, window, 2, DELAY) for window in windows],
        lambda name, _seconds: calls.append(name),
    )
    assert calls == ["harmonic-f0"]
    for one, of_many in zip(alone, ended, strict=True):
        np.testing.assert_allclose(of_many.value, one, rtol=1e-4)


def test_crepe_prefers_the_octave_below_when_it_shows() -> None:
    detector = Crepe(CREPE)
    salience = np.zeros((2, 360))
    salience[:, 200], salience[:, 140] = 0.8, 0.4
    octaves, sure = detector.decode(salience)
    np.testing.assert_allclose(octaves, CREPE_CENTS[140] / 1200 + np.log2(10.0))
    np.testing.assert_allclose(sure, 0.8)
    salience[:, 140] = 0.1
    octaves, _ = detector.decode(salience)
    np.testing.assert_allclose(octaves, CREPE_CENTS[200] / 1200 + np.log2(10.0))
