"""The threads that convert, for each device, and who is let in there."""

import math
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from weakref import WeakSet

from server.config import ServerConfig
from server.failures import TRY_LATER, Refused
from server.figures import Figures
from server.line import Job, Outcome, Turn
from server.scheduler import Scheduler, Task
from stream.ladder import Ladder, Step
from stream.models.chorus import together
from stream.models.providers import BATCHES, on_gpu

ROOM = 0.8  # part of its time that a device may be promised to streams
IDLE = 0.01  # a device that is busy for no more of its time has nobody to protect
SETTLE_S = 2.0  # after which a new stream shows in what is measured
LIGHTER = 0.65  # of the computing is left when pitch is found the light way (starter: .5 to .65)
GENTLE_LEVEL = 2  # steps of the ladder up to which a newcomer may push the others
LOOK_S = 0.25


@dataclass(frozen=True, eq=False)
class Promise:
    """A stream that was let in lately: the part of the device's time that it will take."""

    until: float
    share: float


class Room:
    """One device's worker threads, its `Scheduler` and its `Ladder`.

    device   its name in the figures
    workers  threads that convert at once: one for each core, or one for a GPU
    easing   whether something may be given up under pressure
    clock    seconds that only grow: the event loop's

    Laws: what a hop returns does not depend on which others are converted with it; an error is its
    own stream's only; `let_in` refuses a stream when what is measured, and what was promised to
    those let in before and have not left, leave no room for it. An idle device takes any: there is
    nobody to protect.
    """

    def __init__(
        self,
        device: str,
        workers: int,
        figures: Figures,
        *,
        easing: bool = True,
        most: int = 8,
        sizes: tuple[int, ...] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.device = device
        self._workers = workers
        self._figures = figures
        self._clock = clock
        self._easing = easing
        self._scheduler = Scheduler(workers, most, sizes)
        self._ladder = Ladder()
        self._futures: dict[int, Future[Outcome]] = {}
        self._promises: list[Promise] = []
        self._looked = -math.inf
        self._changed = threading.Condition()
        self._open = True
        self._threads = [
            threading.Thread(target=self._convert, name=f"convert-{device}-{i}", daemon=True)
            for i in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def step(self) -> Step:
        """What is given up now; see `stream.ladder`."""
        return self._ladder.step

    def submit(self, job: Job) -> "Future[Outcome]":
        """Have a worker do `job`; every error becomes part of the outcome."""
        now = self._clock()
        turn = job.turn or Turn(None, now, 0.0)
        task = Task(job.work, *turn)
        future: Future[Outcome] = Future()
        with self._changed:
            self._futures[id(task)] = future
            self._scheduler.put(task)
            self._changed.notify()
        return future

    @property
    def load(self) -> float:
        """Part of the device's time that is taken or promised."""
        with self._changed:
            now = self._clock()
            return self._scheduler.load(now) + self._promised(now)

    def let_in(self, kind: Hashable, seconds: float, hop_s: float) -> Promise:
        """Promise room to a stream whose hops of `hop_s` take `seconds` alone.

        kind  what a hop costs like: when others of its kind run, it will take what theirs take

        Returns what is to be given to `forget` when the stream leaves. Raises `Refused` when there
        is no room. While the others can still do with lighter pitch, that is taken from them first.
        """
        with self._changed:
            now = self._clock()
            share = self._scheduler.share(kind, seconds) / hop_s / self._workers
            taken = self._scheduler.load(now) + self._promised(now)
            wanted = taken + share if taken > IDLE else 0.0
            while self._easing and wanted > ROOM and self._ladder.level < GENTLE_LEVEL:
                self._ladder.climb(now)
                wanted *= LIGHTER if self._ladder.level == 1 else 1.0
            if wanted > ROOM:
                raise Refused(
                    "overloaded",
                    f"This machine is busy: {wanted:.0%} of {self.device} would be needed, "
                    f"{ROOM:.0%} may be.",
                    close=TRY_LATER,
                )
            promise = Promise(now + SETTLE_S, share)
            self._promises.append(promise)
            return promise

    def forget(self, promise: Promise) -> None:
        """The stream has left: whoever comes next may have its room at once."""
        with self._changed:
            self._promises = [other for other in self._promises if other is not promise]

    def close(self) -> None:
        """End the threads; what waits is cancelled."""
        with self._changed:
            self._open = False
            for future in self._futures.values():
                future.cancel()
            self._changed.notify_all()

    def _promised(self, now: float) -> float:
        self._promises = [promise for promise in self._promises if promise.until > now]
        return sum(promise.share for promise in self._promises)

    def _convert(self) -> None:
        while (taken := self._next()) is not None:
            batch, begun = taken
            with self._changed:
                futures = [self._futures.pop(id(task)) for task in batch]
            # one that was cancelled while it waited is not done
            going = [future.set_running_or_notify_cancel() for future in futures]
            works = [task.work for task, goes in zip(batch, going, strict=True) if goes]
            ended = iter(together(works, self._ran))
            now = self._clock()
            with self._changed:
                self._scheduler.done(batch, begun, now)
                self._count(batch, now)
                self._changed.notify()
            for future, goes in zip(futures, going, strict=True):
                if goes:
                    end = next(ended)
                    future.set_result(Outcome(end.value, end.error, now - begun))

    def _ran(self, model: str, seconds: float) -> None:
        self._figures.stages.observe(seconds, stage=model)

    def _next(self) -> tuple[list[Task], float] | None:
        """The next batch and when it began; None when the room is closed."""
        with self._changed:
            while self._open:
                now = self._clock()
                self._look(now)
                batch = self._scheduler.take(now)
                if batch:
                    if len(self._scheduler):
                        self._changed.notify()  # there is more than this worker takes
                    return batch, now
                # the ladder comes down while nothing is converted, too, and what is early is due
                waits = self._ladder.level or len(self._scheduler)
                self._changed.wait(LOOK_S if waits else None)
        return None

    def _count(self, batch: Sequence[Task], now: float) -> None:
        """Tell the ladder and the figures of a batch that was done."""
        for task in batch:
            if task.kind is not None:
                self._ladder.hop(now > task.deadline, now)
        self._look(now)

    def _look(self, now: float) -> None:
        """Now and then, let the ladder and the figures see how busy the device is."""
        if now - self._looked >= LOOK_S:
            self._looked = now
            load = self._scheduler.load(now)
            if self._easing:
                self._ladder.look(load, now)
            self._figures.ladder.set(self._ladder.level, device=self.device)
            self._figures.queue.set(len(self._scheduler), device=self.device)
            self._figures.load.set(load, device=self.device)


class Rooms:
    """The devices of this machine. Streams are independent, so each goes to one of them."""

    def __init__(self, rooms: Sequence[Room]) -> None:
        self._rooms = list(rooms)
        self._seats: Mapping[int, WeakSet[Seat]] = {id(room): WeakSet() for room in rooms}

    def least(self) -> Room:
        """The one with the most time left; of several such, with the fewest streams."""
        return min(self._rooms, key=lambda room: (room.load, len(self._seats[id(room)])))

    def seat(self) -> "Seat":
        """A place for a stream that is about to come."""
        return Seat(self)

    def take(self, seat: "Seat") -> Room:
        """The room of a stream that comes now; it counts there for as long as the seat is kept."""
        room = self.least()
        self._seats[id(room)].add(seat)
        return room

    def close(self) -> None:
        """End all threads."""
        for room in self._rooms:
            room.close()


class Seat:
    """A stream's place: in the room that has the most time left when the stream begins.

    Many may connect before the first of them begins, and then they must not all go to one device.
    """

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._choosing = threading.Lock()
        self._chosen: Room | None = None
        self._promise: Promise | None = None

    @property
    def room(self) -> Room:
        """Chosen when it is first asked for."""
        with self._choosing:
            if self._chosen is None:
                self._chosen = self._rooms.take(self)
            return self._chosen

    @property
    def device(self) -> str:
        """The room's."""
        return self.room.device

    @property
    def step(self) -> Step:
        """What is given up there now."""
        return self.room.step

    def submit(self, job: Job) -> "Future[Outcome]":
        """Have it done there."""
        return self.room.submit(job)

    def let_in(self, kind: Hashable, seconds: float, hop_s: float) -> None:
        """Promise it room there; see `Room`."""
        self._promise = self.room.let_in(kind, seconds, hop_s)

    def leave(self) -> None:
        """Nobody is at the stream any more: what it was promised is free again."""
        if self._promise is not None:
            self.room.forget(self._promise)


def furnish(config: ServerConfig, providers: Mapping[str, str], figures: Figures) -> Rooms:
    """A room for each device, by what really runs its models.

    The cores of the processor convert at the same time; a GPU does one thing after another, in
    large batches of a few fixed sizes, and keeps a core busy that hands it its work.
    """
    gpus = sum(map(on_gpu, providers.values()))
    cores = max(1, config.workers - gpus)
    sizes = BATCHES if config.batch > 1 else BATCHES[:1]
    return Rooms(
        [
            Room(device, 1, figures, easing=config.easing, most=max(sizes), sizes=sizes)
            if on_gpu(provider)
            else Room(device, cores, figures, easing=config.easing, most=config.batch)
            for device, provider in providers.items()
        ]
    )
