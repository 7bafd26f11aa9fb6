"""The scheduler's laws, in simulations: no thread and no clock but the simulation's own."""

from collections import defaultdict
from collections.abc import Callable, Hashable
from heapq import heappop, heappush

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.scheduler import CATCH_UP, COMPANY, LENGTH, MARGIN, SAFETY, Costs, Scheduler, Task


def task(deadline: float, kind: object = "low", hop_s: float = 0.02) -> Task:
    return Task(lambda: None, str(kind) if kind else None, deadline, hop_s)


def knowing(seconds: float, **settings_: object) -> Scheduler:
    """A scheduler that knows what a hop takes, be it alone or in a batch."""
    costs = Costs()
    for count in (1, 2):
        costs.learn([task(0.0)] * count, count * seconds)
    return Scheduler(costs=costs, **settings_)  # pyright: ignore[reportArgumentType]


@settings(max_examples=50, deadline=None)
@given(deadlines=st.lists(st.floats(0.1, 10.0), min_size=1, max_size=30), most=st.integers(1, 9))
def test_the_earliest_deadlines_go_first(deadlines: list[float], most: int) -> None:
    scheduler = knowing(0.0, most=most)
    for deadline in deadlines:
        scheduler.put(task(deadline))
    gone: list[float] = []
    while len(scheduler):
        batch = scheduler.take(0.0)
        assert 1 <= len(batch) <= most
        gone += [one.deadline for one in batch]
        scheduler.done(batch, 0.0, 0.0)
    assert gone == sorted(deadlines)


def test_a_batch_ends_well_before_the_first_deadline_in_it() -> None:
    scheduler = knowing(0.004, most=8)
    for i in range(8):
        scheduler.put(task(0.100 + 0.001 * i))
    room = 0.100 - MARGIN * 0.02
    assert len(scheduler.take(0.0)) == min(8, int(room / (SAFETY * 0.004)))
    close = knowing(0.004, most=8)
    for _ in range(8):
        close.put(task(0.017))  # so much of a hop it may take at any rate
    assert len(close.take(0.0)) == int(LENGTH * 0.02 / (SAFETY * 0.004)) == 2


def test_one_that_is_late_goes_first_and_takes_others_along() -> None:
    """As many as end within most of a hop."""
    scheduler = knowing(0.004)
    scheduler.put(task(-1.0))
    for _ in range(5):
        scheduler.put(task(5.0))
    batch = scheduler.take(0.0)
    assert batch[0].deadline == -1.0
    assert len(batch) == int(CATCH_UP * 0.02 / (SAFETY * 0.004)) == 3


def test_what_batches_take_is_learnt_from_batches_of_several_sizes() -> None:
    """5 ms and 2 ms a task; of a kind that was never seen nothing is known."""
    costs = Costs()
    one = task(0.0)
    costs.learn([one] * 4, 0.013)
    assert costs.of([one] * 4) == pytest.approx(0.013)
    assert costs.share("low", 1.0, 1) == pytest.approx(0.013 * 5 / 8)  # larger ones are to be tried
    for count in (1, 3, 6, 2):
        costs.learn([one] * count, 0.005 + 0.002 * count)
    assert costs.of([one] * 8) == pytest.approx(0.021)
    assert costs.share("low", 1.0, 4) == pytest.approx(0.005 / 4 + 0.002)
    assert costs.share("another", 1.0, 4) == 1.0
    assert costs.of([task(0.0, kind="another", hop_s=0.1)]) == pytest.approx(0.05)


def test_a_batch_of_several_kinds_costs_the_dearest_beginning_and_all_the_tasks() -> None:
    costs = Costs()
    for count in (1, 2):
        costs.learn([task(0.0)] * count, 0.005 + 0.002 * count)
        costs.learn([task(0.0, kind="long")] * count, 0.003 + 0.004 * count)
    mixed = [task(0.0), task(0.0, kind="long")]
    costs.learn(mixed, 9.0)  # teaches nothing
    assert costs.of(mixed) == pytest.approx(0.005 + 0.002 + 0.004)


