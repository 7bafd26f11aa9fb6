import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streaming import cuts_of, pieces

from stream.audio import Audio
from stream.gate import HYSTERESIS_DB, Gate, Open, edges, needed

THRESHOLD = -50.0
LOUD, FAINT, QUIET = THRESHOLD, THRESHOLD - HYSTERESIS_DB, THRESHOLD - HYSTERESIS_DB - 0.1


def levels(*runs: tuple[float, int]) -> Audio:
    """Levels in dBFS: pairs of a level and a number of frames."""
    return np.repeat([level for level, _ in runs], [n for _, n in runs]).astype(np.float32)


def decide(x: Audio, lead: int = 0, hangover: int = 3) -> Open:
    """Decisions for the frames of `x` themselves, [n]."""
    padded = np.append(x, np.full(lead, -120.0, np.float32))
    return Gate(lead, hangover).step(padded, THRESHOLD)[lead:]


def test_it_opens_at_the_threshold_and_closes_6_db_below_after_the_hangover() -> None:
    opened = decide(levels((LOUD - 0.1, 2), (LOUD, 1), (FAINT, 4), (QUIET, 5), (FAINT, 2)))
    assert opened.tolist() == [False] * 2 + [True] * (1 + 4 + 3) + [False] * 4


def test_a_short_pause_is_bridged() -> None:
    assert decide(levels((LOUD, 2), (-90.0, 3), (LOUD, 1))).all()


@pytest.mark.parametrize("lead", [0, 1, 2, 5])
def test_it_opens_ahead_of_the_sound(lead: int) -> None:
    opened = decide(levels((-90.0, 10), (LOUD, 1), (-90.0, 10)), lead)
    assert opened.tolist() == [False] * (10 - lead) + [True] * (lead + 4) + [False] * 7


@given(
    x=st.lists(st.sampled_from([LOUD, FAINT, QUIET, -120.0]), max_size=60),
    lead=st.integers(0, 3),
    hangover=st.integers(0, 4),
    data=st.data(),
)
def test_cutting_the_levels_changes_nothing(
    x: list[float], lead: int, hangover: int, data: st.DataObject
) -> None:
    frames = np.array(x, np.float32)
    cuts = data.draw(cuts_of(len(x)))
    gate = Gate(lead, hangover)
    parts = [gate.step(piece, THRESHOLD) for piece in pieces(frames, cuts)]
    whole = Gate(lead, hangover).step(frames, THRESHOLD)
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_digital_silence_is_closed_at_any_threshold() -> None:
    assert not Gate(2).step(levels((-120.0, 50)), -120.0).any()


def test_a_new_threshold_holds_from_its_call_on() -> None:
    gate = Gate(0, 0)
    x = levels((-60.0, 3))
    assert not gate.step(x, -50.0).any()
    assert gate.step(x, -70.0).all()


def test_reset_leaves_it_as_new() -> None:
    gate = Gate(2)
    gate.step(levels((LOUD, 5)), THRESHOLD)
    gate.reset()
    assert not gate.step(levels((QUIET, 20)), THRESHOLD).any()


def test_lead_and_hangover_must_not_be_negative() -> None:
    with pytest.raises(ValueError, match="not be negative, got -1 and 15"):
        Gate(-1)


DECISIONS = st.lists(st.booleans(), max_size=30).map(lambda x: np.array(x, np.bool_))


@given(opened=DECISIONS, before=st.booleans(), data=st.data())
def test_cutting_the_frames_does_not_change_the_gain(
    opened: Open, before: bool, data: st.DataObject
) -> None:
    whole = edges(opened, before, 65, 64)
    parts = [np.zeros(0, np.float32)]
    last = before
    for piece in np.split(opened, sorted(data.draw(st.lists(st.integers(0, len(opened)))))):
        parts.append(edges(piece, last, 65, 64))
        last = bool(piece[-1]) if len(piece) else last
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@given(opened=DECISIONS, before=st.booleans(), fade=st.sampled_from([63, 64, 65]))
def test_the_gain_has_no_step_and_is_heard_only_where_needed(
    opened: Open, before: bool, fade: int
) -> None:
    value = edges(opened, before, 65, fade)
    assert value.dtype == np.float32
    steps = np.abs(np.diff(np.append(np.float32(before), value)))
    assert len(value) == 0 or steps.max() <= 1.6 / fade  # the steepest step of sin² is pi/2 / n
    heard = value.reshape(-1, 65).any(axis=1)
    np.testing.assert_array_equal(heard, needed(opened, before))
    settled = opened & np.append(before, opened)[: len(opened)]
    assert (value.reshape(-1, 65)[settled] == 1.0).all()
    assert (value.reshape(-1, 65)[~needed(opened, before)] == 0.0).all()


def test_without_a_fade_the_gain_is_the_decision() -> None:
    np.testing.assert_array_equal(edges(np.array([True, False]), False, 2, 0), [1, 1, 0, 0])


def test_a_fade_must_fit_into_its_frame() -> None:
    with pytest.raises(ValueError, match=r"0\.\.64 samples, got 65"):
        edges(np.array([True]), False, 64, 65)


@given(
    loud=st.lists(st.booleans(), min_size=30, max_size=60),
    leads=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    at=st.integers(0, 29),
)
def test_a_change_of_lead_decides_every_frame_once_or_says_so(
    loud: list[bool], leads: tuple[int, int], at: int
) -> None:
    levels = np.where(loud, -20.0, -100.0).astype(np.float32)
    old, new = leads
    gate = Gate(old, hangover=0)
    before = gate.step(levels[:at], -40.0)
    at_once = gate.change_lead(new)
    after = gate.step(levels[at:], -40.0)[max(0, new - old) :]
    decided = np.concatenate([before, at_once, after])
    assert len(decided) == len(levels) + old - max(old, new) + max(0, old - new)
    for k, opened in enumerate(decided[old:]):  # the first `old` lie before the stream
        heard = loud[k : k + 1 + max(old, new)]
        assert opened <= any(heard)
        assert opened >= any(loud[k : k + 1 + min(old, new)])
