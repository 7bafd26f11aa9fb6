"""The server: sockets, threads, and what is answered over HTTP."""

import asyncio
import logging
import time
from asyncio import Transport
from collections import deque
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from server.auth import Gate, client_address, guard, utc_day
from server.call import Backend, Call
from server.config import ServerConfig
from server.door import SEND_BUFFER, Certificate, Door, handler_limits, tune
from server.figures import Figures
from server.jobs import Desk, OpenJobs
from server.logs import Audit
from server.openapi import STREAM, Contract, told
from server.pages import add_pages, assets, count, harden
from server.places import Ledger, Places, usage_path
from server.protocol import PATH, SUBPROTOCOL
from server.reception import Reception, Visit
from server.resume import Ticket, Tickets
from server.room import furnish
from server.session import PARTING_S, Session, attempt
from server.shelf import Shelf
from server.status import Status
from server.uploads import Keeper, Uploads
from server.vacancy import fullness, is_full, later
from server.warm import Running, Warm
from server.whole import Whole
from stream.errors import ConfigError, TimbralError

log = logging.getLogger("timbral.server")

PAGES = assets()
OPEN_PATHS = frozenset({*PAGES, PATH})
LOADING = "The default voice is being loaded."
RECEIVE_MOST = 1024 * 1024  # bytes; between the protocol's limit and this, the error is typed
WATCH_S, SETTLE_S = 1.0, 60.0


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

    `warm` is over when the default voice can speak; it raises what kept it from that. Must be made
    where a loop runs, or before there is one. Raises `ConfigError` for tokens or a certificate
    that cannot be used.
    """

    def __init__(
        self,
        config: ServerConfig,
        open_voices: Callable[[], Voices],
        open_jobs: OpenJobs | None = None,
    ) -> None:
        self._config = config
        self._open_voices = open_voices
        self._loader = ThreadPoolExecutor(1, "load")
        self._sessions: dict[Session, asyncio.Task[None]] = {}
        self._talks: set[asyncio.Future[None]] = set()  # one a connection, done when it is closed
        self._tickets = Tickets[Session](config.replica)
        self._provider = ""
        self._why: dict[str, str] = {}
        self._audit = Audit()
        self._gate = Gate(config)
        self._places = Places(config.max_streams, Ledger(usage_path(config), utc_day))
        self.figures = Figures()
        self._reception = Reception(
            self._gate, self._places, self.figures, self._audit, time.monotonic
        )
        self._uploads = Uploads(config, self._keeper, self.figures, self._audit)
        self._whole = Whole(config, self._keeper, self._places, self._audit)
        self._desk = Desk(config, self._places, self._audit, open_jobs)
        self._status = Status(config, self.figures, self._why_not, self._info)
        self._certificate: Certificate | None = None
        if config.cert is not None and config.key is not None:
            self._certificate = Certificate(config.cert, config.key)
        self.url = ""
        self._runner = web.AppRunner(
            self._app(),
            shutdown_timeout=PARTING_S,
            handler_cancellation=False,
            **handler_limits(config.limits),
        )

    @property
    def ready(self) -> bool:
        """Whether the default voice is loaded and warm."""
        return self._provider != ""

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._places)

    @property
    def fullness(self) -> float:
        """Part of what this server can take that is taken; see `server.vacancy`."""
        return fullness(self._places, self._rooms.least()) if self.ready else 1.0

    @property
    def takes(self) -> bool:
        """Whether a new stream may find room."""
        if self._why_not() or len(self._talks) >= 4 * self._config.max_streams:
            return False
        return not is_full(self._places, self._rooms.least(), easing=self._config.easing)

    async def start(self) -> None:
        """Open the port; `url` tells which. Raises `ConfigError` when it cannot be had."""
        await self._runner.setup()
        context = self._certificate.context if self._certificate else None
        self._door = Door(
            self._runner, self._config, context, lambda why: self.figures.cut.add(reason=why)
        )
        try:
            await self._door.start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(
                f"Cannot listen on {self._config.host} port {self._config.port}: {error}. "
                "Is a server running already? Choose another with `--port`."
            ) from error
        loop = asyncio.get_running_loop()
        self._warming = loop.run_in_executor(self._loader, self._warm)
        self._watching = asyncio.create_task(self._watch(), name="watch")
        port = self._runner.addresses[0][1]
        host = f"[{self._config.host}]" if ":" in self._config.host else self._config.host
        self.url = f"{'https' if context else 'http'}://{host}:{port}"
        self._tell_of_start()

    async def warm(self) -> Running:
        """Wait until the default voice can speak."""
        warm = await asyncio.shield(self._warming)
        self._rooms = furnish(self._config, warm.providers, self.figures)
        self._provider, self._why = warm.provider, warm.why
        for device, provider in warm.providers.items():
            self.figures.provider.set(1, provider=provider, device=device)
        self._loader.submit(attempt, self._voices.measure)
        await self._desk.start()
        return Running(self.url, self._config.voice, warm)

    async def drain(self) -> None:
        """Take no more streams; return when those that run have ended, or `drain_s` is over."""
        self._places.closed = True
        self.figures.draining.set(1)
        self._audit.say("server drains", streams=self.streams)
        for session in self._sessions:
            session.drain()
        await self._ends(self._config.drain_s)

    async def stop(self) -> None:
        """Accept no more, let streams end, close."""
        if self.ready:
            self._voices.close()
        self._places.closed = True
        for site in list(self._runner.sites):
            await site.stop()
        for session in self._sessions:
            session.hang_up()
        await self._ends(self._config.grace_s)
        await self._runner.cleanup()
        self._watching.cancel()
        for life in self._sessions.values():
            life.cancel()
        await self._ends(PARTING_S)
        if self.ready:
            self._rooms.close()
        self._loader.shutdown(wait=False, cancel_futures=True)
        self._uploads.stop()
        self._whole.stop()
        with _logged():
            await self._desk.stop()
        with _logged():
            self._reception.settle()
        self._audit.say("server stopped")

    async def _ends(self, seconds: float) -> None:
        ends = [*self._sessions.values(), *self._talks]
        if ends:
            await asyncio.wait(ends, timeout=seconds)

    def _warm(self) -> Warm:
        self._voices = self._open_voices()
        return self._voices.warm()

    def _app(self) -> web.Application:
        checks = [count(self.figures), guard(self._config, self._gate, OPEN_PATHS, self._audit)]
        app = web.Application(middlewares=checks)
        app.on_response_prepare.append(harden)
        app.router.add_get(PATH, self._stream)
        self._status.route(app)
        self._uploads.route(app)
        self._whole.route(app)
        self._desk.route(app)
        Shelf(self._config, self._load).route(app)
        add_pages(app, PAGES)
        Contract(self._config, OPEN_PATHS).route(app)
        self.figures.capacity.set(self._config.max_streams)
        self.figures.registry.before(
            lambda: self.figures.connections.set(self._door.connections if self.url else 0)
        )
        return app

    def _keeper(self) -> Keeper:
        if not self.ready:
            raise web.HTTPServiceUnavailable(text=f"{LOADING}\n")
        return self._voices

    def _why_not(self) -> str:
        if self._places.closed:
            return "The server is being shut down."
        return "" if self.ready else LOADING

    def _info(self) -> Mapping[str, Any]:
        return {
            "ready": self.ready,
            "provider": self._provider,
            "why": self._why,
            "replica": self._config.replica,
            "fullness": round(self.fullness, 3),
            "streams": {"open": self.streams, "most": self._config.max_streams},
        }

    @told(STREAM)
    async def _stream(self, request: web.Request) -> web.StreamResponse:
        asked = request.headers.get("Sec-WebSocket-Protocol")
        if asked and SUBPROTOCOL not in {name.strip() for name in asked.split(",")}:
            raise web.HTTPBadRequest(text=f"This server speaks {SUBPROTOCOL}.\n")
        if self._why_not() or len(self._talks) >= 4 * self._config.max_streams:
            raise later(10)
        name = self._config.replica
        if name and request.query.get("replica") != name and not self.takes:
            raise later()  # before the upgrade, so that a proxy asks another replica
        response = web.WebSocketResponse(
            protocols=(SUBPROTOCOL,),
            compress=False,
            autoping=False,  # pings count as messages: `Session` answers them
            max_msg_size=RECEIVE_MOST,
            writer_limit=SEND_BUFFER // 8,
            timeout=PARTING_S,
        )
        try:
            await response.prepare(request)
        except ConnectionResetError:  # the client went before it was answered
            return web.Response(status=400)
        except ValueError as error:  # a header of bytes that are no text
            raise web.HTTPBadRequest(text="This is no upgrade to WebSocket.\n") from error
        transport = request.transport
        if transport is not None:  # else the client is gone already
            tune(transport)
            address = client_address(request, frozenset(self._config.proxies))
            over = asyncio.get_running_loop().create_future()
            self._talks.add(over)
            try:
                code = await self._talk(response, self._reception.arrive(address))
                await _part(response, transport, code)
            finally:
                self._talks.discard(over)
                over.set_result(None)
        return response

    async def _talk(self, response: web.WebSocketResponse, visit: Visit) -> int:
        """Returns the code to close with."""
        ticket = Ticket(self._tickets)
        call = visit.call = Call(
            visit.session,
            self._voices,
            self._rooms.seat(),
            self._config.limits,
            asyncio.get_running_loop().time(),
            admit=visit.admit,
            permit=visit.permit,
            ticket=ticket,
        )
        session = ticket.stream = Session(call, self._loader)
        self._sessions[session] = asyncio.create_task(self._live(session, visit, ticket))
        code = await session.carry(response)
        if ticket.claimed is not None and call.moved is not None:
            self._audit.say("client came back", session=ticket.claimed.name, address=visit.address)
            code = await ticket.claimed.carry(response, call.moved)
        return code

    async def _live(self, session: Session, visit: Visit, ticket: Ticket[Session]) -> None:
        try:
            await session.run(lambda code: self._reception.leave(visit, code))
        finally:
            ticket.tear()
            del self._sessions[session]

    async def _load(self, work: Callable[[Voices], Any]) -> Any:
        self._keeper()
        loop = asyncio.get_running_loop()
        outcome = await loop.run_in_executor(self._loader, attempt, lambda: work(self._voices))
        if outcome.error is not None:
            raise outcome.error
        return outcome.value

    async def _watch(self) -> None:
        """Look after what changes by itself: files, time, minutes that are used up."""
        loop = asyncio.get_running_loop()
        lags: deque[float] = deque(maxlen=round(10.0 / WATCH_S))
        ticks = 0
        while True:
            due = loop.time() + WATCH_S
            await asyncio.sleep(WATCH_S)
            lags.append(loop.time() - due)
            self.figures.lag.set(max(0.0, *lags))
            ticks += 1
            with _logged():
                self._reception.look()
            with _logged():
                if self._certificate is not None and self._certificate.refresh():
                    self._audit.say("certificate read anew")
            with _logged():
                await self._desk.look(tidy=ticks % round(SETTLE_S / WATCH_S) == 0)
            if ticks % round(SETTLE_S / WATCH_S) == 0:
                with _logged():
                    self._reception.settle()

    def _tell_of_start(self) -> None:
        config = self._config
        self._audit.say("server listens", url=self.url, tokens=config.asks_for_token)
        if not config.loopback and self._certificate is None and not config.proxies:
            log.warning(
                "Without TLS, audio and tokens can be read on the way: see --cert and --key, or "
                "put a proxy in front (docs/operating.md)."
            )


async def _part(response: web.WebSocketResponse, transport: Transport, code: int) -> None:
    """Close in the protocol's way; a client that does not take what is left is cut off."""
    for _ in range(20):
        if transport.get_write_buffer_size() == 0:
            with suppress(asyncio.TimeoutError, ConnectionError):
                await asyncio.wait_for(response.close(code=code), 2 * PARTING_S)
            return
        await asyncio.sleep(PARTING_S / 20)
    transport.abort()


@contextmanager
def _logged() -> Generator[None, None, None]:
    """What goes wrong with a file is told in the log, and the server goes on."""
    try:
        yield
    except (TimbralError, OSError) as error:
        log.error("%s", error)
