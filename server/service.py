"""The server as a process: from its settings to its end, by signals."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

from server.app import Server, Voices
from server.config import ServerConfig
from server.jobs import OpenJobs
from server.logs import close_logs, open_logs
from server.warm import Running

EVERYWHERE: Final = frozenset({"0.0.0.0", "[::]"})


async def run(
    config: ServerConfig,
    open_voices: Callable[[], Voices],
    announce: Callable[[Running], None],
    open_jobs: OpenJobs | None = None,
) -> None:
    """Serve until the process is told to stop; raises what keeps the default voice from loading.

    SIGTERM lets streams come to their own end for `drain_s` first; SIGINT, or a second signal,
    does not wait.
    """
    server = Server(config, open_voices, open_jobs)
    told, hurry = asyncio.Event(), asyncio.Event()

    def tell(number: int) -> None:
        if number == signal.SIGINT or told.is_set():
            hurry.set()
        told.set()

    before = _on_signals(asyncio.get_running_loop(), tell)
    try:
        await server.start()
        ending = asyncio.ensure_future(told.wait())
        warm = asyncio.ensure_future(server.warm())
        try:
            await asyncio.wait({ending, warm}, return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                announce(warm.result())
                await ending
                await _first_of(server.drain(), hurry.wait())
        finally:
            ending.cancel()
            warm.cancel()
            await server.stop()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def _first_of(*tasks: Coroutine[Any, Any, object]) -> None:
    waiting = {asyncio.ensure_future(task) for task in tasks}
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


def serve(
    config: ServerConfig, announce: Callable[[Running], None], open_jobs: OpenJobs | None = None
) -> None:
    """Serve the store's voices until SIGINT or SIGTERM.

    announce   is called once the server listens and its default voice can speak
    open_jobs  makes who does jobs; None, or giving None, when there is nobody

    Raises `TimbralError` when the port is taken or the default voice cannot be used.
    """

    def open_voices() -> Voices:
        from server.studio import Studio  # loads the models' runtime, while the port is open

        return Studio(config)

    open_logs(config)
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(run(config, open_voices, announce, open_jobs))
    finally:
        close_logs()


def _on_signals(loop: asyncio.AbstractEventLoop, tell: Callable[[int], None]) -> dict[int, Any]:
    """Tell of SIGINT and SIGTERM, on every system; returns the handlers there were."""

    def caught(number: int, _frame: object) -> None:
        loop.call_soon_threadsafe(tell, number)

    return {n: signal.signal(n, caught) for n in (signal.SIGINT, signal.SIGTERM)}


def greeting(running: Running, config: ServerConfig) -> str:
    """What a person is told who started the server with these settings."""
    warm = running.warm
    delays = ", ".join(f"{name} {ms:.0f} ms" for name, ms in warm.latencies.items())
    runs = ", ".join(
        f"{provider} ({warm.why.get(device, device)})"
        for device, provider in warm.providers.items()
    )
    return (
        f"timbral listens on {running.url}\n"
        f"  voice     {running.voice} on {runs}\n"
        f"  latency   {delays}, before computing and network\n"
        f"  try it    timbral send speech.wav out.wav{_options(running.url, config)}"
    )


def _options(url: str, config: ServerConfig) -> str:
    """What `timbral send` on this machine needs to find the server; NAME and TOKEN are people's."""
    address = urlsplit(url)
    host = address.netloc.rpartition(":")[0]
    if host in EVERYWHERE:  # is no address to go to, and in no certificate
        host = "NAME" if address.scheme == "https" else "127.0.0.1"
    there = f"{address.scheme}://{host}:{address.port}"
    server = "" if there == f"http://127.0.0.1:{ServerConfig().port}" else f" --server {there}"
    return server + (" --token TOKEN" if config.token or config.tokens else "")
