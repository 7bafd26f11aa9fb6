"""Detectors that need a whole recording, and what all detectors make of real speech."""

import sys
from pathlib import Path

import numpy as np
import pytest

from stream.audio import ANALYSIS_RATE, Audio
from stream.controls import F0Method
from stream.errors import ConfigError
from stream.models.f0 import Detectors

NAMED = Detectors(Path())
METHODS: tuple[F0Method, ...] = ("pm", "harvest", "dio")


def gliding(seconds: float) -> tuple[Audio, Audio]:
    """A voice-like sound that rises 4 semitones a second from 150 Hz, and its pitch per frame."""
    hz = 150.0 * 2 ** (np.arange(int(seconds * ANALYSIS_RATE)) / ANALYSIS_RATE / 3.0)
    phase = 2.0 * np.pi * np.cumsum(hz) / ANALYSIS_RATE
    sound = 0.1 * np.sum([np.cos(k * phase) / k for k in range(1, 15)], axis=0)
    return sound.astype(np.float32), hz[80::160]


@pytest.mark.parametrize("method", METHODS)
def test_the_pitch_is_that_at_the_frames_centres(method: F0Method) -> None:
    sound, hz = gliding(1.0)
    f0 = NAMED[method].detect_file(sound)
    assert f0.shape == (100,)
    assert f0.dtype == np.float32
    inside = slice(10, -10)
    assert (f0[inside] > 0.0).all()
    cents = 1200 * np.log2(f0[inside] / hz[inside])
    assert np.abs(np.median(cents)) < 1.0  # 5 ms beside the centre would be 2
    assert np.abs(cents).max() < 20.0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [0, 1, 159, 160, 161, 1_000, 10_007])
def test_a_file_of_any_length_has_a_frame_for_every_ten_milliseconds(
    method: F0Method, n: int
) -> None:
    f0 = NAMED[method].detect_file(gliding(1.0)[0][:n])
    assert f0.shape == (n // 160,)
    assert np.isfinite(f0).all()
    assert not NAMED[method].detect_file(np.zeros(n, np.float32)).any()


@pytest.mark.parametrize("method", METHODS)
def test_they_cannot_be_used_live(method: F0Method) -> None:
    detector = NAMED[method]
    assert not detector.live
    with pytest.raises(ConfigError, match=f"'{method}' needs a whole recording"):
        detector.window(1, 2)
    with pytest.raises(ConfigError, match="cannot be used live"):
        detector(np.zeros(100, np.float32), 1, 2)
    with pytest.raises(ConfigError, match=f"'{method}' needs a whole recording"):
        NAMED.live((method,), "mean")


@pytest.mark.parametrize(("method", "package"), [("pm", "parselmouth"), ("dio", "pyworld")])
def test_a_package_that_is_not_there_is_named(
    method: F0Method, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"needs the package {package}.*'timbral\[offline\]'"):
        Detectors(Path())[method]


@pytest.fixture(scope="module")
def heard(speech: Audio) -> dict[F0Method, Audio]:
    """6 s of one man reading, by every detector that is here without a download."""
    methods: tuple[F0Method, ...] = ("swift", "harmonic", "crepe-tiny", "pm", "harvest", "dio")
    return {method: NAMED[method].detect_file(speech[: 6 * ANALYSIS_RATE]) for method in methods}


@pytest.mark.parametrize(
    ("method", "voicing", "median", "gross"),
    [
        ("harmonic", 0.95, 8.0, 0.01),
        ("crepe-tiny", 0.85, 12.0, 0.05),
        ("pm", 0.88, 9.0, 0.01),
        ("harvest", 0.65, 12.0, 0.05),  # WORLD's voice much of what is none
        ("dio", 0.60, 12.0, 0.05),
    ],
)
def test_detectors_agree_on_speech(
    heard: dict[F0Method, Audio], method: F0Method, voicing: float, median: float, gross: float
) -> None:
    """Against SwiftF0, which has nothing in common with any of them."""
    f0, best = heard[method], heard["swift"]
    both = (f0 > 0.0) & (best > 0.0)
    apart = np.abs(1200 * np.log2(f0[both] / best[both]))
    assert np.mean((f0 > 0.0) == (best > 0.0)) > voicing
    assert np.median(apart) < median
    assert np.mean(apart > 200.0) < gross
    assert both.mean() > 0.4
