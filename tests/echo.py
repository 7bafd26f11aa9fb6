"""A server that says at once, with the opposite sign, what it hears: identity, to measure by.

Run as a program it prints its address and serves until it is killed, in a process of its own.
"""

import asyncio
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import PIPE, Popen

import numpy as np
from tiny_server import stats
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from server.protocol import (
    SUBPROTOCOL,
    AudioFrame,
    ControlsNow,
    Message,
    Ping,
    Pong,
    Ready,
    SetControls,
    SetVoice,
    Start,
    Stop,
    Stopped,
    VoiceNow,
    client_message,
)
from stream.controls import Controls

DTYPES = {"f32le": "<f4", "s16le": "<i2"}


async def talk(socket: ServerConnection) -> None:
    """One conversation."""
    start = client_message.validate_json(await socket.recv())
    assert isinstance(start, Start)
    await _say(socket, _ready(start))
    samples = 0
    async for data in socket:
        if isinstance(data, bytes):
            frame = AudioFrame.unpack(data)
            sound = np.frombuffer(frame.pcm, DTYPES[start.encoding])
            samples += len(sound)
            await socket.send(frame._replace(pcm=np.negative(sound).tobytes()).pack())
            continue
        message = client_message.validate_json(data)
        if isinstance(message, Ping):
            await _say(socket, Pong(t=message.t))
            await _say(socket, stats())
        elif isinstance(message, SetControls):
            values = message.model_dump(exclude_none=True, exclude={"type"})
            await _say(socket, ControlsNow(**{**vars(Controls()), **values}))
        elif isinstance(message, SetVoice):
            await _say(socket, VoiceNow(voice=message.voice))
        elif isinstance(message, Stop):
            await _say(socket, Stopped(samples_in=samples, samples_out=samples))
            return


@contextmanager
def echoing(port: int = 0) -> Generator[tuple[str, "Popen[str]"], None, None]:
    """The address of an echo in a process of its own, and the process."""
    words = [sys.executable, __file__, str(port)]
    root = Path(__file__).parents[1]
    with Popen(words, cwd=root, env=_paths(), stdout=PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


def _paths() -> dict[str, str]:
    root = Path(__file__).parents[1]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])}


def _ready(start: Start) -> Ready:
    return Ready(
        session="s",
        voice=start.voice,
        sample_rate=start.sample_rate,
        encoding=start.encoding,
        hop_samples=1,
        latency_samples=0,
        provider="NoExecutionProvider",
        profile="low",
        why="",
    )


async def _say(socket: ServerConnection, message: Message) -> None:
    await socket.send(message.model_dump_json())


async def _main(port: int) -> None:
    async def quietly(socket: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            await talk(socket)

    subprotocols = [Subprotocol(SUBPROTOCOL)]
    async with serve(
        quietly, "127.0.0.1", port, subprotocols=subprotocols, compression=None
    ) as server:
        address = next(iter(server.sockets)).getsockname()
        sys.stdout.write(f"ws://127.0.0.1:{address[1]}\n")
        sys.stdout.flush()
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
