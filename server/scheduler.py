"""Whose hop is converted next, and with whom: one scheduler for each device.

No thread, no clock: time is told by the caller, in seconds. `server.room` runs what it hands out.
"""

import math
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

SAFETY = 1.25  # a batch may take so much longer than batches of its kind did
MARGIN = 0.3  # of a hop that should be left when its batch is done
LENGTH = 0.6  # of its first hop that a batch may take at any rate
CATCH_UP = 0.8  # the same when that one is late already: or it would stay late for ever
MEMORY = 0.1  # weight of the newest measurement in an average
LOOK_BACK_S = 2.0  # over which the load is measured
COMPANY = 4  # tasks in a batch, when much is to be done
EARLY_S = 0.25  # by which a stream may be ahead of real time while others speak
ALONE_S = 1.0  # after which nobody else speaks


@dataclass(frozen=True)
class Task:
    """One piece of conversion.

    kind      what it costs like: tasks of a kind take the same time; `None` runs alone, at once
    deadline  when it must be done
    hop_s     seconds of audio in it
    stream    whose it is
    spoken    when a stream that speaks at the pace of speech would have begun to say it
    """

    work: Callable[[], Any]
    kind: Hashable
    deadline: float
    hop_s: float
    stream: Hashable = None
    spoken: float = -math.inf


class Costs:
    """What batches take, learnt by their kind: some seconds, and some more with every task."""

    def __init__(self) -> None:
        self._known: dict[Hashable, _Trend] = {}

    def learn(self, batch: Sequence[Task], seconds: float) -> None:
        """A batch of one kind took so long; one of several kinds teaches nothing."""
        kind = batch[0].kind
        if all(task.kind == kind for task in batch):
            self._known.setdefault(kind, _Trend()).add(len(batch), seconds)

    def of(self, batch: Sequence[Task]) -> float:
        """What it is to be expected to take; half a hop for a task of a kind never seen."""
        first, more = 0.0, 0.0
        for task in batch:
            begin, each = self._of(task.kind, 0.5 * task.hop_s)
            first, more = max(first, begin), more + each
        return first + more

    def share(self, kind: Hashable, otherwise: float, company: int) -> float:
        """What one of `company` tasks takes of their batch; `otherwise` for a kind never seen."""
        first, each = self._of(kind, otherwise)
        return first / company + each

    def _of(self, kind: Hashable, otherwise: float) -> tuple[float, float]:
        return self._known[kind].line if kind in self._known else (0.0, otherwise)


class _Trend:
    """A line through batches of 1, 2, ... tasks and their seconds; old ones are forgotten."""

    def __init__(self) -> None:
        self._sums = 0.0, 0.0, 0.0, 0.0, 0.0  # 1, count, count^2, seconds, count * seconds
        self.line = 0.0, 0.0  # asked for much more often than it changes

    def add(self, count: int, seconds: float) -> None:
        new = 1.0, count, count * count, seconds, count * seconds
        keep = 1.0 - MEMORY
        self._sums = tuple(keep * a + b for a, b in zip(self._sums, new, strict=True))
        self.line = self._fitted()

    def _fitted(self) -> tuple[float, float]:
        """Seconds for any batch, and for each task in it. While all batches were of one size, half
        of each: so that others are tried."""
        n, x, xx, y, xy = self._sums
        spread = n * xx - x * x
        each = (n * xy - x * y) / spread if spread > 0.01 * n * n else 0.5 * y / x
        each = min(max(each, 0.0), y / x)
        return (y - each * x) / n, each


