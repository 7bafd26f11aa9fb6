"""Where streams of a cluster go."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.cluster.board import (
    AIM,
    CALM_S,
    SETTLE_S,
    STALE_S,
    Beat,
    Board,
    enough,
    wanted,
)

EMPTY = Beat("a", "http", "192.0.2.1:1", 0.0, 0, 10, comes=True, takes=True)


def board(*beats: Beat, now: float = 0.0) -> Board:
    """One that heard these."""
    made = Board()
    for beat in beats:
        made.hear(beat, now)
    return made


def where(made: Board, replica: str = "", now: float = 0.0) -> str | None:
    """The server that is named."""
    placed = made.place(replica, now)
    return None if placed is None else placed.replica


def test_no_server_is_named_that_is_silent_or_takes_nobody() -> None:
    made = board(EMPTY)
    assert where(made, now=STALE_S - 0.01) == "a"
    assert where(made, now=STALE_S) is None
    assert where(made, "a", STALE_S) is None
    assert made.alive(STALE_S) == []
    full = replace(EMPTY, replica="b", takes=False)
    made.hear(full, 10.0)
    assert where(made, now=10.0) is None
    assert made.alive(10.0) == [full]
    made.hear(replace(full, takes=True), 10.5)
    assert where(made, now=10.5) == "b"


def test_who_comes_back_goes_to_its_own_server_while_that_is_there() -> None:
    own = replace(EMPTY, replica="own", fullness=1.2, streams=12, takes=False)
    made = board(own, replace(EMPTY, replica="other"))
    assert where(made, "own") == "own"
    assert where(made, "unheard-of") == "other"
    made.hear(replace(own, comes=False), 0.1)
    assert where(made, "own", 0.1) == "other"


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 9), st.integers(0, 60), st.floats(0, 0.9, allow_subnormal=False))
def test_a_rush_is_spread_evenly_over_servers_that_are_alike(
    servers: int, count: int, fullness: float
) -> None:
    alike = replace(EMPTY, fullness=fullness, streams=round(10 * fullness))
    made = board(*(replace(alike, replica=str(k)) for k in range(servers)))
    sent = Counter({str(k): 0 for k in range(servers)})
    for k in range(count):
        sent[where(made, now=0.001 * k) or ""] += 1
    assert max(sent.values()) - min(sent.values()) <= 1


def test_what_was_sent_lately_counts_until_the_server_tells_of_it() -> None:
    busier = replace(EMPTY, replica="busier", fullness=0.25, streams=2)
    made = board(EMPTY, busier)
    assert [where(made) for _ in range(4)] == ["a", "a", "a", "busier"]
    made.hear(EMPTY, 1.0)
    made.hear(busier, 1.0)
    assert where(made, now=1.0) == "a", "0.3 and the one before are level with 0.375"
    made.hear(EMPTY, SETTLE_S + 1.1)
    made.hear(busier, SETTLE_S + 1.1)
    assert [where(made, now=SETTLE_S + 1.1) for _ in range(3)] == ["a", "a", "a"]


def test_more_servers_are_wanted_at_once_and_fewer_after_a_calm_one_at_a_time() -> None:
    assert wanted([0.8, 0.9], 2, 5.0, 100.0) == (3, None)
    assert wanted([AIM, AIM], 2, 5.0, 100.0) == (2, None), "a break of the calm"
    assert wanted([0.1, 0.1, 0.1], 3, None, 100.0) == (3, 100.0)
    assert wanted([0.1, 0.1, 0.1], 3, 100.0, 100.0 + CALM_S - 1) == (3, 100.0)
    assert wanted([0.1, 0.1, 0.1], 3, 100.0, 100.0 + CALM_S) == (2, None)
    assert wanted([], 1, None, 0.0) == (1, None)


@pytest.mark.parametrize("fullness", [[0.0], [0.7] * 10, [1.5, 0.2], [0.35, 0.35, 0.0]])
def test_enough_servers_are_not_fuller_than_aimed_at(fullness: list[float]) -> None:
    count = enough(fullness)
    assert sum(fullness) / count <= AIM + 1e-6
    assert count == 1 or sum(fullness) / (count - 1) > AIM
