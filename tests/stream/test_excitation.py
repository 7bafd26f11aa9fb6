from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.audio import Audio
from stream.excitation import Excitation, Sine

RATE, HOP = 24_000, 240


def pulses(f0: list[float]) -> Audio:
    """The excitation of `f0` from frame 0, without its noise."""
    return Excitation(RATE, HOP, voiced_noise=0.0, unvoiced_noise=0.0).step(f0, 0)


def spectrum(x: Audio) -> tuple[Audio, Audio]:
    """Frequencies in Hz and the amplitudes of the sines found there."""
    window = np.hanning(len(x))
    size = np.abs(np.fft.rfft(x * window)) * 2 / window.sum()
    return np.fft.rfftfreq(len(x), 1 / RATE), size


@given(
    f0=st.lists(st.sampled_from([0.0, 49.7, 168.0, 171.3, 700.0, 2_000.0]), max_size=12),
    cuts=st.lists(st.integers(0, 12), max_size=4),
    first=st.integers(0, 2**40),
)
def test_any_cut_gives_identical_bits(f0: list[float], cuts: list[int], first: int) -> None:
    whole = Excitation(RATE, HOP, seed=5).step(f0, first)
    stream = Excitation(RATE, HOP, seed=5)
    edges = [0, *sorted(min(c, len(f0)) for c in cuts), len(f0)]
    parts = [stream.step(f0[a:b], first + a) for a, b in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("f0", [60.0, 168.0, 453.0])
def test_it_holds_every_harmonic_below_the_limit_equally_strong(f0: float) -> None:
    hz, size = spectrum(pulses([f0] * 200))
    harmonics = np.arange(1, int(0.45 * RATE / f0) + 1) * f0
    found = np.array([size[np.abs(hz - h) < 5].max() for h in harmonics])
    assert found.std() / found.mean() < 0.1
    assert hz[np.argmax(size[: int(1.5 * f0 / hz[1])])] == pytest.approx(f0, abs=hz[1])


@given(st.floats(50.0, 1_100.0))
def test_nothing_is_above_the_limit_but_the_fading_harmonic(f0: float) -> None:
    hz, size = spectrum(pulses([f0] * 100))
    assert size[hz > 0.45 * RATE + f0 + 10].max(initial=0.0) < 1e-3 * size.max()


@given(st.floats(50.0, 1_100.0))
def test_the_voiced_level_does_not_depend_on_pitch(f0: float) -> None:
    x = pulses([f0] * 100).astype(np.float64)
    assert np.sqrt(np.mean(x**2)) == pytest.approx(0.1, rel=0.05)


def test_the_phase_continues_across_frames() -> None:
    x = pulses([123.4] * 300)
    whole = 0.25 + np.arange(1, len(x) + 1) * (123.4 / RATE)
    fundamental = 2 * np.mean(x * np.exp(-2j * np.pi * (whole + 0.25)))
    assert np.angle(fundamental) == pytest.approx(0.0, abs=1e-3)


def test_a_gliding_pitch_makes_no_clicks() -> None:
    glide = pulses(list(np.linspace(150.0, 250.0, 200)))
    pitches = np.linspace(150.0, 250.0, 11)
    steady = max(np.abs(np.diff(pulses([f0] * 100))).max() for f0 in pitches)
    assert np.abs(np.diff(glide)).max() < 1.1 * steady


def test_voicing_starts_between_two_pulses() -> None:
    x = pulses([0.0, 0.0, 100.0, 100.0])[2 * HOP :]
    assert np.abs(x[:60]).max() < 0.05 * np.abs(x).max()
    assert np.argmax(np.abs(x)) == pytest.approx(RATE / 100 / 2 - 1, abs=1)


def test_the_noise_has_its_level_and_belongs_to_its_frame() -> None:
    unvoiced = Excitation(RATE, HOP, seed=3).step([0.0] * 200, 0)
    assert unvoiced.std() == pytest.approx(0.0333, rel=0.03)
    again = Excitation(RATE, HOP, seed=3).step([0.0], 57)
    np.testing.assert_array_equal(again, unvoiced[57 * HOP : 58 * HOP])
    other = Excitation(RATE, HOP, seed=4).step([0.0], 57)
    assert abs(np.corrcoef(again, other)[0, 1]) < 0.3


def test_reset_starts_over() -> None:
    stream = Excitation(RATE, HOP)
    first = stream.step([200.0] * 3, 0)
    stream.reset()
    np.testing.assert_array_equal(stream.step([200.0] * 3, 0), first)


def test_no_frames_give_no_samples() -> None:
    x = Excitation(RATE, HOP).step([], 4)
    assert (x.dtype, x.shape) == (np.float32, (0,))


def test_the_sine_has_the_published_amplitudes() -> None:
    wave = Sine(40_000, 400).step(np.full(50, 200.0), 0, 50)
    spectrum = np.abs(np.fft.rfft(wave)) / len(wave) * 2
    assert np.argmax(spectrum) == 200 * len(wave) // 40_000
    assert spectrum.max() == pytest.approx(0.1, rel=1e-2)
    noise = Sine(40_000, 400).step(np.zeros(50), 0, 50)
    assert noise.std() == pytest.approx(0.1 / 3, rel=0.05)


@pytest.mark.parametrize("hop", [2, 4, 10])
def test_the_sine_is_the_same_for_any_hop_and_what_was_provisional_comes_again(hop: int) -> None:
    f0 = np.where(np.arange(40) % 13 < 9, 150.0 + 3 * np.arange(40), 0.0)
    once, live, parts = Sine(40_000, 400).step(f0, 0, 40), Sine(40_000, 400), list[Audio]()
    for at in range(0, 40, hop):
        block = f0[at : at + hop + 6]
        parts.append(live.step(block, at, min(hop, len(block)))[: 400 * hop])
    np.testing.assert_allclose(np.concatenate(parts), once, atol=1e-6)