@dataclass
class Scheduler:
    """Hands out batches of waiting tasks.

    workers  threads that convert at the same time
    most     tasks in a batch
    sizes    sizes that a batch may have, for devices that want fixed shapes; by default any

    Laws, each with a test in tests/server/test_scheduler.py:

    earliest  of what waits, the tasks with the earliest deadlines go first
    in time   a task is added to a batch only if all of it is expected to end well before the first
              deadline in it, or within most of a hop; what is late is done in larger batches, as
              they save time
    starts    a batch starts as soon as a worker is idle: while all are busy, others gather. Waiting
              for company on purpose would save time that nobody needs, for latency that all have
    fair      a stream has one task at a time, so none can keep another from its turn; and while
              others speak, one that is ahead of the pace of speech waits
    idle      no worker is idle while two tasks or more wait that could start: they are shared out,
              and none takes more than its part of all that wait and run, or the next one is idle
    """

    workers: int = 1
    most: int = 8
    sizes: tuple[int, ...] = ()
    costs: Costs = field(default_factory=Costs)

    def __post_init__(self) -> None:
        if self.workers < 1 or self.most < 1 or any(size < 1 for size in self.sizes):
            raise ValueError("workers, most and sizes must be 1 or more")
        self._waiting: list[Task] = []
        self._running: list[tuple[float, int]] = []  # when a batch began, and its tasks
        self._past: deque[tuple[float, float]] = deque()  # when a batch ended; seconds of load
        self._spoke: dict[Hashable, float] = {}  # when a stream's audio was started, not early

    def __len__(self) -> int:
        """Tasks that wait."""
        return len(self._waiting)

    def put(self, task: Task) -> None:
        """A task is ready."""
        self._waiting.append(task)

    def take(self, now: float) -> list[Task]:
        """The batch to start now; empty when nothing waits that may start, or nobody is idle."""
        batch = self._batch(now)
        if batch:
            spoken = (task for task in batch if task.kind is not None and not _early(task, now))
            self._spoke |= {task.stream: now for task in spoken}
            self._waiting = [task for task in self._waiting if task not in batch]
            self._running.append((now, len(batch)))
        return batch

    def done(self, batch: list[Task], begun: float, now: float) -> None:
        """What `take` gave at `begun` is done."""
        self._running.remove((begun, len(batch)))
        self.costs.learn(batch, now - begun)
        took = (now - begun) / len(batch)
        self._past.append((now, sum(min(took, self.share(task.kind, took)) for task in batch)))

    def share(self, kind: Hashable, otherwise: float) -> float:
        """Seconds of a task's part in a batch of some size; `otherwise` for a kind never seen."""
        return self.costs.share(kind, otherwise, min(COMPANY, self.most))

    def load(self, now: float) -> float:
        """Part of the workers' time that what was done lately would take in batches of some size.

        Workers that are never idle tell nothing: with less to do, they take smaller batches.
        """
        while self._past and self._past[0][0] < now - LOOK_BACK_S:
            self._past.popleft()
        running = sum(min(now - begun, LOOK_BACK_S) for begun, _ in self._running)
        done = sum(seconds for _, seconds in self._past)
        return (done + running) / (LOOK_BACK_S * self.workers)

    def _batch(self, now: float) -> list[Task]:
        """What would be started next, the earliest deadline first."""
        if not self._waiting or len(self._running) == self.workers:
            return []
        self._spoke = {one: at for one, at in self._spoke.items() if now - at < ALONE_S}
        may_start = [task for task in self._waiting if not self._waits_for_others(task, now)]
        if not may_start:
            return []
        order = sorted(may_start, key=lambda task: task.deadline)
        if order[0].kind is None:
            return order[:1]
        everybody = len(order) + sum(count for _, count in self._running)
        share = min(self.most, math.ceil(everybody / self.workers))
        batch = order[:1]
        first, hop_s = now + self.costs.of(batch), order[0].hop_s
        until = now + (LENGTH if first < order[0].deadline else CATCH_UP) * hop_s
        until = max(until, order[0].deadline - MARGIN * hop_s)
        for task in order[1:share]:
            if task.kind is None or now + SAFETY * self.costs.of([*batch, task]) > until:
                break
            batch.append(task)
        return batch[: self._size(len(batch))]

    def _waits_for_others(self, task: Task, now: float) -> bool:
        return _early(task, now) and any(one != task.stream for one in self._spoke)

    def _size(self, count: int) -> int:
        fit = [size for size in self.sizes if size <= count]
        return max(fit) if fit else count


def _early(task: Task, now: float) -> bool:
    return task.spoken > now + EARLY_S
