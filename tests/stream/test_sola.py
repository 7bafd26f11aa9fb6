import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streaming import noise

from stream.audio import Audio, sin2_rise
from stream.models.sola import Overlap, Sola, best_shift, correlations, join

RATE = 40_000
SIZE = Overlap.at(RATE)
HOP = 4000


def harmonics(f0: float, n: int, phase: float = 0.0, rate: int = RATE) -> Audio:
    """A vowel-like sound of ten harmonics, [n], that begins at `phase` cycles."""
    cycles = phase + f0 * np.arange(n) / rate
    parts = [np.cos(2 * np.pi * k * cycles + k * k) / k for k in range(1, 11)]
    return (0.2 * np.sum(parts, axis=0)).astype(np.float32)


def joined(windows: list[Audio], n: int, sola: Sola | None = None) -> Audio:
    """The middle `n` samples of each window, joined."""
    sola = sola or Sola(SIZE)
    return np.concatenate([sola.step(window, SIZE.before, n) for window in windows])


def window_of(f0: float, phase: float, n: int = HOP) -> Audio:
    return harmonics(f0, SIZE.before + n + SIZE.after, phase)


def roughness(x: Audio) -> Audio:
    """Second differences, [n - 2]: large where a sound breaks."""
    return np.abs(np.diff(x.astype(np.float64), 2))


@settings(max_examples=20)
@given(f0=st.floats(52.0, 900.0), phases=st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3))
def test_a_voice_whose_windows_differ_in_phase_has_no_seam(f0: float, phases: list[float]) -> None:
    windows = [window_of(f0, phase, HOP + SIZE.fade) for phase in phases]
    out = joined(windows, HOP)
    assert roughness(out).max() < 1.1 * roughness(windows[0]).max()
    for k in range(1, 3):  # where a window would have gone on, against what the next one does
        sola = Sola(SIZE)
        for window in windows[: k - 1]:
            sola.step(window, SIZE.before, HOP)
        goes_on = joined([windows[k - 1]], HOP + SIZE.fade, sola)[HOP:]
        off = np.abs(out[k * HOP : k * HOP + SIZE.fade] - goes_on).max()
        assert off < 0.6 * np.abs(np.diff(windows[0])).max()  # half a sample


def test_without_the_search_the_same_windows_break() -> None:
    phases = [0.0, 0.3, 0.7, 0.1]
    out = np.concatenate([window_of(150.0, p)[SIZE.before : SIZE.before + HOP] for p in phases])
    assert roughness(out).max() > 3.0 * roughness(window_of(150.0, 0.0)).max()


@settings(max_examples=20)
@given(n=st.sampled_from([1, 63, 64, 65, 399, 400, 401, 800, 4000]), seed=st.integers(0, 9))
def test_windows_of_one_sound_give_that_sound(n: int, seed: int) -> None:
    count = 4
    sound = noise(SIZE.before + count * n + SIZE.after, seed)
    windows = [sound[k * n : k * n + SIZE.before + n + SIZE.after] for k in range(count)]
    wanted = sound[SIZE.before : SIZE.before + count * n]
    np.testing.assert_allclose(joined(windows, n), wanted, atol=1e-6)


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, HOP])
def test_as_many_samples_come_out_as_were_asked_for(n: int) -> None:
    sola = Sola(SIZE)
    for seed in range(4):
        window = noise(SIZE.before + n + SIZE.after, seed)
        out = sola.step(window, SIZE.before, n)
        assert out.shape == (n,)
        assert out.dtype == np.float32


def test_after_a_reset_nothing_of_what_was_before_is_heard() -> None:
    sola = Sola(SIZE)
    loud, soft = window_of(200.0, 0.3), 1e-3 * window_of(110.0, 0.1)
    joined([loud, loud], HOP, sola)
    sola.reset()
    np.testing.assert_array_equal(joined([soft, soft], HOP, sola), joined([soft, soft], HOP))


def test_a_tail_that_was_not_forgotten_would_be_heard() -> None:
    sola = Sola(SIZE)
    loud, soft = window_of(200.0, 0.3), 1e-3 * window_of(110.0, 0.1)
    joined([loud], HOP, sola)
    assert np.abs(joined([soft], HOP, sola)).max() > 10 * np.abs(soft).max()


def test_silence_stays_silence_and_is_not_moved() -> None:
    silence = np.zeros(SIZE.before + HOP + SIZE.after, np.float32)
    assert not joined([silence] * 3, HOP).any()
    sound = window_of(200.0, 0.0)
    sola = Sola(SIZE)
    joined([silence], HOP, sola)
    out = joined([sound], HOP, sola)
    np.testing.assert_array_equal(
        out[SIZE.fade :], sound[SIZE.before + SIZE.fade :][: HOP - SIZE.fade]
    )


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_the_same_windows_give_the_same_samples(seed: int) -> None:
    windows = [noise(SIZE.before + 700 + SIZE.after, seed + k) for k in range(4)]
    np.testing.assert_array_equal(joined(windows, 700), joined(windows, 700))


def test_unlike_sounds_keep_their_level_through_a_join() -> None:
    windows = [noise(SIZE.before + HOP + SIZE.after, k) for k in range(60)]
    out = joined(windows, HOP).reshape(60, HOP)[1:]
    middle = slice(SIZE.fade // 2 - 40, SIZE.fade // 2 + 40)
    level = 20 * np.log10(out[:, middle].std() / out[:, SIZE.fade :].std())
    assert abs(level) < 0.5  # a plain sin² fade would be 3 dB down


@pytest.mark.parametrize("shift", [-400, -399, -7, 0, 7, 399, 400])
def test_a_pattern_is_found_where_it_is(shift: int) -> None:
    window = noise(2000)
    pattern = window[400 + shift : 400 + shift + 1200]
    assert best_shift(window, 0.01 * pattern, 400) == shift


def test_of_equal_places_the_nearest_is_taken() -> None:
    tone = np.sin(2 * np.pi * np.arange(2000) / 100).astype(np.float32)
    assert best_shift(tone, tone[430:1630], 400) == 30
    assert best_shift(tone, tone[470:1670], 400) == -30
    assert best_shift(np.zeros(2000, np.float32), tone[:1200], 400) == 0


def test_correlations_are_normalised() -> None:
    x = noise(500)
    scores = correlations(x, x[100:300])
    assert scores.shape == (301,)
    assert abs(scores[100] - 1.0) < 1e-9
    assert np.abs(scores).max() <= 1.0 + 1e-9
    np.testing.assert_allclose(correlations(-8 * x, x[100:300]), -scores, atol=1e-9)


def test_equal_sounds_pass_a_join_unchanged() -> None:
    x = noise(400)
    np.testing.assert_allclose(join(x, x, sin2_rise(400)), x, atol=1e-7)
    assert len(join(x[:0], x[:0], sin2_rise(0))) == 0


def test_a_window_that_is_too_short_is_told() -> None:
    with pytest.raises(ValueError, match="1200 before and 800 after"):
        Sola(SIZE).step(noise(5000), SIZE.before, 5000 - SIZE.before - SIZE.after + 1)
    with pytest.raises(ValueError, match="needed"):
        Sola(SIZE).step(noise(5000), SIZE.before - 1, 1)
