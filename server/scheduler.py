"""Whose hop is converted next, and with whom: one scheduler for each device.

No thread, no clock: time is told by the caller, in seconds. `server.room` runs what it hands out.
"""

import math
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

CALM = 0.5  # part of the time that workers may be busy for a hop to start at once
PATIENCE = 0.25  # of its hop that a hop waits for company on a busy device
SAFETY = 1.25  # a batch may take so much longer than batches of its kind did
MARGIN = 0.3  # of a hop that should be left when its batch is done
LENGTH = 0.8  # of its first hop that a batch may take at any rate: to catch up, once all is late
MEMORY = 0.1  # weight of the newest measurement in an average
LOOK_BACK_S = 2.0  # over which being busy is measured


@dataclass(frozen=True)
class Task:
    """One piece of conversion.

    kind      what it costs like: tasks of a kind take the same time; `None` runs alone, at once
    arrived   when its audio was complete
    deadline  when it must be done
    hop_s     seconds of audio in it
    """

    work: Callable[[], Any]
    kind: Hashable
    arrived: float
    deadline: float
    hop_s: float


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

    def more(self, kind: Hashable, otherwise: float) -> float:
        """What one more of that kind adds to a batch; `otherwise` for a kind never seen."""
        return self._of(kind, otherwise)[1]

    def _of(self, kind: Hashable, otherwise: float) -> tuple[float, float]:
        return self._known[kind].line if kind in self._known else (0.0, otherwise)


class _Trend:
    """A line through batches of 1, 2, ... tasks and their seconds; old ones are forgotten."""

    def __init__(self) -> None:
        self._sums = 0.0, 0.0, 0.0, 0.0, 0.0  # 1, count, count^2, seconds, count * seconds

    def add(self, count: int, seconds: float) -> None:
        new = 1.0, count, count * count, seconds, count * seconds
        keep = 1.0 - MEMORY
        self._sums = tuple(keep * a + b for a, b in zip(self._sums, new, strict=True))

    @property
    def line(self) -> tuple[float, float]:
        """Seconds for any batch, and for each task in it. While all batches were of one size, half
        of each: so that others are tried."""
        n, x, xx, y, xy = self._sums
        spread = n * xx - x * x
        each = (n * xy - x * y) / spread if spread > 0.01 * n * n else 0.5 * y / x
        each = min(max(each, 0.0), y / x)
        return (y - each * x) / n, each


@dataclass
class _Run:
    """A batch that a worker is busy with, or was."""

    begun: float
    ended: float = math.inf


@dataclass
class Scheduler:
    """Hands out batches of waiting tasks.

    workers  threads that convert at the same time
    most     tasks in a batch
    sizes    sizes that a batch may have, for devices that want fixed shapes; by default any

    Laws, each with a test in tests/server/test_scheduler.py:

    earliest  of what waits, the tasks with the earliest deadlines go first
    in time   a task is added to a batch only if all of it is expected to end well before the first
              deadline in it, or within most of a hop: what is late is done in large batches too, as
              they save time, or it would stay late for ever
    starts    a batch starts when it is full, when a deadline needs it, when its first task has
              waited for a quarter of its hop, or at once while the device is calm
    fair      a stream has one task at a time, so none can keep another from its turn
    idle      no worker is idle while two tasks or more wait that could start: they are shared out
    """

    workers: int = 1
    most: int = 8
    sizes: tuple[int, ...] = ()
    costs: Costs = field(default_factory=Costs)

    def __post_init__(self) -> None:
        if self.workers < 1 or self.most < 1 or any(size < 1 for size in self.sizes):
            raise ValueError("workers, most and sizes must be 1 or more")
        self._waiting: list[Task] = []
        self._running: list[_Run] = []
        self._past: deque[_Run] = deque()

    def __len__(self) -> int:
        """Tasks that wait."""
        return len(self._waiting)

    def put(self, task: Task) -> None:
        """A task is ready."""
        self._waiting.append(task)

    def take(self, now: float) -> list[Task]:
        """The batch to start now; empty when all workers are busy or it pays to wait."""
        batch = self._batch(now)
        if not batch or self._start(batch, now) > now:
            return []
        self._waiting = [task for task in self._waiting if task not in batch]
        self._running.append(_Run(now))
        return batch

    def wake(self, now: float) -> float:
        """When to ask again, if nothing happens until then; infinity: not before that."""
        batch = self._batch(now)
        return self._start(batch, now) if batch else math.inf

    def done(self, batch: list[Task], begun: float, now: float) -> None:
        """What `take` gave at `begun` is done."""
        run = next(run for run in self._running if run.begun == begun)
        self._running.remove(run)
        run.ended = now
        self._past.append(run)
        self.costs.learn(batch, now - begun)

    def load(self, now: float) -> float:
        """Part of the time that the workers were busy lately, 0 .. 1."""
        since = now - LOOK_BACK_S
        while self._past and self._past[0].ended < since:
            self._past.popleft()
        runs = [*self._past, *self._running]
        busy = sum(min(run.ended, now) - max(run.begun, since) for run in runs)
        return busy / (LOOK_BACK_S * self.workers)

    def _batch(self, now: float) -> list[Task]:
        """What would be started next, the earliest deadline first."""
        idle = self.workers - len(self._running)
        if not self._waiting or idle < 1:
            return []
        order = sorted(self._waiting, key=lambda task: task.deadline)
        if order[0].kind is None:
            return order[:1]
        share = min(self.most, math.ceil(len(order) / idle))
        batch = order[:1]
        until = order[0].deadline - MARGIN * order[0].hop_s
        until = max(until, now + LENGTH * order[0].hop_s)
        for task in order[1:share]:
            if task.kind is None or now + SAFETY * self.costs.of([*batch, task]) > until:
                break
            batch.append(task)
        return batch[: self._size(len(batch))]

    def _size(self, count: int) -> int:
        fit = [size for size in self.sizes if size <= count]
        return max(fit) if fit else count

    def _start(self, batch: list[Task], now: float) -> float:
        """When the batch should start at the latest."""
        first = batch[0]
        if first.kind is None or len(batch) == self.most or self.load(now) < CALM:
            return now
        needed = first.deadline - MARGIN * first.hop_s - SAFETY * self.costs.of(batch)
        oldest = min(task.arrived + PATIENCE * task.hop_s for task in batch)
        return max(now, min(needed, oldest)) if min(needed, oldest) > now else now
