"""Has the jobs of a store done, by an executor; one queue works on a store at a time."""

import os
import shutil
import sqlite3
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from offline.jobs.job import Executor, Job, Order, Running, State
from offline.jobs.store import JobStore
from stream.errors import ConfigError

LOOK_SECONDS = 0.2  # between two rounds
TELL_SECONDS = 0.5  # between two notes of a job's progress
PATIENCE_SECONDS = 10.0  # that a job has to end by itself when it was cancelled
MOST_TRIES = 3
DIED = (
    "The process that worked on this died {tries} times. Is there enough memory? "
    "What was finished is kept: a new job of the same song goes on from there."
)


@dataclass
class _Work:
    """A job that is running, and what is known of it here."""

    job: Job
    running: Running
    steps: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    told: float = 0.0
    asked: float | None = None  # when it was asked to end


class Claim:
    """The right to do the jobs of a folder: of all processes, one has it; it ends with it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "claim"
        self._db: sqlite3.Connection | None = None

    def hold(self) -> bool:
        """Whether it is had, or can be had now."""
        if self._db is not None:
            return True
        self._path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self._path, 0.0, isolation_level=None, check_same_thread=False)
        try:
            db.execute("BEGIN EXCLUSIVE")  # a lock of the system's: it goes when the process does
        except sqlite3.OperationalError:
            db.close()
            return False
        self._db = db
        return True

    def release(self) -> None:
        """Leave it to another."""
        if self._db is not None:
            with closing(self._db) as db:
                db.execute("ROLLBACK")
            self._db = None


class Queue:
    """Works on the jobs of `store`, as many at once as `executor` has places.

    Laws: every job that is taken comes to an end or goes back to those that wait: after a crash of
    this process, too, because who has the claim takes back what its forerunner had running. What
    was finished of it is in the cache of its steps. A job that was cancelled ends within
    `patience` seconds; one whose process died `MOST_TRIES` times has failed.
    """

    def __init__(
        self,
        store: JobStore,
        executor: Executor,
        home: Path,
        *,
        device: str = "auto",
        threads: int = 1,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._store = store
        self._executor = executor
        self._home = home
        self._device = device
        self._threads = threads
        self._patience = patience
        self._claim = Claim(store.path.parent)
        self._works: dict[str, _Work] = {}
        self.leading = False  # whether this queue has the claim

    def look(self) -> bool:
        """One round; whether anything is running here."""
        if not self.leading:
            if not self._claim.hold():
                return False
            self.leading = True
            for job in self._store.running():
                self._put_back(job)
        wanted = {job.id for job in self._store.running() if job.stop}
        for work in list(self._works.values()):
            self._follow(work, work.job.id in wanted)
        while len(self._works) < self._executor.places and (job := self._store.take()):
            if not self._begin(job):
                break
        return bool(self._works)

    def close(self) -> None:
        """End what is running; it waits for the next queue, and goes on there."""
        for work in self._works.values():
            work.running.kill()
        try:
            for identity in list(self._works):
                job = self._store.job(identity)
                if job.stop:
                    self._end(job, "cancelled")
                else:
                    self._store.back(identity, counts=False)
        finally:
            self._works.clear()
            self._executor.close()
            self._claim.release()
            self.leading = False

    def _begin(self, job: Job) -> bool:
        where = self._home, self._device, self._threads
        try:
            running = self._executor.begin(Order(job.source, job.target, job.settings, *where))
        except OSError:  # the system has no room for another process
            self._put_back(job)
            return False
        self._works[job.id] = _Work(job, running, dict(job.steps))
        return True

    def _follow(self, work: _Work, wanted_to_end: bool) -> None:
        news, now = work.running.news(), time.monotonic()
        work.steps |= news.steps
        if news.steps and (news.end or now - work.told > TELL_SECONDS):
            work.told = now
            self._store.report(work.job.id, work.steps)
        if news.end is not None:
            del self._works[work.job.id]
            job = self._store.job(work.job.id)
            if news.end.state == "died":
                self._put_back(job)
            else:
                self._end(job, news.end.state, news.end.why, news.end.seconds)
        elif wanted_to_end and work.asked is None:
            work.asked = now
            work.running.cancel()
        elif work.asked is not None and now - work.asked > self._patience:
            work.running.kill()

    def _put_back(self, job: Job) -> None:
        """A job whose process is gone."""
        if job.stop:
            self._end(job, "cancelled")
        elif job.tries >= MOST_TRIES:
            self._end(job, "failed", DIED.format(tries=job.tries))
        else:
            self._store.back(job.id)

    def _end(self, job: Job, state: State, why: str = "", seconds: float = 0.0) -> None:
        said = why.replace(f"{job.source.parent}{os.sep}", "")  # who reads it knows no such folder
        self._store.end(job.id, state, said, seconds)
        drop_song(self._store.path.parent, job)


def drop_song(folder: Path, job: Job) -> None:
    """The song is not needed any more; a file that lies elsewhere is its owner's, and stays."""
    if job.source.is_relative_to(folder / job.id):
        shutil.rmtree(job.source.parent, ignore_errors=True)


class Foreman:
    """Lets a queue look after its jobs in a thread, until it is told to stop."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._over = threading.Event()
        self.trouble = ""  # why nothing is done at present
        self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; what was running waits."""
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._over.is_set():
            try:
                busy = self._queue.look()
                self.trouble = ""
            except ConfigError as error:  # a full disk, say: it may get better
                busy, self.trouble = False, str(error)
            self._over.wait(LOOK_SECONDS if busy else 2 * LOOK_SECONDS)
        with suppress(ConfigError):  # the next queue puts things right
            self._queue.close()
