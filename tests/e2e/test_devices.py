"""One server on several devices; the GPU among them is one that computes on the processor here."""

import asyncio
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from dial import dialled, rest
from runtimes import machine
from websockets.asyncio.client import ClientConnection

from server.app import Server
from server.config import Limits, ServerConfig
from server.pcm import decode
from server.protocol import AudioFrame, Ready, Start, Stop, server_message
from server.studio import Studio
from stream.audio import Audio
from stream.models.providers import PROVIDERS
from stream.timing import hum

pytestmark = pytest.mark.slow

RATE, PIECE = 16_000, 320


async def said(link: ClientConnection, sound: Audio) -> Audio:
    """What the open stream makes of `sound`."""
    for at in range(0, len(sound), PIECE):
        await link.send(AudioFrame(at // PIECE, at, sound[at : at + PIECE].tobytes()).pack())
        await asyncio.sleep(0.01)
    await link.send(Stop().model_dump_json())
    _, frames = await rest(link)
    return np.concatenate([decode(frame.pcm, "f32le") for frame in frames])


def test_each_device_has_a_room_its_own_models_and_its_share_of_the_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = machine(monkeypatch, ["cuda", "cpu"])
    config = ServerConfig(
        port=0,
        device="cuda:1,cpu",
        home=tmp_path,
        easing=False,
        limits=Limits(max_late_s=3600.0),  # a busy machine is no failure
    )
    start = Start(voice="starter", sample_rate=RATE, encoding="f32le", profile="balanced")
    sound = hum(RATE, RATE)

    async def main() -> None:
        server = Server(config, lambda: Studio(config))
        await server.start()
        await server.warm()
        loaded = len(made.opened)
        try:
            async with dialled(server.url) as one, dialled(server.url) as two:
                ready: list[Ready] = []
                for link in (one, two):
                    await link.send(start.model_dump_json())
                    answer = server_message.validate_json(await link.recv())
                    assert isinstance(answer, Ready)
                    ready.append(answer)
                heard = await asyncio.gather(said(one, sound), said(two, sound))
            assert {r.provider for r in ready} == {PROVIDERS[k].name for k in ("cuda", "cpu")}
            assert len(heard[0]) == len(heard[1]) == len(sound)
            assert np.abs(heard[0] - heard[1]).max() < 1e-4
            assert np.abs(heard[0]).max() > 0.01
            assert len(made.opened) == loaded, "a model was loaded again"
            async with aiohttp.ClientSession() as http:
                async with http.get(f"{server.url}/v1/info") as page:
                    info = await page.json()
                async with http.get(f"{server.url}/metrics") as page:
                    figures = await page.text()
        finally:
            await server.stop()
        assert info["why"] == {"cuda:1": "asked for", "cpu": "asked for"}
        assert info["provider"] == "CUDAExecutionProvider, CPUExecutionProvider"
        for device in ("cuda:1", "cpu"):
            for figure in ("load_ratio", "queue_jobs", "degradation_level"):
                assert f'timbral_{figure}{{device="{device}"}}' in figures

    asyncio.run(main())
    numbers = {o.providers[o.first].get("device_id") for o in made.real() if "CUDA" in o.first}
    assert numbers == {"1"}
