"""The server: sockets, threads, and what is answered over HTTP."""

import asyncio
import logging
import secrets
import signal
import socket
import time
from asyncio import Transport
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol, get_args

from aiohttp import web

from server.auth import guard
from server.call import Backend, Call
from server.config import ServerConfig
from server.failures import GOING_AWAY, TRY_LATER, Refused
from server.pages import add_pages, assets
from server.protocol import PATH, SUBPROTOCOL, VERSION, Encoding, ProfileName, Rate
from server.session import PARTING_S, Session, attempt
from server.uploads import Keeper, Uploads
from stream.errors import ConfigError, VoiceNotFound

log = logging.getLogger("timbral.server")

PAGES = assets()
OPEN_PATHS = frozenset({*PAGES, "/healthz", "/readyz", PATH})
SEND_BUFFER = 128 * 1024  # bytes the kernel may hold for a slow reader: about a second of audio
RECEIVE_MOST = 1024 * 1024  # bytes; between the protocol's limit and this, the error is typed


@dataclass(frozen=True)
class Warm:
    """What the default voice runs on, and how far behind it is in each profile at 48 kHz."""

    provider: str
    latencies: dict[str, float]  # milliseconds


@dataclass(frozen=True)
class Running:
    """A server that is ready."""

    url: str
    voice: str
    provider: str
    latencies: dict[str, float]  # milliseconds at 48 kHz, by profile


class Voices(Backend, Keeper, Protocol):
    """What the server needs besides streams. All may block: they run in the loader thread, except
    what `Keeper` tells of.
    """

    def warm(self) -> Warm:
        """Load the default voice and convert with it. Raises `TimbralError`."""
        ...

    def measure(self) -> None:
        """Find out, in about a second, what the profile `auto` is for the default voice."""
        ...

    def cards(self) -> list[dict[str, Any]]:
        """What each voice says of itself."""
        ...

    def preview(self, voice: str, /) -> Path | None:
        """A recording of the voice; raises `VoiceNotFound`."""
        ...


