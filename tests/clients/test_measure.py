import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.measure import BAND_HZ, Budget, Bursts, Injector, Measured, burst, find
from clients.rings import Ear
from stream.audio import Audio
from stream.errors import DeviceError

RATE = 48_000
BURST = burst(RATE)


def test_a_burst_lies_in_the_band_of_speech_and_is_not_too_loud() -> None:
    spectrum = np.abs(np.fft.rfft(BURST)) ** 2
    hertz = np.fft.rfftfreq(len(BURST), 1.0 / RATE)
    inside = (hertz > BAND_HZ[0] - 50) & (hertz < BAND_HZ[1] + 50)
    assert spectrum[inside].sum() > 0.999 * spectrum.sum()
    assert 0.2 < np.max(np.abs(BURST)) <= 0.25
    assert abs(BURST[0]) < 1e-6


@settings(max_examples=15)
@given(
    at=st.integers(0, 20_000),
    gain=st.sampled_from([-1.0, -0.3, 0.05, 1.0, 2.0]),
    seed=st.integers(0, 9),
)
def test_a_burst_is_found_to_the_sample_in_noise(at: int, gain: float, seed: int) -> None:
    sound = (0.01 * abs(gain) * np.random.default_rng(seed).standard_normal(24_000)).astype("f4")
    sound[at : at + len(BURST)] += np.float32(gain) * BURST[: len(sound) - at]
    hit = find(sound, BURST)
    if at > 24_000 - len(BURST):
        return
    assert hit
    assert hit.start == at
    assert hit.gain == pytest.approx(abs(gain), rel=0.1)
    assert hit.likeness > 0.9


@pytest.mark.parametrize("size", [0, 1, 100, 24_000])
def test_nothing_is_found_where_no_burst_is(size: int) -> None:
    noise = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    assert find(0.1 * noise, BURST) is None
    assert find(np.zeros(size, np.float32), BURST) is None
    assert find(0.1 * noise, burst(RATE, seed=7)) is None


def through(delay: int, gain: float, lose: int = -1) -> Measured:
    """Bursts through a device that delays by `delay` samples, in blocks of 480."""
    bursts, heard = Bursts(RATE), Ear(RATE, 4.0)
    inside: Audio = np.zeros(delay, np.float32)
    for block in range(300):
        if block in {60, 130, 200}:
            bursts.due = True
        out = np.zeros(480, np.float32)
        bursts.next(out, 0.0)
        said = np.zeros_like(out) if len(bursts.began) == lose else out
        inside = np.concatenate([inside, np.float32(gain) * said])
        heard.put(inside[:480])
        inside = inside[480:]
    # blocks came faster than real time: put the clock where it would have been
    now = time.perf_counter()
    bursts.began[:] = [now - (300 - block) * 0.01 for block in (60, 130, 200)]
    return bursts.found_in(heard)


def test_a_known_delay_is_measured() -> None:
    told = through(2400, -0.5)
    assert told.median == pytest.approx(50.0, abs=5.0)
    assert told.gain_db == pytest.approx(-6.0, abs=0.1)
    assert told.lost == 0


def test_a_lost_burst_is_counted() -> None:
    told = through(480, 1.0, lose=2)
    assert (len(told.delays), told.lost) == (2, 1)


def test_silence_is_an_error_that_says_what_to_look_at() -> None:
    with pytest.raises(DeviceError, match="muted"):
        through(480, 0.0)


def test_an_injector_lets_nothing_of_the_microphone_through() -> None:
    ear = Injector(RATE)
    loud = np.ones(480, np.float32)
    ear.put(loud)
    assert 0.0 < np.max(np.abs(ear.take(0, 480))) < 0.03
    ear.bursts.due = True
    for _ in range(10):
        ear.put(loud)
    assert np.max(np.abs(ear.take(480, len(BURST)) - BURST)) < 0.03
    assert np.max(np.abs(ear.take(480 + len(BURST), 480))) < 0.03
    assert len(ear.bursts.began) == 1


def test_a_table_shows_the_parts_and_their_sum() -> None:
    told = Budget(Measured((50.0, 52.0), 1, 0.0), (("a", 10.0, "first"), ("b", 41.0, "second")))
    table = told.table()
    assert "|   51.0 |" in table
    assert "1 lost" in table
    assert table.count("\n") == 4
