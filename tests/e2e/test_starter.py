"""The server with the real engine and the starter voice: speech in, speech out."""

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dial import dialled, rest
from websockets.asyncio.client import ClientConnection

from server.app import Server
from server.config import Limits, ServerConfig
from server.pcm import decode
from server.protocol import (
    AudioFrame,
    ControlsNow,
    ControlValues,
    Failure,
    Flag,
    ProfileName,
    Ready,
    SetControls,
    SetVoice,
    Start,
    Stats,
    Stop,
    Stopped,
    VoiceNow,
    server_message,
)
from server.studio import Studio
from server.warm import Running
from stream.audio import Audio
from stream.controls import Controls
from stream.engine import Conversion
from stream.files import SoundFile
from stream.models.store import STARTER, Store
from stream.profiles import STEADY

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CLIPS = sorted((ROOT / "tests" / "speech").glob("*.wav"))
NEVER_LATE = Limits(max_late_s=3600.0)  # a busy machine is no failure


def started(**settings: Any) -> Server:
    """A server of the starter voice."""
    config = ServerConfig(port=0, easing=False, **settings)
    return Server(config, lambda: Studio(config))


def asking(profile: ProfileName, **controls: Any) -> Start:
    """A `start` for the starter voice."""
    return Start(
        voice=STARTER,
        sample_rate=16_000,
        encoding="f32le",
        profile=profile,
        controls=ControlValues(**controls),
    )


async def opened(link: ClientConnection, start: Start) -> Ready:
    """Open the stream."""
    await link.send(start.model_dump_json())
    ready = server_message.validate_json(await link.recv())
    assert isinstance(ready, Ready)
    return ready


async def say(link: ClientConnection, speech: Audio, frame: int, rate: float = np.inf) -> None:
    """Send `speech` in frames of `frame` samples at `rate` samples a second, then `stop`."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for seq, at in enumerate(range(0, len(speech), frame)):
        part = speech[at : at + frame]
        await asyncio.sleep(max(0.0, began + (at + len(part)) / rate - loop.time()))
        await link.send(AudioFrame(seq, at, part.astype("<f4").tobytes()).pack())
    await link.send(Stop().model_dump_json())


def joined(frames: list[AudioFrame]) -> Audio:
    """The samples of `frames`, which follow each other without a hole."""
    position = 0
    for frame in frames:
        assert frame.position == position
        position += frame.samples("f32le")
    return np.concatenate([decode(frame.pcm, "f32le") for frame in frames])


def expected(speech: Audio, start: Start) -> Audio:
    """The conversion of `speech` without a server."""
    profile = STEADY["low" if start.profile == "auto" else start.profile]
    controls = Controls(**start.controls.model_dump(exclude_none=True))
    voice = Store().load(STARTER)
    conversion = Conversion(voice, start.sample_rate, profile=profile, controls=controls)
    return np.concatenate([conversion.step(speech), conversion.flush()])


def test_four_at_once_hear_what_the_engine_says() -> None:
    """Each in its own words, controls and framing, faster than real time."""
    asked = [
        asking("low"),
        asking("balanced", pitch=3),
        asking("quality", auto_pitch=False),
        asking("low", gate_db=-90, output_gain_db=-6),
    ]
    speeches = [SoundFile(path).read()[:32_000] for path in CLIPS[:4]]

    async def one(url: str, start: Start, speech: Audio, frame: int) -> Audio:
        async with dialled(url) as link:
            ready = await opened(link, start)
            assert ready.provider.endswith("ExecutionProvider")
            listener = asyncio.create_task(rest(link))
            await say(link, speech, frame)
            messages, frames = await listener
            assert messages[-1] == Stopped(samples_in=len(speech), samples_out=len(speech))
            return joined(frames)

    async def main() -> list[Audio]:
        server = started(limits=NEVER_LATE, max_streams=4)
        await server.start()
        await server.warm()
        try:
            sizes = (160, 333, 4096, 37)
            jobs = zip(asked, speeches, sizes, strict=True)
            return await asyncio.gather(*(one(server.url, *job) for job in jobs))
        finally:
            await server.stop()

    for start, speech, heard in zip(asked, speeches, asyncio.run(main()), strict=True):
        wanted = expected(speech, start)
        np.testing.assert_array_equal(heard, wanted)
        assert np.abs(heard).max() > 0.01
        assert np.abs(np.corrcoef(heard, speech)[0, 1]) < 0.5, "the raw voice was heard"


def test_controls_voice_and_figures_on_a_live_stream() -> None:
    speech = SoundFile(CLIPS[1]).read()

    async def main() -> None:
        server = started(limits=NEVER_LATE)
        await server.start()
        running = await server.warm()
        assert isinstance(running, Running)
        assert list(running.warm.latencies) == list(STEADY)
        assert running.warm.latencies["low"] < running.warm.latencies["quality"]
        try:
            async with dialled(server.url) as link:
                ready = await opened(link, asking("low"))
                listener = asyncio.create_task(rest(link))
                await link.send(SetControls(pitch=5.0).model_dump_json(exclude_none=True))
                await link.send(SetControls(speaker=99).model_dump_json(exclude_none=True))
                await link.send(SetVoice(voice=STARTER).model_dump_json())
                await link.send(SetVoice(voice="../etc").model_dump_json())
                await say(link, speech, 320, 16_000)
                messages, frames = await listener
                assert ControlsNow(**vars(Controls(pitch=5.0))) in messages
                assert VoiceNow(voice=STARTER) in messages
                (error,) = (m for m in messages if isinstance(m, Failure))
                assert (error.code, error.fatal) == ("voice_not_found", False)
                stats = [m for m in messages if isinstance(m, Stats)]
                assert len(stats) >= 3
                assert stats[-1].compute_ms.p99 >= stats[-1].compute_ms.p50 > 0
                assert stats[-1].latency_samples == ready.latency_samples
                assert not any(Flag.CONCEALED in f.flags for f in frames)
        finally:
            await server.stop()

    asyncio.run(main())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_told_to_stop_lets_its_stream_end_and_exits_with_0(number: int) -> None:
    serve = [sys.executable, "-m", "timbral", "serve", "--port", "0"]
    with subprocess.Popen(serve, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]

        async def main() -> None:
            async with dialled(url) as link:
                await opened(link, asking("low"))
                await link.send(AudioFrame(0, 0, bytes(4 * 8000)).pack())
                await asyncio.sleep(0.2)
                process.send_signal(number)
                messages, frames = await rest(link)
                assert messages[-1] == Stopped(samples_in=8000, samples_out=8000)
                assert len(joined(frames)) == 8000
                assert link.close_code == 1001

        asyncio.run(main())
        began = time.monotonic()
        assert process.wait(30) == 0
        assert time.monotonic() - began < 20
