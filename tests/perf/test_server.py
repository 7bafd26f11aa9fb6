"""What the server adds to the conversion's own time, and how many streams stay in time.

A shared machine is slower at times but never faster than it is: each figure is the best of a few
tries.
"""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from calls import FakeConversion, FakeVoices
from dial import dialled, rest, serving, speak, talking

from server.app import Server
from server.config import ServerConfig
from server.protocol import AudioFrame, Start, Stats, Stop
from server.studio import Studio
from stream.files import SoundFile
from stream.models.store import STARTER

pytestmark = pytest.mark.perf

TRIES = 5
CLIPS = sorted((Path(__file__).parents[1] / "speech").glob("*.wav"))
RATE = 16_000


def test_the_server_adds_little_to_a_hop() -> None:
    """Over loopback, without conversion, from sending a hop to hearing its answer: less than half
    of the shortest hop, on a machine half as fast as the one in stream/LOG.md."""

    async def p95() -> float:
        delays: list[float] = []
        voices = FakeVoices(lambda: FakeConversion(lag=0))
        async with serving(voices) as server, talking(server.url) as link:
            await speak(link, 2.0, delays)
        return float(np.percentile(delays, 95))

    best = min(asyncio.run(p95()) for _ in range(TRIES))
    assert best < 0.5 * 0.020, f"{best * 1e3:.1f} ms"


def test_four_streams_of_speech_at_once_stay_in_time() -> None:
    """Real time, profile balanced, starter voice: no hop is so late that it is dropped."""

    async def one(url: str, clip: Path) -> Stats:
        speech = np.tile(SoundFile(clip).read(), 3)[: 6 * RATE]
        start = Start(voice=STARTER, sample_rate=RATE, encoding="f32le", profile="balanced")
        async with dialled(url) as link:
            await link.send(start.model_dump_json())
            await link.recv()
            listener = asyncio.create_task(rest(link))
            loop = asyncio.get_running_loop()
            began = loop.time()
            for at in range(0, len(speech), 320):
                await asyncio.sleep(max(0.0, began + (at + 320) / RATE - loop.time()))
                pcm = speech[at : at + 320].astype("<f4").tobytes()
                await link.send(AudioFrame(at // 320, at, pcm).pack())
            await link.send(Stop().model_dump_json())
            messages, _ = await listener
            return next(m for m in reversed(messages) if isinstance(m, Stats))

    async def lost() -> int:
        config = ServerConfig(port=0)
        server = Server(config, lambda: Studio(config))
        await server.start()
        await server.warm()
        try:
            stats = await asyncio.gather(*(one(server.url, clip) for clip in CLIPS[:4]))
        finally:
            await server.stop()
        return sum(s.underruns for s in stats)

    assert any(asyncio.run(lost()) == 0 for _ in range(TRIES))
