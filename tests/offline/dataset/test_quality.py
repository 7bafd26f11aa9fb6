from pathlib import Path

import numpy as np
import pytest
import soxr

from offline.dataset.quality import clipped, pitch, quality, tonal, unsteady
from offline.dataset.sound import is_telephone
from stream.audio import Audio
from stream.models.f0 import Detectors


def of(x: Audio, rate: int = 16_000):
    return quality(x, x, rate, rate)


def noise(n: int, db: float, seed: int = 0) -> Audio:
    """White, at that level."""
    return np.random.default_rng(seed).normal(0.0, 10 ** (db / 20), n).astype(np.float32)


def spoken(speech: Audio) -> Audio:
    """Speech, a second of nothing after each three seconds."""
    parts = np.split(speech[: 12 * 16_000], 4)
    return np.concatenate([np.pad(part, (0, 16_000)) for part in parts])


def music(n: int) -> Audio:
    """A chord that changes every second."""
    t = np.arange(n) / 16_000
    roots = np.array([220.0, 196.0, 174.6, 164.8])[(t.astype(int)) % 4]
    phase = 2 * np.pi * np.cumsum(roots) / 16_000
    tones = [np.sin(ratio * phase * k) / k for ratio in (1.0, 1.26, 1.5) for k in range(1, 6)]
    return np.sum(tones, axis=0).astype(np.float32) / 10


def test_noise_and_speech_are_told_apart(speech: Audio) -> None:
    told = spoken(speech) + noise(16 * 16_000, -50.0)
    found, levels = of(told)
    assert found.noise_db == pytest.approx(-50.0, abs=1.5)
    assert found.speech_db == pytest.approx(-22.5, abs=2.0)
    assert found.snr_db == found.speech_db - found.noise_db
    assert -48.0 < found.threshold_db < -40.0
    assert 0.25 < found.silence < 0.45
    assert levels.shape == (800,)


def test_the_level_does_not_change_what_is_speech(speech: Audio) -> None:
    told = spoken(speech) + noise(16 * 16_000, -50.0)
    loud, quiet = of(told)[0], of(told * np.float32(0.05))[0]
    assert quiet.silence == pytest.approx(loud.silence, abs=0.01)
    assert quiet.snr_db == pytest.approx(loud.snr_db, abs=0.5)
    assert quiet.bandwidth_hz == loud.bandwidth_hz


def test_digital_pauses_are_no_noise(speech: Audio) -> None:
    assert of(spoken(speech))[0].noise_db == -100.0


def test_clipping_is_seen_and_loud_sound_is_none(speech: Audio) -> None:
    x = speech / np.abs(speech).max()
    assert clipped(x) == 0.0
    cut = np.clip(3.0 * x, -1.0, 1.0)
    share = float(np.mean(np.abs(3.0 * x) >= 1.0))
    assert clipped(cut) == pytest.approx(share, rel=0.35)
    assert clipped(0.5 * cut) == clipped(cut)  # turned down later
    assert clipped(np.zeros(100, np.float32)) == 0.0
    t = np.arange(48_000) / 48_000
    slow = np.round(32_767 * np.sin(2 * np.pi * 101 * t)) / 32_768  # round, not flat
    assert clipped(slow.astype(np.float32)) == 0.0


def test_telephone_sound_is_heard_whatever_the_rate_of_the_file(speech: Audio) -> None:
    told = speech[: 8 * 16_000]
    assert of(told)[0].bandwidth_hz > 7_000.0
    narrow = soxr.resample(soxr.resample(told, 16_000, 8_000), 8_000, 48_000).astype(np.float32)
    upsampled = of(narrow + noise(len(narrow), -85.0), 48_000)[0]
    assert 3_000.0 < upsampled.bandwidth_hz < 4_600.0
    assert is_telephone(upsampled)
    assert not is_telephone(of(told + noise(len(told), -45.0))[0])


def test_music_in_the_pauses_is_heard_and_noise_is_not_music(speech: Audio) -> None:
    told = spoken(speech)

    def share(background: Audio) -> float | None:
        found, levels = of(told + background)
        return tonal(told + background, levels, found.threshold_db)

    hiss, chords = share(noise(len(told), -50.0)), share(0.02 * music(len(told)))
    assert hiss is not None
    assert chords is not None
    assert hiss < 0.05
    assert chords > 0.5
    silent = np.full(800, -120.0, np.float32)
    assert tonal(told, silent, -40.0) is None  # digital pauses tell nothing


def test_a_second_voice_is_suspected_and_noise_is_not(speech: Audio, home: Path) -> None:
    detect = Detectors(home)["swift"].detect_file
    told = speech[: 8 * 16_000]
    second = soxr.resample(speech, 23_200, 16_000)[: len(told)].astype(np.float32)

    def share(x: Audio) -> float:
        found = unsteady(x, detect(x))
        assert found is not None
        return found

    assert share(told) < 0.2
    assert share(told + noise(len(told), -38.0)) < 0.2
    assert share(told + second) > 0.25
    assert share(told + 0.3 * music(len(told))) > 0.25


def test_the_histogram_of_pitch_counts_voiced_frames() -> None:
    f0 = np.array([0.0] * 50 + [100.0] * 30 + [200.0] * 20, np.float32)
    found = pitch(np.zeros(16_000, np.float32), f0)
    assert found.voiced == 0.5
    assert (found.median_hz, found.low_hz, found.high_hz) == (100.0, 100.0, 200.0)
    assert sum(found.counts) == 50
    assert found.counts[12] + found.counts[11] == 30
    assert pitch(np.zeros(160, np.float32), np.zeros(1, np.float32)).median_hz == 0.0


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 700])
def test_next_to_nothing_has_a_quality_too(size: int) -> None:
    found, levels = of(noise(size, -20.0))
    assert found.seconds == size / 16_000
    assert len(levels) == size // 320
