import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streaming import cuts_of, noise, pieces, run

from stream.audio import RATES, Audio
from stream.resample import Resampler, design

PAIRS = list(itertools.product(RATES, RATES))
CHANGES = [(a, b) for a, b in PAIRS if a != b]
X = noise(1000)


def tone(hz: float, rate: int, n: int) -> Audio:
    """A cosine of amplitude 1, [n]."""
    return np.cos(2.0 * np.pi * hz * np.arange(n) / rate).astype(np.float32)


@given(cuts=cuts_of(len(X)), rates=st.sampled_from(PAIRS))
def test_cutting_the_input_does_not_change_a_bit(cuts: list[int], rates: tuple[int, int]) -> None:
    np.testing.assert_array_equal(run(Resampler(*rates), X, cuts), run(Resampler(*rates), X))


def test_a_long_block_equals_its_pieces() -> None:
    x = noise(20_000)
    whole = run(Resampler(48_000, 16_000), x)
    np.testing.assert_array_equal(run(Resampler(48_000, 16_000), x, range(0, 20_000, 441)), whole)


@pytest.mark.parametrize("rates", PAIRS)
@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 441])
def test_after_flush_the_length_is_exact(rates: tuple[int, int], n: int) -> None:
    assert len(run(Resampler(*rates), X[:n])) == math.ceil(n * rates[1] / rates[0])


@given(cuts=cuts_of(len(X)), rates=st.sampled_from(PAIRS))
def test_it_waits_for_its_look_ahead_and_no_longer(cuts: list[int], rates: tuple[int, int]) -> None:
    resampler = Resampler(*rates)
    fed = made = 0
    for piece in pieces(X, cuts):
        fed += len(piece)
        made += len(resampler.step(piece))
        heard = (fed - resampler.lookahead) * rates[1]  # outputs before this time are due
        assert made == 0 or (made - 1) * rates[0] < heard
        assert made * rates[0] >= heard
        assert made == resampler.count(fed)


@pytest.mark.parametrize("rates", CHANGES)
def test_the_look_ahead_is_at_most_2_ms_and_exact(rates: tuple[int, int]) -> None:
    resampler = Resampler(*rates)
    assert 0 < resampler.lookahead / rates[0] <= 0.002
    n = resampler.lookahead + 500
    changed = X[:n].copy()
    changed[-1] += 1.0
    before, after = run(Resampler(*rates), X[:n]), run(Resampler(*rates), changed)
    first = int(np.flatnonzero(before != after)[0])
    before_it = (n - 1) * rates[1] - first * rates[0]  # in steps of 1 / (rate in * rate out)
    assert 0 < before_it <= resampler.lookahead * rates[1]


@pytest.mark.parametrize("rate", RATES)
def test_equal_rates_pass_everything_at_once(rate: int) -> None:
    resampler = Resampler(rate, rate)
    assert resampler.lookahead == 0
    np.testing.assert_array_equal(resampler.step(X), X)
    assert not np.shares_memory(resampler.step(X), X)


@pytest.mark.parametrize("rates", CHANGES)
@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.85])
def test_a_tone_below_the_edge_keeps_its_level_and_place(
    rates: tuple[int, int], part: float
) -> None:
    hz = part * min(rates) / 2
    x = tone(hz, rates[0], rates[0] // 10)
    y = run(Resampler(*rates), x)
    inside = slice(len(y) // 4, -len(y) // 4)
    expected = tone(hz, rates[1], len(y))  # zero phase: the same cosine at the new rate
    assert np.abs(y - expected)[inside].max() < 10 ** (0.1 / 20) - 1  # 0.1 dB
    assert np.abs(y - expected)[inside].max() < 1e-3  # what it really reaches


@pytest.mark.parametrize(
    ("rates", "part"),
    [(pair, 1.15) for pair in CHANGES if pair[0] > pair[1]]
    + [(pair, 1.05) for pair in CHANGES if pair[0] > pair[1] >= 16_000],
)
def test_a_tone_above_the_new_rate_vanishes(rates: tuple[int, int], part: float) -> None:
    hz = part * rates[1] / 2
    if hz > 0.999 * rates[0] / 2:
        pytest.skip("the old rate cannot hold such a tone")
    y = run(Resampler(*rates), tone(hz, rates[0], rates[0] // 10))
    inside = y[len(y) // 4 : -len(y) // 4]
    assert 20 * np.log10(np.sqrt(2 * np.mean(inside**2)) + 1e-9) < -70


@pytest.mark.parametrize("rates", [pair for pair in CHANGES if pair[0] < pair[1]])
def test_no_image_appears_above_the_old_rate(rates: tuple[int, int]) -> None:
    n = rates[0] // 5
    y = run(Resampler(*rates), tone(0.85 * rates[0] / 2, rates[0], n)).astype(np.float64)
    spectrum = np.abs(np.fft.rfft(y * np.blackman(len(y))))
    hz = np.fft.rfftfreq(len(y), 1 / rates[1])
    images = spectrum[hz > 1.1 * rates[0] / 2]
    assert len(images) == 0 or 20 * np.log10(images.max() / spectrum.max()) < -70


@pytest.mark.parametrize("rates", CHANGES)
def test_a_constant_stays_constant_to_the_last_digits(rates: tuple[int, int]) -> None:
    y = run(Resampler(*rates), np.ones(2000, np.float32))
    np.testing.assert_allclose(y[len(y) // 4 : -len(y) // 4], 1.0, atol=1e-6)


def test_the_filter_is_symmetric() -> None:
    taps = design(24_000, 48_000)
    np.testing.assert_allclose(taps[1], taps[1][::-1], atol=1e-7)
    np.testing.assert_allclose(taps[0, :-1], taps[0, :-1][::-1], atol=1e-7)


@pytest.mark.parametrize("end", ["reset", "flush"])
def test_reset_and_flush_leave_it_as_new(end: str) -> None:
    resampler = Resampler(44_100, 16_000)
    resampler.step(X[:333])
    getattr(resampler, end)()
    np.testing.assert_array_equal(run(resampler, X), run(Resampler(44_100, 16_000), X))


def test_memory_stays_bounded() -> None:
    resampler = Resampler(44_100, 16_000)
    for _ in range(200):
        resampler.step(X)
    assert len(resampler._held) < 4 * resampler.lookahead  # pyright: ignore[reportPrivateUsage]


def test_rates_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive, got 0 and 16000"):
        Resampler(0, 16_000)
