"""The threads of a device: what they do, and whom they let in."""

import threading
import time
from collections.abc import Generator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

import pytest

from server.failures import TRY_LATER, Refused
from server.figures import Figures
from server.line import Job, Turn
from server.room import GENTLE_LEVEL, LOOK_S, ROOM, SETTLE_S, Room, Rooms
from stream.ladder import Ladder

PATIENCE = 30.0  # s


class Clock:
    """Seconds as they are told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def room(workers: int = 1, **settings: Any) -> Generator[Room, None, None]:
    made = Room("cpu", workers, Figures(), **settings)
    try:
        yield made
    finally:
        made.close()


def job(work: Any, turn: Turn | None = None) -> Job:
    return Job(work, lambda *_: None, lambda *_: None, turn)


def filled(made: Room) -> tuple[int, Refused]:
    """How many streams it lets in, each a tenth of two workers, and what it tells the next."""
    refused: list[Refused] = []

    def takes_another() -> bool:
        try:
            made.let_in("a kind", 0.004, 0.020)
        except Refused as error:
            refused.append(error)
        return not refused

    return next(count for count in range(100) if not takes_another()), refused[0]


def test_what_is_submitted_is_done_and_errors_are_part_of_it() -> None:
    def fails() -> None:
        raise ArithmeticError("of its own")

    with room(2) as made:
        good, bad = made.submit(job(lambda: 5)), made.submit(job(fails))
        assert good.result(PATIENCE).value == 5
        assert isinstance(bad.result(PATIENCE).error, ArithmeticError)
        assert good.result().seconds >= 0.0


def test_hops_that_wait_for_a_busy_worker_are_done_together() -> None:
    began, go_on = threading.Event(), threading.Event()
    with room() as made:
        made.submit(job(lambda: (began.set(), go_on.wait(PATIENCE))))
        assert began.wait(PATIENCE)
        now = time.monotonic()
        turns = [Turn("low", now + 60.0, 60.0) for _ in range(5)]
        threads: list[int] = []
        hops = [made.submit(job(lambda: threads.append(threading.get_ident()), t)) for t in turns]
        go_on.set()
        ends = [hop.result(PATIENCE) for hop in hops]
    assert len({end.seconds for end in ends[1:]}) == 1  # one batch took one time
    assert ends[0].seconds != ends[1].seconds  # the first shows what hops of its kind take
    assert len(set(threads)) == 1


def test_what_still_waits_when_the_room_closes_is_cancelled() -> None:
    began, go_on = threading.Event(), threading.Event()
    with room() as made:
        first = made.submit(job(lambda: (began.set(), go_on.wait(PATIENCE))))
        assert began.wait(PATIENCE)
        waiting = made.submit(job(lambda: 5))
    with pytest.raises(CancelledError):
        waiting.result(PATIENCE)
    go_on.set()
    assert first.result(PATIENCE).error is None


def test_streams_are_let_in_until_what_was_promised_fills_the_room() -> None:
    clock = Clock()
    with room(2, clock=clock, easing=False) as made:
        count, refused = filled(made)
        assert count == round(ROOM / 0.1)
        assert (refused.code, refused.close) == ("overloaded", TRY_LATER)
        assert "busy" in str(refused)
        clock.now += SETTLE_S + 0.1  # what is measured now counts: nothing came of them
        made.let_in("a kind", 0.004, 0.020)


def test_a_stream_that_leaves_gives_back_what_it_was_promised() -> None:
    with room(2, clock=Clock(), easing=False) as made:
        seats = [Rooms([made]).seat() for _ in range(100)]
        for seat in seats:
            seat.let_in("a kind", 0.004, 0.020)
            seat.leave()
        assert made.load == 0.0
        filled(made)
        seats[0].leave()  # parked before, over now: what it gave back is not its own any more
        with pytest.raises(Refused, match="busy"):
            made.let_in("a kind", 0.004, 0.020)


def test_an_idle_device_takes_a_stream_whatever_it_costs() -> None:
    clock = Clock()
    with room(clock=clock, easing=False) as made:
        made.let_in("heavy", 0.030, 0.020)
        with pytest.raises(Refused, match="busy"):
            made.let_in("light", 0.001, 0.020)


def test_a_stream_is_expected_to_cost_what_others_of_its_kind_do() -> None:
    """Together with others a hop costs less than alone; one of an unknown kind is not so cheap."""
    with room(easing=False) as made:
        turn = Turn("a kind", time.monotonic() + 1.0, 0.020)
        assert made.submit(job(lambda: time.sleep(0.03), turn)).result(PATIENCE).error is None
        for _ in range(20):
            made.let_in("a kind", 10.0, 1.0)
        with pytest.raises(Refused, match="busy"):
            made.let_in("another", 10.0, 1.0)


def test_before_it_refuses_it_takes_lighter_pitch() -> None:
    with room(2, clock=Clock()) as made:
        count, _ = filled(made)
        assert count > round(ROOM / 0.1)
        assert made.step.light_f0
        assert made.step.longer == 0
        assert GENTLE_LEVEL == 2


def test_a_stream_goes_to_the_device_with_the_most_time_left() -> None:
    with room(clock=Clock()) as one, room(clock=Clock()) as other:
        rooms = Rooms([one, other])
        rooms.least().let_in("a kind", 0.004, 0.020)
        assert one.load > 0.0
        assert rooms.least() is other


def test_streams_that_come_at_once_share_the_devices() -> None:
    """They are placed when they begin, not when they connect, and leave their place again."""
    with room(clock=Clock()) as one, room(clock=Clock()) as other:
        rooms = Rooms([one, other])
        seats = [rooms.seat() for _ in range(4)]
        assert [seat.room for seat in seats] == [one, other, one, other]
        seats[0].let_in("a kind", 0.004, 0.020)
        assert rooms.seat().room is other
        del seats[3]
        assert rooms.least() is other
        assert seats[1].room is other


def test_what_was_given_up_comes_back_while_nothing_is_converted() -> None:
    clock = Clock()
    with room(2, clock=clock) as made:
        filled(made)
        assert made.step.light_f0
        made.submit(job(lambda: 5)).result(PATIENCE)
        until = time.monotonic() + PATIENCE
        while made.step.light_f0:
            assert time.monotonic() < until
            clock.now += Ladder.CALM_S + 1.0
            time.sleep(2.0 * LOOK_S)
