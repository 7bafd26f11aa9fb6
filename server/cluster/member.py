"""One server of a cluster: the same as `timbral serve` runs, started and watched by others."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import urlsplit

from server.app import Server, Voices
from server.cluster.board import Beat
from server.config import ServerConfig

T = TypeVar("T")
ANY = frozenset({"0.0.0.0", "::"})


class Member:
    """A server that a cluster runs, in a thread and a loop of its own: whatever loop who watches it
    has, and however busy that is, streams do not notice. It takes no jobs.

    config       what all servers of the cluster have in common
    replica      its name
    node         the machine's address for others, told where the server listens on all of them
    open_voices  makes what it converts with
    """

    def __init__(
        self,
        config: ServerConfig,
        replica: str,
        node: str,
        open_voices: Callable[[ServerConfig], Voices],
    ) -> None:
        self._config = replace(config, replica=replica)
        self._node = node
        self._open_voices = open_voices
        self._server: Server | None = None
        self._ending = False
        self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="serve", daemon=True)

    async def start(self) -> None:
        """Listen, and load the default voice. Raises `TimbralError` where `timbral serve` would."""
        self._thread.start()
        await self._there(self._start())

    async def beat(self) -> Beat:
        """What it tells of itself now."""
        return await self._there(self._beat())

    async def drain(self) -> None:
        """Take no more streams; return when those that run have ended, or `drain_s` is over."""
        self._ending = True
        await self._there(self._running.drain())

    async def stop(self) -> None:
        """Let streams end, close. Once."""
        await self._there(self._running.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)
        self._loop.close()

    @property
    def _running(self) -> Server:
        if self._server is None:
            raise ValueError("the server was not started")
        return self._server

    async def _there(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def _start(self) -> None:
        self._server = Server(self._config, lambda: self._open_voices(self._config))
        await self._server.start()
        await self._server.warm()

    async def _beat(self) -> Beat:
        url = urlsplit(self._running.url)
        host = self._node if self._config.host in ANY else url.hostname or ""
        shown = f"[{host}]" if ":" in host else host
        return Beat(
            replica=self._config.replica,
            scheme=url.scheme,
            address=f"{shown}:{url.port}",
            fullness=self._running.fullness,
            streams=self._running.streams,
            most=self._config.max_streams,
            comes=self._running.ready and not self._ending,
            takes=self._running.takes,
        )


def own_voices(config: ServerConfig) -> Voices:
    """Those of the store."""
    from server.studio import Studio  # loads the models' runtime, once the port is open

    return Studio(config)
