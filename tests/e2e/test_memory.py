"""What a stream costs in memory: open, talking, and waiting for its client."""

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from crowds import Served, serving_timbral, talker, talking

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc"),
]

STREAMS = 6
MOST = 25e6  # bytes a stream


def test_a_stream_of_the_starter_takes_little_memory_also_while_its_client_is_away(
    tmp_path: Path,
) -> None:
    async def main(server: Served) -> None:
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(talker(server.url, "starter"))
            async with talking(first):
                await asyncio.sleep(1.0)  # what all share is there from now on
            base = server.memory
            talkers = [
                await stack.enter_async_context(talker(server.url, "starter", profile="relaxed"))
                for _ in range(STREAMS)
            ]
            for each in talkers:
                await each.say(each.ready.hop_samples)
            while not all(each.pieces for each in talkers):
                await asyncio.sleep(0.05)
            talked = server.memory
            for each in talkers:
                each.link.transport.abort()
            await asyncio.sleep(0.5)
            assert await server.streams() == STREAMS, "they do not wait for their clients"
            away = server.memory
            each_takes = [(bytes_ - base) / STREAMS for bytes_ in (talked, away)]
            assert max(each_takes) <= MOST, each_takes
            await server.until_empty(server.files)
            assert server.memory - base < STREAMS * MOST / 2, "it stays"

    roomy = {"workers": 16, "easing": "false", "limits_max_late_s": 3600, "limits_resume_s": 2}
    with serving_timbral(tmp_path, **roomy) as server:
        asyncio.run(asyncio.wait_for(main(server), 120.0))
