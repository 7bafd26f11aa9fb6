"""A real server on a free port and real connections to it, for tests."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from calls import START, FakeVoices
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from server.app import Server
from server.config import ServerConfig
from server.jobs import OpenJobs
from server.protocol import (
    PATH,
    SUBPROTOCOL,
    AudioFrame,
    Flag,
    Ready,
    ServerMessage,
    Stop,
    Stopped,
    server_message,
)

RATE = START.sample_rate
HOP = 160  # 20 ms


@asynccontextmanager
async def serving(
    voices: FakeVoices | None = None, open_jobs: OpenJobs | None = None, **settings: Any
) -> AsyncGenerator[Server, None]:
    """A server on a free port, ready."""
    chosen: dict[str, Any] = {"port": 0, "voice": "ada", "max_streams": 8, "easing": False}
    chosen |= settings
    server = Server(ServerConfig(**chosen), lambda: voices or FakeVoices(), open_jobs)
    await server.start()
    try:
        await server.warm()
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def dialled(url: str, **options: Any) -> AsyncGenerator[ClientConnection, None]:
    """A connection without a word said."""
    address = url.replace("http", "ws") + PATH
    settings: dict[str, Any] = {"subprotocols": [Subprotocol(SUBPROTOCOL)], **options}
    async with connect(address, proxy=None, **settings) as link:
        yield link


@asynccontextmanager
async def talking(url: str, **options: Any) -> AsyncGenerator[ClientConnection, None]:
    """A connection whose stream is open."""
    async with dialled(url, **options) as link:
        await link.send(START.model_dump_json())
        ready = server_message.validate_json(await link.recv())
        assert isinstance(ready, Ready)
        yield link


def frame(position: int, count: int = HOP, value: float = 0.5) -> bytes:
    """A frame of `count` equal samples."""
    return AudioFrame(position // HOP, position, np.full(count, value, "<f4").tobytes()).pack()


async def rest(link: ClientConnection) -> tuple[list[ServerMessage], list[AudioFrame]]:
    """All that comes until the server closes."""
    messages: list[ServerMessage] = []
    frames: list[AudioFrame] = []
    try:
        while True:
            data = await asyncio.wait_for(link.recv(), 30)
            if isinstance(data, str):
                messages.append(server_message.validate_json(data))
            else:
                frames.append(AudioFrame.unpack(data))
    except ConnectionClosed:
        return messages, frames


async def speak(
    link: ClientConnection, seconds: float, delays: list[float] | None = None
) -> list[AudioFrame]:
    """Talk at real-time pace and stop; returns the answers, their delays into `delays`."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    total = round(seconds * RATE / HOP) * HOP

    async def send() -> None:
        for position in range(0, total, HOP):
            due = began + (position + HOP) / RATE
            await asyncio.sleep(max(0.0, due - loop.time()))
            await link.send(frame(position))
        await link.send(Stop().model_dump_json())

    sender = asyncio.create_task(send())
    frames: list[AudioFrame] = []
    while True:
        data = await link.recv()
        if isinstance(data, bytes):
            frames.append(AudioFrame.unpack(data))
            end = frames[-1].position + frames[-1].samples("f32le")
            if delays is not None:
                delays.append(loop.time() - began - end / RATE)
        elif isinstance(server_message.validate_json(data), Stopped):
            break
    await sender
    return frames


def whole(frames: list[AudioFrame], seconds: float) -> bool:
    """Whether `frames` answer every sample with its opposite, none concealed."""
    total = round(seconds * RATE / HOP) * HOP
    pcm = b"".join(bytes(f.pcm) for f in frames)
    heard = np.frombuffer(pcm, "<f4")
    concealed = any(Flag.CONCEALED in f.flags for f in frames)
    return len(heard) == total and not concealed and bool((heard == -0.5).all())
