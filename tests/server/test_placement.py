"""The entrance of a cluster: what it answers, and what Ray Serve is asked for."""

import asyncio
import json
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from halver import halving

from server.cluster import app as deployed
from server.cluster.board import CALM_S, Beat, Board
from server.cluster.placement import Placement
from server.config import ServerConfig
from stream.errors import ConfigError

ONE = Beat("one", "http", "192.0.2.1:4000", 0.5, 1, 2, comes=True, takes=True)
TWO = Beat("two", "https", "[2001:db8::2]:4001", 0.2, 1, 9, comes=True, takes=True)


def ask(path: str, *beats: Beat, kind: str = "http", **headers: str) -> tuple[int, Any, bytes]:
    """Status, headers and body of the answer to who asks for `path`."""
    told: list[Any] = []
    board = Board()
    for beat in beats:
        board.hear(beat, 0.0)

    async def receive() -> dict[str, Any]:
        return {"type": f"{kind}.connect"}

    async def send(message: Any) -> None:
        told.append(message)

    plain, _, query = path.partition("?")
    scope: dict[str, Any] = {
        "type": kind,
        "path": plain,
        "query_string": query.encode(),
        "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()],
    }
    asyncio.run(Placement(board, lambda: 1.0)(scope, receive, send))
    start, body = told
    family = "websocket.http.response" if kind == "websocket" else "http.response"
    assert (start["type"], body["type"]) == (f"{family}.start", f"{family}.body")
    return start["status"], dict(start["headers"]), body["body"]


def test_an_upgrade_is_sent_to_the_emptiest_server_or_to_that_with_the_stream() -> None:
    status, headers, _ = ask("/v1/stream?x=%20", ONE, TWO, kind="websocket")
    assert (status, headers[b"location"]) == (307, b"wss://[2001:db8::2]:4001/v1/stream?x=%20")
    status, headers, _ = ask("/v1/stream?replica=one", ONE, TWO, kind="websocket")
    assert headers[b"location"] == b"ws://192.0.2.1:4000/v1/stream?replica=one"
    status, headers, _ = ask("/v1/stream?replica=evil.example", ONE, kind="websocket")
    assert headers[b"location"].startswith(b"ws://192.0.2.1:4000/"), "only servers that are heard"
    assert ask("/", ONE)[1][b"location"] == b"http://192.0.2.1:4000/"


def test_without_room_who_asks_is_told_when_to_try_again() -> None:
    for kind in ("http", "websocket"):
        status, headers, body = ask("/v1/stream", kind=kind)
        assert (status, headers[b"retry-after"]) == (503, b"5")
        assert b"try again" in body
    assert ask("/readyz")[0] == 503
    assert ask("/readyz", ONE)[0] == 200
    assert ask("/healthz")[0] == 200


def test_a_proxy_is_told_where_to_go_by_the_address_that_it_was_asked_for() -> None:
    status, headers, body = ask("/v1/place", ONE, TWO, x_original_uri="/v1/stream?replica=one")
    assert (status, headers[b"x-timbral-server"]) == (200, b"192.0.2.1:4000")
    assert json.loads(body) == {"replica": "one", "url": "http://192.0.2.1:4000"}
    assert ask("/v1/place?replica=one", ONE, TWO)[1][b"x-timbral-server"] == b"192.0.2.1:4000"
    assert ask("/v1/place", ONE, TWO)[1][b"x-timbral-server"] == b"[2001:db8::2]:4001"


def test_prometheus_is_told_of_all_servers() -> None:
    told = json.loads(ask("/v1/targets", ONE, TWO)[2])
    assert [each["targets"] for each in told] == [["192.0.2.1:4000"], ["[2001:db8::2]:4001"]]
    assert told[1]["labels"] == {"replica": "two", "__scheme__": "https"}


def test_ray_is_told_how_many_servers_are_wanted() -> None:
    context = SimpleNamespace(
        aggregated_metrics={"fullness": {"one": 0.9, "two": 0.8}},
        target_num_replicas=2,
        policy_state={},
        current_time=50.0,
        capacity_adjusted_min_replicas=2,
        capacity_adjusted_max_replicas=9,
    )
    assert deployed.replicas_wanted(context) == (3, {})
    context.target_num_replicas = 3
    context.aggregated_metrics = {"fullness": {"one": 0.1, "two": 0.1}}
    assert deployed.replicas_wanted(context) == (3, {}), "one is starting: nothing is known of it"
    context.aggregated_metrics = {"fullness": {"one": 0.1, "two": 0.1, "three": 0.0}}
    count, context.policy_state = deployed.replicas_wanted(context)
    assert count == 3
    context.current_time += CALM_S
    assert deployed.replicas_wanted(context) == (2, {})
    context.capacity_adjusted_min_replicas = 3
    assert deployed.replicas_wanted(context)[0] == 3


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"replicas": "none"}, "replicas"),
        ({"most": 1}, "most must be replicas or more"),
        ({"speed": 1}, "speed"),
        ({"config": "none.toml"}, r"none\.toml"),
    ],
)
def test_an_argument_that_cannot_be_is_named(args: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        deployed.app(args)


def test_without_ray_it_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'timbral\[cluster\]'"):
        deployed.build(deployed.Options(), ServerConfig(), halving)
