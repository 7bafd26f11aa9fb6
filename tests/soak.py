"""`make soak`: a server's day in some minutes, and real minutes with real clients.

    python soak.py --hours 24 --minutes 20

The day runs in simulated time through the code that serves sessions, lines, rooms and schedules;
every hour all clients leave, and nothing may be left of them. The minutes are `timbral serve` with
the starter voice, and half as many clients as it takes, who come, go, and are lost. Writes a table
and a verdict; the exit status is 1 when a law was broken.
"""

import argparse
import asyncio
import gc
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import real_minutes
from simulated import Client, Pressed, Simulated, Wrong
from virtual_time import Loop, Time

HOUR_S = 3600.0
TALK_S = 2700.0  # of an hour; in the rest those who talk come to their end
PRESSED_S = (900.0, 1200.0)  # of every other hour: a hop takes `PRESSURE` times as long
PRESSURE = 16.0
RUSH_S = 1800.0  # when many come at once, every third hour
REGULARS, CROWD = 5, 12
WARM_HOURS = 2  # after which nothing may grow
GROWTH, GROWTH_BYTES = 500, 12e6  # objects and bytes that may come and go by chance


@dataclass(frozen=True)
class Size:
    """What this process holds."""

    bytes: int
    objects: int
    files: int
    threads: int


def size() -> Size:
    """Now, after all garbage is gone."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    files = len(os.listdir("/proc/self/fd"))
    held = len(gc.get_objects())
    return Size(pages * os.sysconf("SC_PAGE_SIZE"), held, files, threading.active_count())


@dataclass(frozen=True)
class Hour:
    """What one simulated hour came to.

    tally  what clients met in it
    level  the highest step of the ladder, and the one at its end
    """

    number: int
    tally: "Counter[str]"
    level: tuple[int, int]
    size: Size


async def day(hours: int, seed: int, moment: Time) -> AsyncIterator[Hour]:
    """Simulated hours, one after another. Raises `Wrong` when a law is broken."""
    voices = Pressed(moment)
    server = Simulated(moment, voices)
    chance = random.Random(seed)
    watch = asyncio.create_task(server.look_after())
    first: Size | None = None
    try:
        for number in range(1, hours + 1):
            tally: Counter[str] = Counter()
            levels = await _hour(number, server, voices, chance, tally, moment)
            if watch.done():
                raise Wrong("nobody looks after the server any more") from watch.exception()
            now = size()
            _check_size(number, first, now)
            first = now if number == WARM_HOURS else first
            yield Hour(number, tally, (max(levels), levels[-1]), now)
    finally:
        watch.cancel()
        server.room.close()


async def _hour(
    number: int,
    server: Simulated,
    voices: Pressed,
    chance: random.Random,
    tally: "Counter[str]",
    moment: Time,
) -> list[int]:
    """The steps of the ladder, minute by minute."""
    begun = moment.now
    clients = [Client(server, random.Random(chance.random()), tally) for _ in range(REGULARS)]
    lives = [asyncio.create_task(client.live(begun + TALK_S)) for client in clients]
    levels: list[int] = []
    while moment.now < begun + HOUR_S:
        await asyncio.sleep(20.0)
        server.check()
        levels.append(server.room.level)
        at = moment.now - begun
        pressed = number % 2 and PRESSED_S[0] < at <= PRESSED_S[1]
        voices.pressure = PRESSURE if pressed else 1.0
        if number % 3 == 1 and RUSH_S < at <= RUSH_S + 20.0:
            crowd = [Client(server, random.Random(chance.random()), tally) for _ in range(CROWD)]
            lives += [asyncio.create_task(client.talk()) for client in crowd]
        for life in lives:
            if life.done():
                life.result()
    for life in lives:
        if not life.done():
            raise Wrong("a client never came to its end")
    if not server.empty:
        raise Wrong(f"something is left of those who went: {vars(server)}")
    return levels


def _check_size(number: int, first: Size | None, now: Size) -> None:
    if first is None:
        return
    grown = {
        "objects": now.objects - first.objects > GROWTH,
        "bytes": now.bytes - first.bytes > GROWTH_BYTES,
        "files": now.files > first.files,
        "threads": now.threads > first.threads,
    }
    what = [name for name, too_much in grown.items() if too_much]
    if what:
        raise Wrong(f"{', '.join(what)} grew from {first} to {now} in hour {number}")


COLUMNS = (
    *("hour", "streams", "resumed", "refused", "too slow", "idle", "lost", "concealed"),
    *("ladder", "MB", "objects", "files", "threads"),
)
Tell = Callable[[str], None]


def accelerated(hours: int, seed: int, tell: Tell) -> "Counter[str]":
    """Run the day; returns all that clients met. Raises `Wrong` when a law is broken."""
    moment, whole, begun = Time(), Counter[str](), time.monotonic()
    tell(_head(COLUMNS))

    async def main() -> None:
        async for hour in day(hours, seed, moment):
            whole.update(hour.tally)
            whole["ladder"] = max(whole["ladder"], hour.level[0])
            left = (time.monotonic() - begun) / hour.number * (hours - hour.number)
            tell(f"{_row(hour)} {left:.0f} s |")

    loop = Loop(moment)
    try:
        loop.run_until_complete(main())
    finally:
        loop.run_until_complete(_end(asyncio.all_tasks(loop)))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    return whole


async def _end(tasks: "set[asyncio.Task[object]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _head(columns: Sequence[str]) -> str:
    return f"| {' | '.join(columns)} | left |\n|{'--:|' * (len(columns) + 1)}"


def _row(hour: Hour) -> str:
    tally, held = hour.tally, hour.size
    cells = (
        *(hour.number, tally["began"], tally["resumed"], tally["refused"], tally["too_slow"]),
        *(tally["idle"], tally["lost"]),
        f"{tally['samples concealed'] / max(1, tally['samples heard']):.2%}",
        f"{hour.level[0]} -> {hour.level[1]}",
        f"{held.bytes / 1e6:.0f}",
        *(held.objects, held.files, held.threads),
    )
    return f"| {' | '.join(map(str, cells))} |"


def lasting(count: int, streams: int, seed: int, tell: Tell) -> None:
    """Run the real minutes. Raises `Wrong` when a law is broken."""
    tell(_head(real_minutes.COLUMNS))

    async def main() -> None:
        async for minute in real_minutes.real(count, streams, seed):
            tell(f"{real_minutes.row(minute)} {count - minute.number} min |")

    asyncio.run(main())


def say(text: str) -> None:
    """Write a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Soak."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--hours", type=int, default=24, help="simulated; 0: none")
    parser.add_argument("--minutes", type=int, default=20, help="real; 0: none")
    parser.add_argument("--streams", type=int, default=0, help="0: half of what is taken")
    parser.add_argument("--seed", type=int, default=1)
    told = parser.parse_args()
    try:
        if told.hours:
            accelerated(told.hours, told.seed, say)
        if told.minutes:
            lasting(told.minutes, told.streams, told.seed, say)
    except Wrong as error:
        say(f"BROKEN: {error}")
        return 1
    say("All laws held.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
