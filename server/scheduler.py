"""Whose hop is converted next, and with whom: one scheduler for each device.

No thread, no clock: time is told by the caller, in seconds. `server.room` runs what it hands out.
"""

import math
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

CALM = 0.5  # part of the time that workers may be busy for a hop to start at once
PATIENCE = 0.25  # of its hop that a hop waits for company on a busy device
SAFETY = 1.25  # a batch may take so much longer than batches of its kind did
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
    """Seconds that a task takes as one of a batch, learnt by its kind."""

    def __init__(self) -> None:
        self._seconds: dict[Hashable, float] = {}

    def learn(self, kind: Hashable, seconds: float) -> None:
        """One of a batch took so much of it."""
        known = self._seconds.get(kind, seconds)
        self._seconds[kind] = known + MEMORY * (seconds - known)

    def of(self, task: Task) -> float:
        """What it is to be expected to take; half a hop for a kind that was never seen."""
        return self.known(task.kind, 0.5 * task.hop_s)

    def known(self, kind: Hashable, otherwise: float) -> float:
        """What tasks of that kind took; `otherwise` for one that was never seen."""
        return self._seconds.get(kind, otherwise)


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
    in time   a task is added to a batch only if all of it is expected to end before every deadline
              in it, as far as the first task alone would
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
        for task in batch:
            self.costs.learn(task.kind, (now - begun) / len(batch))

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
        batch, seconds = order[:1], self.costs.of(order[0])
        first = max(order[0].deadline, now + SAFETY * seconds)  # it may be late already
        for task in order[1:]:
            if len(batch) == share or task.kind is None:
                break
            more = seconds + self.costs.of(task)
            if now + SAFETY * more <= first:
                batch.append(task)
                seconds = more
        return batch[: self._size(len(batch))]

    def _size(self, count: int) -> int:
        fit = [size for size in self.sizes if size <= count]
        return max(fit) if fit else count

    def _start(self, batch: list[Task], now: float) -> float:
        """When the batch should start at the latest."""
        first = batch[0]
        if first.kind is None or len(batch) == self.most or self.load(now) < CALM:
            return now
        needed = first.deadline - SAFETY * sum(map(self.costs.of, batch))
        oldest = min(task.arrived + PATIENCE * task.hop_s for task in batch)
        return max(now, min(needed, oldest)) if min(needed, oldest) > now else now
