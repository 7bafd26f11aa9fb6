import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from offline.dataset.settings import DatasetSettings
from offline.dataset.slices import slices

LOUD, QUIET, THRESHOLD = -20.0, -60.0, -40.0
CHOICE = DatasetSettings(shortest_s=1.0, longest_s=4.0, pause_s=0.5)
RUNS = st.lists(st.tuples(st.integers(1, 300), st.integers(1, 120)), max_size=8)


def levels_of(runs: list[tuple[int, int]], seed: int) -> np.ndarray:
    """Speech and silence in turns, so many frames of each; a little uneven."""
    parts = [np.repeat([LOUD, QUIET], run) for run in runs]
    levels = np.concatenate([np.full(5, QUIET), *parts])
    return (levels + np.random.default_rng(seed).uniform(-5, 5, len(levels))).astype(np.float32)


@settings(max_examples=60)
@given(runs=RUNS, seed=st.integers(0, 9))
@example(runs=[(100, 30), (15, 1)], seed=0)  # room for the second only where the first is
def test_slices_are_in_order_apart_and_of_the_right_length(
    runs: list[tuple[int, int]], seed: int
) -> None:
    levels = levels_of(runs, seed)
    found = slices(levels, THRESHOLD, CHOICE)
    edges = [edge for piece in found for edge in piece]
    assert edges == sorted(edges)
    assert all(0 <= a < b <= len(levels) for a, b in found)
    assert all(50 <= b - a <= 200 for a, b in found)


@settings(max_examples=60)
@given(runs=RUNS, seed=st.integers(0, 9))
def test_no_speech_is_lost_and_no_long_pause_kept(runs: list[tuple[int, int]], seed: int) -> None:
    levels = levels_of(runs, seed)
    covered = np.zeros(len(levels), bool)
    for begin, end in slices(levels, THRESHOLD, CHOICE):
        covered[begin:end] = True
        if end - begin > 50:  # not filled up with silence to the shortest
            quiet = "".join("s" if x > THRESHOLD else "." for x in levels[begin:end])
            assert max(map(len, quiet.strip(".").split("s")), default=0) <= 25
            assert len(quiet) - len(quiet.lstrip(".")) <= 25
            assert len(quiet) - len(quiet.rstrip(".")) <= 25
    at = 5
    for said, silent in runs:
        assert covered[at : at + said].all() or said < 50  # which may lack room
        at += said + silent


def test_a_long_sentence_is_cut_where_it_is_quietest() -> None:
    levels = np.full(300, LOUD, np.float32)
    levels[120:126] = -35.0
    assert slices(levels, THRESHOLD, CHOICE) == [(0, 123), (123, 300)]


def test_a_click_is_no_speech_and_a_short_word_gets_room() -> None:
    levels = np.full(300, QUIET, np.float32)
    levels[50:54] = LOUD
    levels[150:170] = LOUD
    [(begin, end)] = slices(levels, THRESHOLD, CHOICE)
    assert end - begin == 50
    assert begin <= 142
    assert end >= 178


@pytest.mark.parametrize("size", [0, 1, 49])
def test_what_is_too_short_gives_nothing(size: int) -> None:
    assert slices(np.full(size, LOUD, np.float32), THRESHOLD, CHOICE) == []
