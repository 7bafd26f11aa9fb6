"""Too many clients share what there is. What one does to the others: tests/perf."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from calls import FakeConversion, FakeVoices
from dial import RATE, serving, speak, talking

from server.protocol import Flag


@pytest.mark.slow
def test_an_overloaded_server_shares_itself_fairly() -> None:
    """Three streams on one thread that can do half of their work: each loses its part."""

    async def main() -> None:
        voices = FakeVoices(lambda: FakeConversion(seconds=0.0125))
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(serving(voices, workers=1))
            links = [await stack.enter_async_context(talking(server.url)) for _ in range(3)]
            delays: list[float] = []
            answers = await asyncio.gather(*(speak(link, 3.0, delays) for link in links))
        lost = [
            sum(f.samples("f32le") for f in frames if Flag.CONCEALED in f.flags) / (3.0 * RATE)
            for frames in answers
        ]
        assert min(lost) > 0.25, lost
        assert max(lost) - min(lost) < 0.2, lost
        assert max(delays) < 1.0

    asyncio.run(main())
