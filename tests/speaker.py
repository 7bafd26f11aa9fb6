"""A client of our own that talks and comes back, for tests with several servers."""

import asyncio
from collections.abc import Callable

import numpy as np
from calls import START
from dial import HOP, RATE, frame

from clients.link import VoiceLink
from clients.reconnect import Backoff, stay_linked
from server.protocol import AudioFrame, Flag, Ready
from stream.errors import LinkError

SOON_S = 20.0
FAST = Backoff(first=0.05, most=0.5)


def home(ready: Ready) -> str:
    """Which replica a stream is on."""
    return ready.resume.partition(".")[0]


class Speaker:
    """A client of our own that talks until `enough`, and notes where it was and what came back."""

    def __init__(self, url: str) -> None:
        self.homes: list[str] = []
        self.resumed: list[bool] = []
        self.heard = 0  # samples since the last connection, as the voice says them
        self.enough = asyncio.Event()
        self._link: VoiceLink | None = None
        self._life = asyncio.create_task(stay_linked(url, lambda: START, self._talk, backoff=FAST))

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for it, as long as this client lives."""

        async def wait() -> None:
            while not true() and not self._life.done():
                await asyncio.sleep(0.02)

        await asyncio.wait_for(wait(), SOON_S)
        if self._life.done():
            self._life.result()

    def cut(self) -> None:
        """Lose the connection, without a goodbye."""
        assert self._link is not None
        self._link._socket.transport.abort()  # pyright: ignore[reportPrivateUsage]

    async def end(self) -> None:
        """Stop, and wait for what is left."""
        self.enough.set()
        await asyncio.wait_for(self._life, SOON_S)

    async def _talk(self, link: VoiceLink) -> None:
        self._link = link
        self.homes.append(home(link.ready))
        self.resumed.append(link.ready.resumed)
        self.heard = 0
        sending = asyncio.create_task(self._send(link))
        try:
            async for event in link.events():
                if isinstance(event, AudioFrame) and Flag.CONCEALED not in event.flags:
                    said = set(np.frombuffer(event.pcm, "<f4").tolist())
                    self.heard += event.samples("f32le") if said == {-0.25} else 0
            if not self.enough.is_set():
                raise LinkError("The server said goodbye.")
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _send(self, link: VoiceLink) -> None:
        while not self.enough.is_set():
            await link.send(frame(0)[16:])
            await asyncio.sleep(HOP / RATE)
        await link.stop()