def test_a_batch_starts_as_soon_as_a_worker_is_idle() -> None:
    scheduler = knowing(0.001, most=3)
    scheduler.put(task(0.02))
    assert len(scheduler.take(0.0)) == 1
    for _ in range(4):
        scheduler.put(task(0.02))
    assert scheduler.take(0.0) == [], "the only worker is busy"
    scheduler.done([task(0.02)], 0.0, 0.001)
    assert len(scheduler.take(0.001)) == 3


def test_the_load_is_what_the_tasks_would_take_in_batches() -> None:
    """Three workers were never idle, with one task of 11 ms at a time: in batches half of that
    would be for all together.
    """
    scheduler = Scheduler(workers=3)
    now = 0.0
    while now < 2.0:
        for _ in range(3):
            scheduler.put(task(now + 0.02))
        batches = [scheduler.take(now) for _ in range(3)]
        begun, now = now, now + 0.011
        for batch in batches:
            assert len(batch) == 1
            scheduler.done(batch, begun, now)
    assert scheduler.load(now) == pytest.approx(0.5 + 0.5 / COMPANY, rel=0.02)
    assert scheduler.load(now + 3.0) == 0.0


def test_what_waits_is_shared_among_idle_workers() -> None:
    scheduler = knowing(0.001, workers=2)
    for _ in range(6):
        scheduler.put(task(0.02))
    assert (len(scheduler.take(0.0)), len(scheduler.take(0.0)), len(scheduler.take(0.0))) == (
        *(3, 3),
        0,
    )


def test_batches_have_the_sizes_that_the_device_has_graphs_for() -> None:
    scheduler = knowing(0.0, sizes=(1, 2, 4, 8))
    for _ in range(7):
        scheduler.put(task(1.0))
    assert len(scheduler.take(0.0)) == 4


def test_work_without_a_turn_goes_alone_and_before_hops() -> None:
    scheduler = knowing(0.001)
    scheduler.put(task(0.5))
    scheduler.put(task(0.45, kind=None))
    scheduler.put(task(0.6))
    assert [one.kind for one in scheduler.take(0.45)] == [None]


def test_work_without_a_turn_goes_alone_though_one_that_is_early_has_waited_longer() -> None:
    scheduler = knowing(0.001, workers=2)
    scheduler.put(task(0.5))
    assert len(scheduler.take(0.45)) == 1
    scheduler.put(Task(lambda: None, "low", 0.4, 0.02, "ahead", 5.0))
    scheduler.put(task(0.45, kind=None))
    scheduler.put(task(0.6))
    assert [one.kind for one in scheduler.take(0.45)] == [None]


def test_an_impossible_size_is_a_programmers_error() -> None:
    for wrong in ({"workers": 0}, {"most": 0}, {"sizes": (0,)}):
        with pytest.raises(ValueError, match="1 or more"):
            Scheduler(**wrong)  # pyright: ignore[reportArgumentType]


class Simulation:
    """Streams that send a hop every `hop_s`, and workers that take `cost(batch)` seconds."""

    def __init__(
        self, scheduler: Scheduler, hops: list[float], cost: Callable[[list[Task]], float]
    ) -> None:
        self.scheduler, self.hops, self.cost = scheduler, hops, cost
        self.lateness: dict[Hashable, list[float]] = defaultdict(list)
        self.sizes: list[int] = []
        self._following: dict[Hashable, Callable[[float], Task]] = {}

    def follow(self, stream: int, next_one: Callable[[float], Task]) -> None:
        """A stream whose next task is there as soon as the last one is done."""
        self._following[stream] = next_one

    def run(self, seconds: float) -> None:
        events: list[tuple[float, int, str, object]] = []
        for i, hop_s in enumerate(self.hops):
            phase = hop_s * (i * 0.37 % 1.0)
            for k in range(int((seconds - phase) / hop_s)):
                heappush(events, (phase + k * hop_s, len(events), "hop", i))
        count = len(events)
        for next_one in self._following.values():
            self.scheduler.put(next_one(0.0))
        heappush(events, (0.0, len(events), "begin", None))
        while events:
            now, _, what, held = heappop(events)
            if what == "hop":
                hop_s = self.hops[held]  # pyright: ignore[reportArgumentType, reportCallIssue]
                new = Task(lambda: None, hop_s, now + hop_s, hop_s, held)
                self.scheduler.put(new)
            elif what == "done":
                batch, begun = held  # pyright: ignore[reportGeneralTypeIssues]
                self.scheduler.done(batch, begun, now)
                for one in batch:
                    self.lateness[one.stream].append(now - one.deadline)
                    if one.stream in self._following and now < seconds:
                        self.scheduler.put(self._following[one.stream](now))
            while batch := self.scheduler.take(now):
                self.sizes.append(len(batch))
                count += 1
                heappush(events, (now + self.cost(batch), count, "done", (batch, now)))


