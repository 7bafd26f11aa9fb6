"""How connections are taken in: real sockets."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from server import listener
from server.listener import PAUSE_S, TURN, Listener, bound

MANY = 6 * TURN


async def knocked(port: int, count: int) -> list[socket.socket]:
    """Connections that the kernel has completed."""
    made = [socket.socket() for _ in range(count)]
    for sock in made:
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except OSError:
            sock.close()
            raise
    return made


def with_listener(then: Callable[[Listener, int, list[float]], Awaitable[None]]) -> None:
    async def main() -> None:
        taken: list[float] = []

        async def take(connection: socket.socket) -> None:
            taken.append(asyncio.get_running_loop().time())
            connection.close()

        sockets = await bound("127.0.0.1", 0)
        made = Listener(sockets, take)
        try:
            await then(made, sockets[0].getsockname()[1], taken)
        finally:
            made.close()
            await asyncio.sleep(0.05)
        assert all(sock.fileno() == -1 for sock in sockets), "still open"

    asyncio.run(main())


async def all_taken(taken: list[float], count: int) -> None:
    for _ in range(200):
        if len(taken) >= count:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{len(taken)} of {count} were taken in")


def test_many_at_once_are_all_taken_in_a_few_at_a_time() -> None:
    async def then(_made: Listener, port: int, taken: list[float]) -> None:
        clients = await knocked(port, MANY)
        await all_taken(taken, MANY)
        for first, after in zip(taken, taken[TURN:], strict=False):
            assert after - first > 0.9 * PAUSE_S, "they came in a flood"
        for client in clients:
            client.close()

    with_listener(then)


def test_what_is_closed_takes_nobody_in() -> None:
    async def then(made: Listener, port: int, taken: list[float]) -> None:
        made.close()
        await asyncio.sleep(0.05)
        with pytest.raises(ConnectionError):
            await knocked(port, 1)
        assert not taken

    with_listener(then)


def test_a_process_that_has_no_more_files_takes_others_in_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listener, "RETRY_S", 0.01)
    faults = [ConnectionAbortedError(), OSError(errno.EMFILE, "Too many open files")]

    async def then(_made: Listener, port: int, taken: list[float]) -> None:
        loop: Any = asyncio.get_running_loop()
        plain = loop.sock_accept

        async def accept(sock: socket.socket) -> Any:
            if faults:
                raise faults.pop()
            return await plain(sock)

        monkeypatch.setattr(loop, "sock_accept", accept)
        (client,) = await knocked(port, 1)  # the one that is waited for already
        (later,) = await knocked(port, 1)
        await all_taken(taken, 2)
        client.close()
        later.close()

    with_listener(then)
    assert not faults
    assert "Too many open files" in caplog.text


def test_every_address_of_a_name_is_listened_on() -> None:
    async def main() -> None:
        sockets = await bound("localhost", 0)
        assert sockets
        for sock in sockets:
            assert not sock.getblocking()
            sock.close()

    asyncio.run(main())


def test_a_port_that_is_taken_and_an_address_that_is_not_here_are_errors() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            with pytest.raises(OSError, match=r"(?i)in use|permitted") as taken:
                await bound("127.0.0.1", other.getsockname()[1])
            assert taken.value.errno == errno.EADDRINUSE
        with pytest.raises(OSError, match="no address of this machine"):
            await bound("192.0.2.1", 0)  # kept for documentation (RFC 5737)

    asyncio.run(main())
