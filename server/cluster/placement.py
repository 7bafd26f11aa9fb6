"""Tells clients of a cluster where to go: an ASGI application in front of a `Board`.

No audio passes here. A client is redirected to a server, once for each connection, or a proxy asks
in its place: docs/scaling.md tells what passing every frame through Ray would cost.
"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from server.cluster.board import Beat, Board

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

RETRY_S = 5  # what a client is told to wait when all servers are full
FULL = "All servers are full or starting; try again later.\n"


class Placement:
    """Answers `/healthz`, `/readyz`, `/v1/place` and `/v1/targets`; sends all else to a server.

    clock  seconds that only grow
    """

    def __init__(self, board: Board, clock: Callable[[], float]) -> None:
        self.board = board
        self._clock = clock

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""
        kind = scope["type"]
        if kind == "lifespan":
            await _live(receive, send)
            return
        await receive()
        status, headers, body = self._answer(scope)
        start = "websocket.http.response" if kind == "websocket" else "http.response"
        told: Headers = [(b"cache-control", b"no-store"), *headers]
        if kind == "http":  # uvicorn may leave out the body of a refused upgrade
            told.append((b"content-length", str(len(body)).encode()))
        await send({"type": f"{start}.start", "status": status, "headers": told})
        await send({"type": f"{start}.body", "body": body})

    def _answer(self, scope: Message) -> tuple[int, Headers, bytes]:
        path, now = scope["path"], self._clock()
        if scope["type"] == "http":
            if path == "/healthz":
                return 200, [], b"alive\n"
            if path == "/readyz":
                ready = any(beat.takes for beat in self.board.alive(now))
                return (200, [], b"ready\n") if ready else (503, [], FULL.encode())
            if path == "/v1/targets":
                return 200, _JSON, json.dumps(self._targets(now)).encode()
        beat = self.board.place(_replica(scope), now)
        if beat is None:
            return 503, [(b"retry-after", str(RETRY_S).encode())], FULL.encode()
        if path == "/v1/place":
            told = {"replica": beat.replica, "url": f"{beat.scheme}://{beat.address}"}
            named = (b"x-timbral-server", beat.address.encode())
            return 200, [*_JSON, named], json.dumps(told).encode()
        return 307, [(b"location", _location(scope, beat).encode("latin-1"))], b"There.\n"

    def _targets(self, now: float) -> list[dict[str, Any]]:
        """The servers for Prometheus: https://prometheus.io/docs/prometheus/latest/http_sd/."""
        return [
            {
                "targets": [beat.address],
                "labels": {"replica": beat.replica, "__scheme__": beat.scheme},
            }
            for beat in self.board.alive(now)
        ]


_JSON: Headers = [(b"content-type", b"application/json")]


def _location(scope: Message, beat: Beat) -> str:
    """The same path and query at the server."""
    scheme = beat.scheme
    if scope["type"] == "websocket":
        scheme = {"http": "ws", "https": "wss"}[scheme]
    path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
    query = scope["query_string"].decode("latin-1")
    return f"{scheme}://{beat.address}{path}" + (f"?{query}" if query else "")


def _replica(scope: Message) -> str:
    """Which server has the stream of who asks: as the address says, or that which a proxy tells."""
    query = scope["query_string"].decode("latin-1")
    if scope["path"] == "/v1/place":
        asked = dict(scope["headers"]).get(b"x-original-uri", b"").decode("latin-1")
        query = urlsplit(asked).query or query
    return parse_qs(query).get("replica", [""])[0]


async def _live(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
