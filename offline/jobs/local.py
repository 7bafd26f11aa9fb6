"""Does orders on this machine, each in a process of its own."""

import multiprocessing
import os
import signal
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from offline.jobs.job import End, News, Order, Running, Told, Work
from stream.errors import Cancelled, TimbralError

CORES_A_JOB = 4  # steps that a cover can take side by side
BYTES_A_JOB = 2_000_000_000  # of memory that a cover may take
LESS_URGENT = 10  # steps of the system's priority: live streams go first
TELL_SECONDS = 0.1  # between two words about one step


def places_for(cores: int, memory: int) -> int:
    """How many covers at once suit a machine with so many cores and bytes of memory: one at least.

    >>> places_for(2, 8_000_000_000), places_for(16, 64_000_000_000), places_for(16, 5_000_000_000)
    (1, 4, 2)
    """
    return max(1, min(cores // CORES_A_JOB, memory // BYTES_A_JOB))


def memory_bytes() -> int:
    """Of this machine; where it does not tell, enough for any number of jobs."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return BYTES_A_JOB * CORES_A_JOB * (os.cpu_count() or 1)


def cores() -> int:
    """Processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class LocalExecutor:
    """Runs `work` for each order in a fresh process: what it takes is given back, whatever happens.

    places  orders at once; by default what cores and memory of this machine allow

    Law: a process does not outlive the one that began it, even if that was killed.
    """

    def __init__(self, work: Work, places: int | None = None) -> None:
        self._work = work
        self._places = places or places_for(cores(), memory_bytes())
        self._context = multiprocessing.get_context("spawn")

    @property
    def places(self) -> int:
        """How many at once."""
        return self._places

    @property
    def threads(self) -> int:
        """How many each should take."""
        return max(1, min(CORES_A_JOB, cores() // self._places))

    def begin(self, order: Order) -> Running:
        """Start its process."""
        here, there = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(there, self._work, order), daemon=True)
        process.start()
        there.close()
        return _Process(process, here)

    def close(self) -> None:
        """Nothing is held between orders."""


class _Process:
    """See `Running`."""

    def __init__(self, process: BaseProcess, link: Connection) -> None:
        self._process = process
        self._link = link

    def news(self) -> News:
        steps: dict[str, tuple[int, int]] = {}
        end: End | None = None
        try:
            while end is None and self._link.poll():
                said = self._link.recv()
                if isinstance(said, End):
                    end = said
                else:
                    steps[said[0]] = said[1:]
        except (EOFError, OSError):
            end = End("died")
        if end is not None:
            self._link.close()
            self.kill()
            self._process.join()
        return News(steps, end)

    def cancel(self) -> None:
        with suppress(OSError):
            self._link.send("stop")

    def kill(self) -> None:
        self._process.kill()


def _serve(link: Connection, work: Work, order: Order) -> None:
    """What the process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who began it
    if hasattr(os, "nice"):
        with suppress(OSError):
            os.nice(LESS_URGENT)
    stop = threading.Event()
    threading.Thread(target=_listen, args=(link, stop), daemon=True).start()
    end = outcome(work, order, _Teller(link, stop))
    with suppress(OSError):
        link.send(end)


def outcome(work: Work, order: Order, told: Told) -> End:
    """Do the order; how it came out."""
    try:
        return End("done", seconds=work(order, told))
    except Cancelled:
        return End("cancelled")
    except TimbralError as error:
        return End("failed", str(error))
    except MemoryError:
        return End("failed", "There was not enough memory for this.")


def _listen(link: Connection, stop: threading.Event) -> None:
    try:
        while True:
            link.recv()
            stop.set()
    except (EOFError, OSError):
        os._exit(1)  # nobody waits for this any more


class _Teller:
    """Sends progress, from any thread, and not too often."""

    def __init__(self, link: Connection, stop: threading.Event) -> None:
        self._link = link
        self._stop = stop
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}

    def __call__(self, name: str, done: int, total: int) -> None:
        if self._stop.is_set():
            raise Cancelled("The job was cancelled.")
        now = time.monotonic()
        with self._lock:
            if done < total and now - self._last.get(name, -TELL_SECONDS) < TELL_SECONDS:
                return
            self._last[name] = now
            with suppress(OSError):  # `_listen` ends this process
                self._link.send((name, done, total))
