"""Runs a plan: what is missing, side by side where steps do not wait for each other."""

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from offline.cache import Cache
from offline.cover.plan import Plan, Task
from stream.errors import Cancelled

LISTEN_SECONDS = 0.2  # how long Ctrl-C may go unheard: on some systems waiting is deaf to it


class Watcher(Protocol):
    """Is told how a plan goes on; from several threads."""

    def planned(self, missing: tuple[str, ...], kept: tuple[str, ...]) -> None:
        """Which tasks will be done, and which goals are there already."""
        ...

    def progress(self, name: str, done: int, total: int) -> None:
        """How far a task is; (0, 0) when it begins, (1, 1) when it is done. May raise."""
        ...


class Unwatched:
    """A watcher that wants to know nothing."""

    def planned(self, missing: tuple[str, ...], kept: tuple[str, ...]) -> None:
        """See `Watcher`."""

    def progress(self, name: str, done: int, total: int) -> None:
        """See `Watcher`."""


def run(
    plan: Plan,
    cache: Cache,
    goals: Iterable[str],
    *,
    workers: int = 1,
    watcher: Watcher | None = None,
) -> Mapping[str, Path]:
    """Do what is missing for `goals`; the folder of each goal.

    workers  tasks that may run at once

    The first error ends the others and is raised when all of them have ended; so does Ctrl-C. What
    was finished before stays in the cache, so the same plan goes on there the next time.
    """
    wanted = tuple(goals)
    missing = plan.missing(cache, wanted)
    running = _Run(plan, cache, watcher or Unwatched())
    there = {task.name for task in missing}
    running.watcher.planned(
        tuple(task.name for task in missing), tuple(n for n in wanted if n not in there)
    )
    with ThreadPoolExecutor(workers, thread_name_prefix="cover") as pool:
        try:
            _go(running, missing, pool)
        except BaseException:
            running.ended.set()
            raise
    return {name: running.folder(name) for name in wanted}


@dataclass(frozen=True)
class _Run:
    plan: Plan
    cache: Cache
    watcher: Watcher
    ended: threading.Event = field(default_factory=threading.Event)

    def folder(self, name: str) -> Path:
        """What the task made; anew if it was removed in the meantime."""
        task = self.plan.task(name)
        return self.cache.find(task.step) or self.do(task)

    def do(self, task: Task) -> Path:
        def told(done: int, total: int) -> None:
            if self.ended.is_set():
                raise Cancelled("The work was ended.")
            self.watcher.progress(task.name, done, total)

        def build(folder: Path) -> None:
            task.build({name: self.folder(name) for name in task.needs}, folder, told)

        told(0, 0)
        made = self.cache.make(task.step, build)
        told(1, 1)
        return made


def _go(running: _Run, missing: tuple[Task, ...], pool: ThreadPoolExecutor) -> None:
    """Start every task as soon as what it needs is there; raises the first error."""
    left = list(missing)
    at_work: dict[Future[Path], str] = {}
    while left or at_work:
        undone = {task.name for task in left} | set(at_work.values())
        for task in [task for task in left if not set(task.needs) & undone]:
            left.remove(task)
            at_work[pool.submit(running.do, task)] = task.name
        done, _ = wait(at_work, LISTEN_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            del at_work[future]
            future.result()
