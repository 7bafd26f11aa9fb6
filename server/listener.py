"""Sockets that listen, and take connections in at a bounded pace."""

import asyncio
import errno
import logging
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

log = logging.getLogger("timbral.server")

BACKLOG = 128  # connections that the kernel keeps until they are taken in
TURN, PAUSE_S = 8, 0.02  # taken in at once, then a pause: 400 a second and address listened on
RETRY_S = 1.0  # after which it is tried again when none could be taken in

Take = Callable[[socket.socket], Awaitable[None]]


class Listener(asyncio.AbstractServer):
    """Hands each new connection to `take`.

    Law: however many come, the event loop has time for streams between them; `asyncio`'s own
    server takes in as many as its backlog holds, over and over.

    sockets  bound and not blocking, listening
    """

    def __init__(self, sockets: list[socket.socket], take: Take) -> None:
        self.sockets = sockets
        self._take = take
        self._entering: set[asyncio.Future[None]] = set()
        self._accepting = [asyncio.create_task(self._accept(sock)) for sock in sockets]
        for task, sock in zip(self._accepting, sockets, strict=True):
            task.add_done_callback(partial(_closed, sock))

    def close(self) -> None:
        """Listen no more; connections that were taken in go on."""
        for task in (*self._accepting, *self._entering):
            task.cancel()

    async def _accept(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        taken = 0
        while True:
            try:
                connection, _ = await loop.sock_accept(sock)
            except ConnectionError:  # it left before it was taken in
                continue
            except OSError as error:
                log.error("no connection can be taken in: %s", error)
                await asyncio.sleep(RETRY_S)
                continue
            entering = asyncio.ensure_future(self._take(connection))
            self._entering.add(entering)
            entering.add_done_callback(self._entering.discard)
            taken += 1
            if taken % TURN == 0:
                await asyncio.sleep(PAUSE_S)


async def bound(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on every address of `host`. Raises `OSError` when the port is taken, or
    none of the addresses is this machine's.
    """
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((each[0], each[4]) for each in found):
            sock = _listening(family, address)
            if sock is not None:
                sockets.append(sock)
        if not sockets:
            raise OSError(errno.EADDRNOTAVAIL, f"{host} is no address of this machine")
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _listening(family: int, address: Any) -> socket.socket | None:
    """None when the machine does not have the address: `localhost` may have one of IPv6, too."""
    try:
        sock = socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return None
        raise
    sock.setblocking(False)
    return sock


def _closed(sock: socket.socket, _task: object) -> None:
    sock.close()
