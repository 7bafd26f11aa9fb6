import numpy as np
import pytest

from offline.dataset.cleaning import denoise, high_pass
from stream.audio import Audio

SIZES = (0, 1, 63, 64, 65)


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_the_high_pass_takes_rumble_and_moves_nothing(rate: int) -> None:
    impulse = np.zeros(rate, np.float32)
    impulse[rate // 2] = 1.0
    out = high_pass(impulse, rate, 48.0)
    assert int(np.argmax(np.abs(out))) == rate // 2
    np.testing.assert_allclose(out[1:], out[1:][::-1], atol=1e-7)  # symmetric: no phase
    level = 20 * np.log10(np.abs(np.fft.rfft(out, 1 << 18)) + 1e-12)
    hz = np.fft.rfftfreq(1 << 18, 1 / rate)
    assert level[hz <= 20.0].max() <= -60.0
    assert np.abs(level[hz >= 57.6]).max() <= 0.01


@pytest.mark.parametrize("size", SIZES)
def test_cleaning_keeps_the_length(size: int) -> None:
    x = np.random.default_rng(0).normal(0.0, 0.1, size).astype(np.float32)
    assert len(high_pass(x, 16_000, 48.0)) == size
    assert len(denoise(x, 16_000, 1.0)) == size
    np.testing.assert_array_equal(high_pass(x, 16_000, 0.0), x)
    np.testing.assert_array_equal(denoise(x, 16_000, 0.0), x)


def test_long_recordings_are_filtered_in_blocks_without_a_seam() -> None:
    x = np.random.default_rng(0).normal(0.0, 0.1, 100_000).astype(np.float32)
    whole = high_pass(x, 8_000, 48.0)
    part = high_pass(x[30_000:50_000], 8_000, 48.0)
    np.testing.assert_allclose(part[5_000:-5_000], whole[35_000:45_000], atol=1e-6)


def test_noise_goes_and_speech_stays(speech: Audio) -> None:
    clean = speech[: 8 * 16_000]
    noise = np.random.default_rng(0).normal(0.0, 1.0, len(clean)).astype(np.float32)
    noise *= 10 ** (-15 / 20) * np.sqrt(np.mean(clean**2))

    def snr(x: Audio) -> float:
        return 10 * float(np.log10(np.mean(clean**2) / np.mean((x - clean) ** 2)))

    noisy = clean + noise
    full, half = (snr(denoise(noisy, 16_000, strength)) for strength in (1.0, 0.5))
    assert snr(noisy) + 1.5 < half < full
    assert full > snr(noisy) + 4.0
    assert snr(denoise(clean, 16_000, 1.0)) > 25.0


def test_nothing_is_made_louder_and_silence_stays_silent(speech: Audio) -> None:
    quiet = np.zeros(16_000, np.float32)
    np.testing.assert_array_equal(denoise(quiet, 16_000, 1.0), quiet)
    x = speech[: 4 * 16_000]
    out = denoise(x, 16_000, 1.0)
    assert np.sum(out**2) < np.sum(x**2)
    assert np.sum(out**2) > 0.9 * np.sum(x**2)