def share_of(batch: list[Task]) -> float:
    """What a batch takes: the first 5 ms, each further one 2 ms; long hops more."""
    return 0.003 + sum(0.002 * (one.hop_s / 0.02) ** 0.5 for one in batch)


@pytest.mark.parametrize("streams", [1, 4, 8, 12])
def test_streams_that_fit_are_never_late(streams: int) -> None:
    simulation = Simulation(Scheduler(workers=2), [0.02] * streams, share_of)
    simulation.run(20.0)
    assert len(simulation.lateness) == streams
    late = [value for values in simulation.lateness.values() for value in values[50:]]
    assert np.mean(np.array(late) > 0.0) < 0.001


def test_streams_that_fit_only_together_are_served_together() -> None:
    """One by one 12 streams would take 1.5 of two workers' time."""
    assert 12 * share_of([task(0.0, hop_s=0.02)]) / 0.02 / 2 == pytest.approx(1.5)
    simulation = Simulation(Scheduler(workers=2), [0.02] * 12, share_of)
    simulation.run(10.0)
    assert np.mean(simulation.sizes[100:]) > 2.0


def test_after_a_pause_of_the_machine_everybody_is_in_time_again() -> None:
    """What waits meanwhile is done together: one by one the workers would never catch up."""
    pause = [True]

    def cost(batch: list[Task]) -> float:
        if len(simulation.sizes) == 500:
            pause.clear()
        return 1.0 if len(simulation.sizes) in (500, 501) else share_of(batch)

    simulation = Simulation(Scheduler(workers=2), [0.02] * 10, cost)
    simulation.run(20.0)
    assert not pause, "the workers never paused"
    for values in simulation.lateness.values():
        assert max(values) > 0.5
        assert max(values[-100:]) < 0.0


def test_no_stream_starves_another_even_when_too_much_is_asked() -> None:
    """Twice what the workers can do: everybody falls behind, and everybody alike."""
    simulation = Simulation(Scheduler(workers=1, most=4), [0.02] * 14, share_of)
    simulation.run(3.0)
    served = [len(values) for values in simulation.lateness.values()]
    assert min(served) >= max(served) - 2


def test_short_hops_are_in_time_beside_long_ones() -> None:
    simulation = Simulation(Scheduler(workers=2), [0.02] * 4 + [0.2] * 6, share_of)
    simulation.run(20.0)
    for stream in range(4):
        late = np.array(simulation.lateness[stream][50:]) > 0.0
        assert np.mean(late) < 0.01


@pytest.mark.parametrize("others", [0, 1, 4])
def test_who_sends_faster_than_it_speaks_takes_no_more_time_than_others(others: int) -> None:
    """A stream that is alone is converted as fast as it goes."""
    fast, seconds, cost, hop_s, inbox_s = 99, 4.0, 0.004, 0.02, 2.0
    scheduler = Scheduler(workers=2)
    simulation = Simulation(scheduler, [hop_s] * others, lambda _: cost)
    heard = [0.0]  # s of its audio that were converted

    def next_one(now: float) -> Task:
        due = min(heard[0], now + inbox_s)
        heard[0] += hop_s
        return Task(lambda: None, hop_s, due + hop_s, hop_s, fast, heard[0] - hop_s)

    simulation.follow(fast, next_one)
    simulation.run(seconds)
    if others:
        assert seconds < heard[0] < seconds + 1.0
    else:
        assert heard[0] > 0.9 * seconds * hop_s / cost
    assert all(max(simulation.lateness[stream]) < 0.0 for stream in range(others))
