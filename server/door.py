"""The listening socket: TLS, and how many connections there may be, before anything is read."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import web

from server.config import Limits, ServerConfig
from server.listener import Listener, bound
from server.pages import EVERYWHERE
from stream.errors import ConfigError

log = logging.getLogger("timbral.server")

SEND_BUFFER = 128 * 1024  # bytes the kernel may hold for a slow reader: about a second of audio
RECEIVE_BUFFER = 64 * 1024  # the same of what this server could not read yet, while it was held up


class Certificate:
    """A certificate and its key, read anew when their files change.

    Law: what is in force is always a pair that was loaded whole; a change that cannot be loaded
    leaves it as it was. New connections get the newest, open ones keep theirs.

    Raises `ConfigError` when there is no such pair to begin with.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        self._paths = cert, key
        self._stamp = self._now()
        self._newest = self.context = self._load()
        self.context.sni_callback = self._choose

    def refresh(self) -> bool:
        """Load the files if they changed; whether they did. Raises `ConfigError`, once a change."""
        stamp = self._now()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        self._newest = self._load()
        return True

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _old: ssl.SSLContext) -> None:
        connection.context = self._newest

    def _load(self) -> ssl.SSLContext:
        cert, key = self._paths
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(cert, key, password=_no_password)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise ConfigError(
                f"TLS cannot use {cert} with {key}: {error}. Both must be PEM, the key without a "
                "password and of that certificate."
            ) from error
        return context

    def _now(self) -> tuple[tuple[int, int] | None, ...]:
        return tuple(_stamp(path) for path in self._paths)


class Door(web.BaseSite):
    """Listens, and cuts off connections past the limits before a byte of them is read.

    Law: at no time are more than the limits' connections open, in all and from one address.

    refused  called for each connection that was cut off
    """

    def __init__(
        self,
        runner: web.AppRunner,
        config: ServerConfig,
        context: ssl.SSLContext | None,
        refused: Callable[[str], None],
    ) -> None:
        super().__init__(runner, ssl_context=context)
        self._config = config
        self._limits = config.limits
        self._refused = refused

    @property
    def name(self) -> str:
        """Its address, for the runner."""
        return f"{self._config.host}:{self._config.port}"

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._answering.connections)

    @property
    def _answering(self) -> web.Server:
        server = self._runner.server
        if server is None:
            raise ValueError("the runner is not set up")
        return server

    async def start(self) -> None:
        """Listen. Raises `OSError` when the port cannot be had."""
        await super().start()
        sockets = await bound(self._config.host, self._config.port)
        self._server = Listener(sockets, self._enter)

    async def _enter(self, connection: socket.socket) -> None:
        handshake_s = self._limits.handshake_s if self._ssl_context else None
        # who does not get through the handshake has nothing to be told
        with suppress(OSError, asyncio.TimeoutError):
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: _Arrival(self),
                connection,
                ssl=self._ssl_context,
                ssl_handshake_timeout=handshake_s,
            )

    def answer(self, transport: asyncio.Transport) -> None:
        """Let a new connection in, or cut it off."""
        address = _address(transport.get_extra_info("peername"))
        why = self._crowded(address)
        if why:
            transport.abort()
            self._refused(why)
            return
        handler = _Handler(
            self._answering, loop=asyncio.get_running_loop(), **handler_limits(self._limits)
        )
        transport.set_protocol(handler)
        handler.connection_made(transport)

    def _crowded(self, address: str) -> str:
        """Why no more may come from there; "" when they may."""
        streams, limits = self._config.max_streams, self._limits
        others = self._answering.connections
        if len(others) >= max(limits.connections, 8 * streams):
            return "all"
        own = sum(_address(other.peername) == address for other in others)
        most = max(limits.connections_an_address, 2 * streams)
        return "address" if own >= most and address not in self._config.proxies else ""


class _Handler(web.RequestHandler):
    """Answers what is no request at all without a word of it, of versions, or into the log."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to a fault of ours, 500, or to bytes that are no HTTP, which may hold a token
        in the wrong place.
        """
        said = "".join(request.headers.values())
        if isinstance(exc, UnicodeEncodeError) and not said.isprintable():
            status = HTTPStatus.BAD_REQUEST  # aiohttp stumbled over what it would have repeated
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            response = super().handle_error(request, status, exc, message)
        else:
            log.info("something that is no HTTP came from %s", request.remote)
            response = web.Response(status=status, text="This is no request of HTTP/1.1.\n")
            response.force_close()
        response.headers.update(EVERYWHERE)
        return response


class _Arrival(asyncio.Protocol):
    """A connection of which nothing is known yet."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._door.answer(transport)


def tune(transport: asyncio.Transport) -> None:
    """Send small frames at once, and keep no seconds of stale audio in the kernel, either way."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)


def handler_limits(limits: Limits) -> dict[str, Any]:
    """What aiohttp's handlers of connections are told."""
    return {
        "access_log": None,
        "keepalive_timeout": limits.header_s,  # it holds for a first request, too
        "lingering_time": limits.header_s,
        "auto_decompress": False,  # a small body stays small
        "max_headers": 64,
        "max_line_size": 8190,
        "max_field_size": 8190,
    }


def _address(peer: object) -> str:
    return str(peer[0]) if isinstance(peer, tuple) and peer else str(peer)


def _no_password() -> str:
    raise ValueError("the key has a password")


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
