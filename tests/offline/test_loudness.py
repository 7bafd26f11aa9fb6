from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from pyloudnorm import Meter as Standard
from scipy.signal import resample

from offline.limiter import Limiter
from offline.loudness import SILENT_LUFS, Loudness, Meter, TruePeak, measure, measured
from offline.stage import SIZE, Series, through
from stream.audio import Audio, gain
from stream.errors import AudioError

RATE = 48_000


def noise(seconds: float, channels: int = 2, rate: int = RATE, seed: int = 0) -> Audio:
    """Noise whose level wanders, [n, channels]."""
    rng = np.random.default_rng(seed)
    n = round(seconds * rate)
    swell = 0.02 + 0.2 * np.sin(np.pi * np.arange(n) / rate) ** 4
    return (rng.standard_normal((n, channels)) * swell[:, None]).astype(np.float32)


def cut(x: Audio, sizes: list[int]) -> list[Audio]:
    """`x` in pieces of those sizes, over and over."""
    parts, begin = [], 0
    while begin < len(x):
        for size in [*sizes, 2000]:
            parts.append(x[begin : begin + size])
            begin += size
    return parts


@pytest.mark.parametrize(("rate", "channels"), [(48_000, 2), (44_100, 1), (8_000, 2)])
def test_loudness_is_that_of_an_independent_meter(rate: int, channels: int) -> None:
    x = noise(6.0, channels, rate)
    wanted = Standard(rate).integrated_loudness(x.astype(np.float64))
    meter = Meter(rate, channels)
    for part in cut(x, [1, 0, 63, 9000]):
        meter.step(part)
    assert meter.lufs == pytest.approx(wanted, abs=1e-6)


def test_the_gates_leave_out_what_is_silent_or_much_quieter() -> None:
    tone = np.sin(2 * np.pi * 997 * np.arange(RATE * 4) / RATE)[:, None].astype(np.float32)
    loud = measured([tone * 0.5], RATE, 1).lufs
    assert loud == pytest.approx(-3.01 - 6.02, abs=0.05)  # the standard's own calibration
    joined = [tone * 0.5, np.zeros((RATE * 10, 1), np.float32), tone * 0.005]
    assert measured(joined, RATE, 1).lufs == pytest.approx(loud, abs=0.3)
    assert measured([tone[:0]], RATE, 1) == Loudness(SILENT_LUFS, -120.0)
    assert measured([tone * 1e-5], RATE, 1).lufs == SILENT_LUFS


