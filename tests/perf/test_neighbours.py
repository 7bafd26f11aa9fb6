"""How much later others are heard while one client misbehaves: in one run, in turns."""

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import misbehave
import numpy as np
import pytest
from crowds import RATE, TESTS, Served, Talker, served, talker, talking, with_tests

pytestmark = [
    pytest.mark.perf,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="stops processes"),
]

TURNS, TURN_S, PAUSE_S = 3, 0.4, 0.1
MOST = 1.25  # of the 99th percentile without: 1.10 is meant, and two quiet turns differ by as much
TRIES = 8  # a shared machine is slower at times, never faster than it is


@asynccontextmanager
async def misbehaving(
    server: Served, deed: str
) -> AsyncGenerator[asyncio.subprocess.Process, None]:
    """A client that has begun with its misdeed, and is held."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, TESTS / "misbehave.py", server.url, deed),
        env=with_tests(),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert (await process.stdout.readline()).decode().strip() == deed
        process.send_signal(signal.SIGSTOP)
        yield process
    finally:
        process.kill()
        await process.communicate()


async def p99(talkers: list[Talker]) -> float:
    """Seconds from saying to hearing, in one turn."""
    await asyncio.sleep(PAUSE_S)
    begun = [each.now - each.begun for each in talkers]
    await asyncio.sleep(TURN_S)
    delays = [
        piece.delay
        for each, since in zip(talkers, begun, strict=True)
        for piece in each.pieces
        if piece.position >= since * RATE
    ]
    return float(np.percentile(delays or [TURN_S], 99))


async def moved(server: Served, talkers: list[Talker], deed: str) -> float:
    """By what factor the 99th percentile grows: the median of the turns with, to that without.

    A deed in a stream is compared with a stream that is well-behaved, which takes its time, too.
    """
    quiet, noisy = list[float](), list[float]()
    async with misbehaving(server, deed) as process:
        for _ in range(TURNS):
            async with AsyncExitStack() as stack:
                if deed in misbehave.IN_STREAM:
                    other = await stack.enter_async_context(talker(server.url))
                    await stack.enter_async_context(talking(other))
                quiet.append(await p99(talkers))
            process.send_signal(signal.SIGCONT)
            noisy.append(await p99(talkers))
            process.send_signal(signal.SIGSTOP)
    return float(np.median(noisy) / np.median(quiet))


def test_what_one_client_does_hardly_moves_the_others() -> None:
    async def main(server: Served) -> dict[str, float]:
        async with AsyncExitStack() as stack:
            talkers = [await stack.enter_async_context(talker(server.url)) for _ in range(2)]
            found = dict.fromkeys(misbehave.DEEDS, float("inf"))
            async with talking(*talkers):
                await asyncio.sleep(0.5)
                for _ in range(TRIES):
                    for deed in [deed for deed, factor in found.items() if factor > MOST]:
                        found[deed] = min(found[deed], await moved(server, talkers, deed))
            for each in talkers:
                each.check()
            return found

    with served(burn=0.001, workers=2, limits={"max_late_s": 2.0}) as server:
        found = asyncio.run(main(server))
    told = {deed: f"{factor:.2f}" for deed, factor in found.items()}
    assert max(found.values()) <= MOST, told
