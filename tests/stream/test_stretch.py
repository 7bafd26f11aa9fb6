import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.stretch import Stretch

HOPS = (240, 320, 400, 480)


def test_without_a_shift_every_frame_is_said_once() -> None:
    stretch = Stretch(0.0, 400)
    assert (stretch.factor, stretch.rate) == (1.0, 40_000)
    assert [stretch.count(n) for n in (0, 1, 7)] == [0, 1, 7]
    np.testing.assert_array_equal(stretch.heard(2, 6), [2, 3, 4, 5])


@pytest.mark.parametrize("hop", HOPS)
@given(semitones=st.floats(-6.0, 6.0, allow_subnormal=False))
def test_the_resonances_move_by_what_was_asked_within_4_cents(hop: int, semitones: float) -> None:
    stretch = Stretch(semitones, hop)
    cents = 1200.0 * np.log2(stretch.factor) - 100.0 * semitones
    assert abs(cents) <= 1200.0 * np.log2(1.0 + 0.5 / (hop * 2.0**-0.5)) + 1e-9
    assert stretch.rate == pytest.approx(100 * hop * stretch.factor)


@given(
    semitones=st.floats(-6.0, 6.0, allow_subnormal=False),
    cuts=st.lists(st.integers(1, 20), min_size=1, max_size=30),
)
def test_no_frame_is_said_early_and_none_is_missing(semitones: float, cuts: list[int]) -> None:
    """However frames come, what is said lasts at least as long as what was heard."""
    stretch, heard = Stretch(semitones, 400), 0
    for n in cuts:
        before, after = stretch.count(heard), stretch.count(heard + n)
        sources = stretch.heard(before, after)
        assert ((sources >= heard - 1) & (sources < heard + n)).all()
        heard += n
        assert heard - 1e-9 <= after / stretch.factor < heard + 1.0 / stretch.factor + 1e-9