def test_sound_shorter_than_a_block_is_measured_as_if_silence_followed() -> None:
    x = noise(0.3)
    padded = np.concatenate([x, np.zeros((RATE // 10, 2), np.float32)])
    short, whole = measured([x], RATE, 2).lufs, measured([padded], RATE, 2).lufs
    assert short == pytest.approx(whole, abs=0.1)
    assert short > SILENT_LUFS


def test_the_channels_behind_count_more_and_the_lowest_not_at_all() -> None:
    tone = np.sin(2 * np.pi * 997 * np.arange(RATE) / RATE).astype(np.float32)
    levels: list[float] = []
    for channel in range(6):
        x = np.zeros((RATE, 6), np.float32)
        x[:, channel] = tone
        levels.append(measured([x], RATE, 6).lufs)
    assert levels[:3] == pytest.approx([levels[0]] * 3)
    assert levels[3] == SILENT_LUFS
    assert levels[4] - levels[0] == pytest.approx(1.49, abs=0.01)
    with pytest.raises(AudioError, match="1 to 6 channels"):
        Meter(RATE, 7)


@pytest.mark.parametrize("phase", [0.0, 45.0, 60.0, 67.5])
def test_true_peaks_lie_between_samples(phase: float) -> None:
    """EBU Tech 3341, cases 15 to 18: sines at a quarter of the rate read -6.0 +0.2/-0.4 dBTP."""
    x = 0.5 * np.sin(np.pi / 2 * np.arange(RATE // 4) + np.radians(phase))
    x *= np.minimum(1.0, np.minimum(np.arange(len(x)), np.arange(len(x))[::-1]) / 480)
    peak = TruePeak(1)
    for part in cut(x.astype(np.float32)[:, None], [64, 65, 7]):
        peak.step(part)
    assert -6.4 <= peak.db <= -5.8


def test_a_peak_at_the_very_end_counts_and_reading_changes_nothing() -> None:
    x = np.zeros((1000, 1), np.float32)
    x[-2:] = 1.0
    peak = TruePeak(1)
    peak.step(x)
    assert peak.db == peak.db > 1.0
    peak.step(-x)
    assert peak.db > 1.0


def square(hz: float) -> Audio:
    return np.sign(np.sin(2 * np.pi * hz * np.arange(RATE) / RATE + 0.1))


LOUD = {
    "square": square(100.0),
    "high square": square(5011.0),
    "noise": np.random.default_rng(1).standard_normal(RATE),
    "coins": np.random.default_rng(2).choice([-1.0, 1.0], RATE),
    "click": 4.0 * np.eye(1, RATE, SIZE)[0],
    "click at the end": 4.0 * np.eye(1, RATE, RATE - 1)[0],
    "clicks": 4.0 * (np.arange(RATE) % (SIZE - 1) == 0),
    "bursts": np.where(np.arange(RATE) // 3000 % 2, square(441.0), 0.01),
    "between": np.sin(np.pi / 2 * np.arange(RATE) + np.pi / 4),
}


@pytest.mark.parametrize("name", LOUD)
@pytest.mark.parametrize("factor", [0.9, 5.0])
def test_the_limiter_holds_the_true_peak(name: str, factor: float) -> None:
    x = np.stack([LOUD[name], 0.7 * np.roll(LOUD[name], 3)], axis=1).astype(np.float32) * factor
    limiter = Limiter(RATE, 2, -1.0)
    y = np.concatenate(list(through(limiter, cut(x, [SIZE - 1, 1, SIZE + 1]))))
    assert y.shape == x.shape
    assert measured([x], RATE, 2).true_peak_db > -1.0
    assert -1.3 < measured([y], RATE, 2).true_peak_db <= -1.0
    assert limiter.reduction_db > 0.1


def test_the_limiter_holds_it_by_an_ideal_interpolation_too() -> None:
    spectrum = np.fft.rfft(LOUD["noise"])
    spectrum[20_000:] = 0.0  # 1 Hz a bin: what can be heard
    x = np.fft.irfft(spectrum).astype(np.float32)[:, None] * 3.0
    y = np.concatenate(list(through(Limiter(RATE, 1, -1.0), [x])))
    ideal = np.abs(np.asarray(resample(np.pad(y[:, 0], 1000), (RATE + 2000) * 16))).max()
    assert 20.0 * np.log10(ideal) <= -0.97


def test_under_the_ceiling_the_limiter_changes_nothing() -> None:
    x = noise(1.0) * 0.3
    limiter = Limiter(RATE, 2, -1.0)
    y = np.concatenate(list(through(limiter, cut(x, [0, 1, 63, 64, 65]))))
    assert np.array_equal(y, x)
    assert limiter.reduction_db == 0.0


def test_the_limiter_lets_go_again_and_takes_both_channels_down_alike() -> None:
    x = np.full((RATE, 2), 0.25, np.float32)
    x[RATE // 2 : RATE // 2 + 50, 0] = 2.0
    y = np.concatenate(list(through(Limiter(RATE, 2, -1.0, release_ms=50.0), [x])))
    share = y[:, 1] / x[:, 1]
    assert np.array_equal(share[: RATE // 2 - 400], np.ones(RATE // 2 - 400, np.float32))
    assert share.min() < gain(-7.0)
    kept = 1.0 - share
    at = RATE // 2 + 1000
    assert kept[at + 2400] / kept[at] == pytest.approx(np.exp(-1.0), rel=0.02)
    assert share[-1] > 0.999
    assert np.all(share <= 1.0)


@settings(max_examples=10)
@given(sizes=st.lists(st.sampled_from([0, 1, 63, 64, 65, 5000, 20_000]), min_size=1, max_size=4))
def test_the_limiter_does_the_same_however_the_sound_is_cut(sizes: list[int]) -> None:
    x = noise(0.7, seed=3) * 8.0
    one = np.concatenate(list(through(Limiter(RATE, 2), [x])))
    pieces = np.concatenate(list(through(Series([Limiter(RATE, 2)]), cut(x, sizes))))
    assert np.array_equal(one, pieces)


def test_a_file_is_measured_in_pieces(tmp_path: Path) -> None:
    x = noise(12.0, 2, 8_000)
    soundfile.write(tmp_path / "a.wav", x, 8_000, subtype="FLOAT")
    assert measure(tmp_path / "a.wav") == measured([x], 8_000, 2)
    with pytest.raises(AudioError, match="No file"):
        measure(tmp_path / "b.wav")
