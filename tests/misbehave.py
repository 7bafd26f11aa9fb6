"""A program that misbehaves towards a server: `python misbehave.py URL DEED`, until killed.

It runs beside the tests, so that what it costs itself does not count.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

from dial import HOP, RATE, frame, talking
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed


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


Deed = Callable[[ClientConnection], Awaitable[None]]
DEEDS: dict[str, Deed] = {f.__name__: f for f in (flood, crumble, babble, stall, vanish)}


async def main(url: str, deed: Deed) -> None:
    """Connect and misbehave, over and over; a line on stdout tells of each time."""
    while True:
        with suppress(ConnectionClosed):
            async with talking(url, close_timeout=0.1) as link:
                sys.stdout.write(f"{deed.__name__}\n")
                sys.stdout.flush()
                await deed(link)
        await asyncio.sleep(0.02)


if __name__ == "__main__":
    if hasattr(os, "nice"):
        os.nice(
            19
        )  # what it takes from the server is the point, not what it takes from the machine
    asyncio.run(main(sys.argv[1], DEEDS[sys.argv[2]]))
