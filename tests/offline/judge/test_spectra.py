"""Distances between sounds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline.judge.spectra import BANDS, Spectra, warped
from stream.audio import Audio

RATES = (16_000, 24_000, 48_000)


def voice(rate: int, seconds: float = 0.5) -> Audio:
    """A buzz with noise, whose timbre goes twice up and down, however long it takes."""
    t = np.arange(int(rate * seconds)) / rate
    tilt = 1.2 + np.sin(4 * np.pi * t / seconds)
    sound = np.sum([np.cos(2 * np.pi * k * 200 * t) * k**-tilt for k in range(1, 30)], axis=0)
    noise = np.random.default_rng(4).normal(size=len(t))
    return (0.1 * sound + 0.02 * noise).astype(np.float32)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("samples", [0, 1, 63, 64, 65, 479, 480, 4_801])
def test_there_is_a_frame_for_every_whole_ten_milliseconds(rate: int, samples: int) -> None:
    mel = Spectra(rate).log_mel(np.zeros(samples, np.float32))
    assert mel.shape == (samples // (rate // 100), BANDS)
    assert np.isfinite(mel).all()


@pytest.mark.parametrize("rate", RATES)
def test_a_sound_is_at_no_distance_from_itself(rate: int) -> None:
    spectra, sound = Spectra(rate), voice(rate)
    assert spectra.mel_distance(sound, sound) == 0.0
    assert spectra.mcd(sound, sound) < 0.01


def test_another_level_is_its_own_distance_in_db_and_no_cepstral_distance() -> None:
    spectra, sound = Spectra(24_000), voice(24_000)
    assert spectra.mel_distance(sound, 2.0 * sound) == pytest.approx(6.02, abs=0.5)
    assert spectra.mcd(sound, 2.0 * sound) < 0.3


def test_time_does_not_matter_to_the_cepstra_and_timbre_does() -> None:
    spectra, sound, slower = Spectra(24_000), voice(24_000), voice(24_000, seconds=0.8)
    filtered = np.convolve(sound, [1.0, -0.9], "same").astype(np.float32)
    assert spectra.mcd(sound, slower) < 0.6 * spectra.mcd(sound, filtered)
    assert spectra.mcd(sound, filtered) > 1.0


def test_silence_is_no_distance_away_and_has_no_cepstra() -> None:
    spectra, none = Spectra(16_000), np.zeros(1_600, np.float32)
    assert spectra.mel_distance(none, none) == 0.0
    assert np.isnan(spectra.mcd(none, voice(16_000)))
    assert spectra.mel_distance(none, voice(16_000)) > 20.0


def reference(cost: Audio) -> float:
    """The same by trying every path."""

    def paths(i: int, j: int) -> list[list[float]]:
        if (i, j) == (0, 0):
            return [[float(cost[0, 0])]]
        steps = ((i - 1, j - 1), (i - 1, j), (i, j - 1))
        return [[*path, float(cost[i, j])] for a, b in steps if a >= 0 <= b for path in paths(a, b)]

    found = paths(cost.shape[0] - 1, cost.shape[1] - 1)
    least = min(sum(path) for path in found)
    return min(abs(least / len(p) - warped(cost)) for p in found if abs(sum(p) - least) < 1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_warping_finds_the_cheapest_path(n: int, m: int, seed: int) -> None:
    cost = np.random.default_rng(seed).uniform(0.1, 1.0, (n, m))
    assert reference(cost) < 1e-9
