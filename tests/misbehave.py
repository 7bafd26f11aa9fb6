"""A program that misbehaves towards a server: `python misbehave.py URL DEED`, until killed.

It runs beside the tests, so that what it costs itself does not count.
"""

import asyncio
import io
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

import aiohttp
from calls import START
from dial import HOP, RATE, dialled, frame, talking
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from server.protocol import MAX_AUDIO, Ping

LARGEST = MAX_AUDIO // 4 - 16  # samples of a frame


async def flood(link: ClientConnection) -> None:
    """Send a minute of audio as fast as it goes."""
    for position in range(0, 60 * RATE, HOP):
        await link.send(frame(position))


async def crumble(link: ClientConnection) -> None:
    """Send frames of one sample as fast as it goes."""
    for position in range(60 * RATE):
        await link.send(frame(position, 1))


async def babble(link: ClientConnection) -> None:
    """Send nonsense until cut off."""
    while True:
        await link.send("nonsense")


async def stall(link: ClientConnection) -> None:
    """Say a second at once, then nothing."""
    for position in range(0, RATE, HOP):
        await link.send(frame(position))
    await asyncio.sleep(60)


async def vanish(link: ClientConnection) -> None:
    """Reset the connection without a word, in the middle of an inference; and again."""
    await link.send(frame(0, 5 * HOP))
    await asyncio.sleep(0.02)
    sock = link.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    link.transport.abort()


async def ask(link: ClientConnection) -> None:
    """Ping as fast as it goes, and read none of the answers."""
    while True:
        await link.send(Ping(t=1).model_dump_json())


async def swell(link: ClientConnection) -> None:
    """Send the largest frames there may be as fast as it goes, reading what comes."""
    reading = asyncio.create_task(_read(link))
    try:
        for k in range(10_000):
            await link.send(frame(k * LARGEST, LARGEST))
    finally:
        reading.cancel()


async def _read(link: ClientConnection) -> None:
    with suppress(ConnectionClosed):
        while True:
            await link.recv()


async def begin(url: str) -> None:
    """Open streams, and leave at once without a word."""
    async with dialled(url, close_timeout=0.1) as link:
        await link.send(START.model_dump_json())
        await link.recv()
        link.transport.abort()


async def guess(url: str) -> None:
    """Try tokens, over HTTP and in `start`."""
    async with aiohttp.ClientSession() as http:
        for k in range(50):
            async with http.get(f"{url}/v1/voices", headers={"Authorization": f"Bearer {k:08}"}):
                pass
    async with dialled(url) as link:
        await link.send(START.model_copy(update={"token": "a wrong one"}).model_dump_json())
        await _read(link)


async def upload(url: str) -> None:
    """Send a large file as a voice, under a name that is taken."""
    async with aiohttp.ClientSession() as http:
        data, path = io.BytesIO(bytes(16 << 20)), "/v1/voices?filename=ada.pth&name=ada"
        async with http.post(url + path, data=data) as answer:
            await answer.read()


async def knock(url: str) -> None:
    """Connect, say half of something, and hang up, over and over."""
    host, port = url.removeprefix("http://").split(":")
    for _ in range(50):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /v1/stream HTTP/1.1\r\nHost: ")
        writer.transport.abort()


Deed = Callable[[ClientConnection], Awaitable[None]]
Stranger = Callable[[str], Awaitable[None]]
IN_STREAM: dict[str, Deed] = {
    f.__name__: f for f in (flood, crumble, babble, stall, vanish, ask, swell)
}
OUTSIDE: dict[str, Stranger] = {f.__name__: f for f in (begin, guess, upload, knock)}
DEEDS = (*IN_STREAM, *OUTSIDE)


async def main(url: str, name: str) -> None:
    """Connect and misbehave, over and over; a line on stdout tells of each time."""
    refused = AssertionError  # by `talking`: it tries again
    while True:
        with suppress(ConnectionClosed, OSError, aiohttp.ClientError, InvalidHandshake, refused):
            if name in IN_STREAM:
                async with talking(url, close_timeout=0.1) as link:
                    _tell(name)
                    await IN_STREAM[name](link)
            else:
                _tell(name)
                await OUTSIDE[name](url)
        await asyncio.sleep(0.02)


def _tell(name: str) -> None:
    sys.stdout.write(f"{name}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if hasattr(os, "nice"):
        os.nice(
            19
        )  # what it takes from the server is the point, not what it takes from the machine
    asyncio.run(main(sys.argv[1], sys.argv[2]))
