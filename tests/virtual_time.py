"""A day in minutes: an event loop, and threads, whose clock jumps whenever everybody waits."""

import asyncio
import heapq
import itertools
import selectors
import threading
from concurrent.futures import Executor, Future
from types import TracebackType
from typing import Any


class Time:
    """Seconds that pass only while the loop has nothing to do and every thread waits.

    Law: between two moments at which somebody asked to be woken, no time passes at all, however
    slow the machine is.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self._lock = threading.Lock()
        self._number = itertools.count()
        self._sleepers: list[tuple[float, int, Sleeper]] = []
        self._awake = 0  # threads that work
        self._all_wait = threading.Event()
        self._all_wait.set()

    def __call__(self) -> float:
        return self.now

    def begin(self, threads: int) -> None:
        """So many threads begin to work, which will wait by this clock."""
        with self._lock:
            self._awake += threads
            self._all_wait.clear()

    def end(self) -> None:
        """One of them will wait no more."""
        with self._lock:
            self._sleeps()

    def sleep(self, seconds: float) -> None:
        """Let time pass; for threads that `begin` knows of."""
        self.wait(Sleeper(), seconds)

    def wait(self, sleeper: "Sleeper", seconds: float | None) -> None:
        """Until it is woken, or for so long."""
        with self._lock:
            if sleeper.woken:
                return
            if seconds is not None:
                due = self.now + seconds
                heapq.heappush(self._sleepers, (due, next(self._number), sleeper))
            sleeper.waits = True
            self._sleeps()
        sleeper.bell.acquire()

    def wake(self, sleeper: "Sleeper") -> None:
        """Let it go on, or not wait at all."""
        with self._lock:
            self._wake(sleeper)

    def settle(self) -> None:
        """Return when no thread works."""
        self._all_wait.wait()

    def advance(self, seconds: float | None) -> None:
        """Go on to the next moment at which a thread wakes, but no further than `seconds`."""
        with self._lock:
            while self._sleepers and self._sleepers[0][2].woken:
                heapq.heappop(self._sleepers)
            due = self._sleepers[0][0] if self._sleepers else float("inf")
            until = min(due, float("inf") if seconds is None else self.now + seconds)
            if until == float("inf"):
                raise RuntimeError("everybody waits for ever")
            self.now = max(self.now, until)
            while self._sleepers and self._sleepers[0][0] <= self.now:
                self._wake(heapq.heappop(self._sleepers)[2])

    def _sleeps(self) -> None:
        self._awake -= 1
        if not self._awake:
            self._all_wait.set()

    def _wake(self, sleeper: "Sleeper") -> None:
        if not sleeper.woken:
            sleeper.woken = True
            if sleeper.waits:
                self._awake += 1
                self._all_wait.clear()
                sleeper.bell.release()


class Sleeper:
    """One thread that waits once."""

    def __init__(self) -> None:
        self.bell = threading.Lock()
        self.bell.acquire()
        self.woken = self.waits = False


class Condition:
    """`threading.Condition`, as far as it is used, by a clock of ours."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self._lock = threading.RLock()
        self._sleepers: list[Sleeper] = []

    def __enter__(self) -> bool:
        return self._lock.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.__exit__(kind, error, trace)

    def wait(self, seconds: float | None = None) -> None:
        """Until somebody notifies, or for so long."""
        sleeper = Sleeper()
        self._sleepers.append(sleeper)
        self._lock.release()
        try:
            self._time.wait(sleeper, seconds)
        finally:
            self._lock.acquire()
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)

    def notify(self, count: int = 1) -> None:
        """Wake so many of those that wait."""
        for sleeper in self._sleepers[:count]:
            self._sleepers.remove(sleeper)
            self._time.wake(sleeper)

    def notify_all(self) -> None:
        """Wake all."""
        self.notify(len(self._sleepers))


class _Selector(selectors.DefaultSelector):
    """Finds what is ready; when nothing is, lets the threads work, then time pass."""

    def __init__(self, time: Time) -> None:
        super().__init__()
        self._time = time

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        self._time.settle()
        ready = super().select(0)
        if not ready:
            self._time.advance(timeout)
        return ready


class Loop(asyncio.SelectorEventLoop):
    """An event loop by a clock of ours."""

    def __init__(self, time: Time) -> None:
        super().__init__(_Selector(time))
        self._time = time

    def time(self) -> float:
        """Seconds."""
        return self._time.now


class Inline(Executor):
    """Does at once what it is given."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """What `fn` returned or raised."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future