class Server:
    """Serves streams until `stop`. `start` returns once the port is open; see `ready`.

    `warm` is over when the default voice can speak; it raises what kept it from that.
    """

    def __init__(self, config: ServerConfig, open_voices: Callable[[], Voices]) -> None:
        self._config = config
        self._open_voices = open_voices
        self._workers = ThreadPoolExecutor(config.workers, "convert")
        self._loader = ThreadPoolExecutor(1, "load")
        self._sessions: dict[Session, asyncio.Event] = {}
        self._streams: set[str] = set()
        self._began = time.monotonic()
        self._provider = ""
        self._uploads = Uploads(config, self._keeper)
        self.url = ""
        self._runner = web.AppRunner(
            self._app(), access_log=None, shutdown_timeout=PARTING_S, handler_cancellation=False
        )

    @property
    def ready(self) -> bool:
        """Whether the default voice is loaded and warm."""
        return self._provider != ""

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    async def start(self) -> None:
        """Open the port; `url` tells which. Raises `ConfigError` when it cannot be had."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._config.host, self._config.port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(
                f"Cannot listen on {self._config.host} port {self._config.port}: {error}. "
                "Is a server running already? Choose another with `--port`."
            ) from error
        self._warming = asyncio.get_running_loop().run_in_executor(self._loader, self._warm)
        port = self._runner.addresses[0][1]
        host = f"[{self._config.host}]" if ":" in self._config.host else self._config.host
        self.url = f"http://{host}:{port}"

    async def warm(self) -> Running:
        """Wait until the default voice can speak."""
        warm = await asyncio.shield(self._warming)
        self._provider = warm.provider
        self._loader.submit(attempt, self._voices.measure)
        return Running(self.url, self._config.voice, warm.provider, warm.latencies)

    async def stop(self) -> None:
        """Accept no more, let streams end, close."""
        if self.ready:
            self._voices.close()
        for site in list(self._runner.sites):
            await site.stop()
        for session in self._sessions:
            session.hang_up()
        ends = [asyncio.ensure_future(over.wait()) for over in self._sessions.values()]
        if ends:
            await asyncio.wait(ends, timeout=self._config.grace_s)
        await self._runner.cleanup()
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._loader.shutdown(wait=False, cancel_futures=True)
        self._uploads.stop()

    def _warm(self) -> Warm:
        self._voices = self._open_voices()
        return self._voices.warm()

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[guard(self._config, OPEN_PATHS)])
        app.router.add_get(PATH, self._stream)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/v1/info", self._info)
        app.router.add_get("/v1/voices", self._list_voices)
        app.router.add_get("/v1/voices/{name}/preview.wav", self._preview)
        self._uploads.route(app)
        add_pages(app, PAGES)
        return app

    def _keeper(self) -> Keeper:
        if not self.ready:
            raise web.HTTPServiceUnavailable(text="The default voice is being loaded.\n")
        return self._voices

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        asked = request.headers.get("Sec-WebSocket-Protocol")
        if asked and SUBPROTOCOL not in {name.strip() for name in asked.split(",")}:
            raise web.HTTPBadRequest(text=f"This server speaks {SUBPROTOCOL}.\n")
        if not self.ready or len(self._sessions) >= 4 * self._config.max_streams:
            raise web.HTTPServiceUnavailable(text="Not now; try again later.\n")
        response = web.WebSocketResponse(
            protocols=(SUBPROTOCOL,),
            compress=False,
            autoping=True,
            max_msg_size=RECEIVE_MOST,
            writer_limit=SEND_BUFFER // 8,
            timeout=PARTING_S,
        )
        try:
            await response.prepare(request)
        except ConnectionResetError:  # the client went before it was answered
            return response
        transport = request.transport
        if transport is not None:  # else the client is gone already
            tune(transport)
            await self._talk(response, transport)
        return response

    async def _talk(self, response: web.WebSocketResponse, transport: Transport) -> None:
        name = secrets.token_hex(8)
        call = Call(
            name,
            self._voices,
            self._config.limits,
            asyncio.get_running_loop().time(),
            token=self._config.token,
            admit=lambda: self._admit(name),
        )
        session = Session(response, call, self._workers, self._loader)
        self._sessions[session] = over = asyncio.Event()
        code = GOING_AWAY
        try:
            code = await session.run()
        finally:
            self._streams.discard(name)
            try:
                await _part(response, transport, code)
            finally:
                del self._sessions[session]
                over.set()

    def _admit(self, name: str) -> None:
        most = self._config.max_streams
        if len(self._streams) >= most:
            text = f"All {most} streams of this server are in use. Try again later."
            raise Refused("overloaded", text, close=TRY_LATER)
        self._streams.add(name)

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        if self.ready:
            return web.Response(text="ready\n")
        return web.Response(status=503, text="The default voice is being loaded.\n")

    async def _info(self, _request: web.Request) -> web.Response:
        config = self._config
        return web.json_response(
            {
                "name": "timbral",
                "version": _version(),
                "protocol": VERSION,
                "ready": self.ready,
                "voice": config.voice,
                "device": config.device,
                "provider": self._provider,
                "streams": {"open": self.streams, "most": config.max_streams},
                "workers": config.workers,
                "sample_rates": get_args(Rate),
                "encodings": get_args(Encoding),
                "profiles": get_args(ProfileName),
                "uptime_s": round(time.monotonic() - self._began, 1),
            },
            headers={"Cache-Control": "no-store"},
        )

    async def _list_voices(self, _request: web.Request) -> web.Response:
        cards = await self._load(lambda voices: voices.cards())
        return web.json_response({"default": self._config.voice, "voices": cards})

    async def _preview(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        try:
            path = await self._load(lambda voices: voices.preview(name))
        except VoiceNotFound as error:
            raise web.HTTPNotFound(text=f"{error}\n") from error
        if path is None:
            raise web.HTTPNotFound(text=f"Voice '{name}' has no preview.\n")
        return web.FileResponse(path, headers={"Content-Type": "audio/wav"})

    async def _load(self, work: Callable[[Voices], Any]) -> Any:
        self._keeper()
        loop = asyncio.get_running_loop()
        outcome = await loop.run_in_executor(self._loader, attempt, lambda: work(self._voices))
        if outcome.error is not None:
            raise outcome.error
        return outcome.value


async def run(
    config: ServerConfig, open_voices: Callable[[], Voices], announce: Callable[[Running], None]
) -> None:
    """Serve until the process is told to stop; raises what keeps the default voice from loading."""
    server = Server(config, open_voices)
    stop = asyncio.Event()
    before = _on_signals(asyncio.get_running_loop(), stop)
    try:
        await server.start()
        told = asyncio.ensure_future(stop.wait())
        warm = asyncio.ensure_future(server.warm())
        try:
            await asyncio.wait({told, warm}, return_when=asyncio.FIRST_COMPLETED)
            if not told.done():
                announce(warm.result())
                await told
        finally:
            told.cancel()
            warm.cancel()
            await server.stop()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def serve(config: ServerConfig, announce: Callable[[Running], None]) -> None:
    """Serve the store's voices until SIGINT or SIGTERM.

    announce  is called once the server listens and its default voice can speak

    Raises `TimbralError` when the port is taken or the default voice cannot be used.
    """

    def open_voices() -> Voices:
        from server.studio import Studio  # loads the models' runtime, while the port is open

        return Studio(config)

    with suppress(KeyboardInterrupt):
        asyncio.run(run(config, open_voices, announce))


def _on_signals(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> dict[int, Any]:
    """Set `stop` on SIGINT and SIGTERM, on every system; returns the handlers there were."""

    def tell(_number: int, _frame: object) -> None:
        loop.call_soon_threadsafe(stop.set)

    return {n: signal.signal(n, tell) for n in (signal.SIGINT, signal.SIGTERM)}


def tune(transport: Transport) -> None:
    """Send small frames at once, and keep no seconds of stale audio in the kernel."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)


async def _part(response: web.WebSocketResponse, transport: Transport, code: int) -> None:
    """Close in the protocol's way; a client that does not take what is left is cut off."""
    for _ in range(20):
        if transport.get_write_buffer_size() == 0:
            with suppress(asyncio.TimeoutError, ConnectionError):
                await asyncio.wait_for(response.close(code=code), 2 * PARTING_S)
            return
        await asyncio.sleep(PARTING_S / 20)
    transport.abort()


def _version() -> str:
    try:
        return version("timbral")
    except PackageNotFoundError:
        return "unknown"
