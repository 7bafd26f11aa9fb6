"""The page of `GET /v1/openapi.json` is what is served: routes, statuses, parameters, bodies."""

import ast
import asyncio
import inspect
import json
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import aiohttp
import jsonschema
import pytest
from aiohttp import web
from calls import FakeVoices
from dial import serving
from openapi_spec_validator import OpenAPIV31SpecValidator

from offline.jobs.job import Job, State
from server import auth, jobs, openapi, uploads, whole
from server.answers import JobTold
from server.app import Server
from server.config import ServerConfig
from server.inbox import Inbox
from server.openapi import ALWAYS, MEANINGS, Contract, Operation, operations, told
from server.studio import Studio

INJECTED = {"_keeper": Server, "_ready": (Server, "_keeper"), "_ask": (Server, "_load")}
BEGUN = {"web.WebSocketResponse": 101, "web.StreamResponse": 200}
STATUSES = {
    name: kind.status_code
    for name, kind in vars(web).items()
    if isinstance(kind, type) and issubclass(kind, web.HTTPException) and kind.status_code > 0
}


def app(**settings: Any) -> web.Application:
    server = Server(ServerConfig(**settings), FakeVoices)
    return server._runner.app  # pyright: ignore[reportPrivateUsage]


def page(**settings: Any) -> dict[str, Any]:
    config = ServerConfig(**settings)
    return Contract(config, frozenset({"/"})).page(app(**settings))


def handlers() -> dict[str, tuple[Callable[..., Any], Operation]]:
    """Each handler once, by its name, with what it says of itself."""
    found: dict[str, tuple[Callable[..., Any], Operation]] = {}
    for resource in app().router.resources():
        for route in resource:
            found[route.handler.__qualname__] = route.handler, route.handler.operation  # pyright: ignore
    return found


def reached(function: Callable[..., Any], seen: set[str] | None = None) -> Iterator[ast.AST]:
    """The source of a handler, and of all functions of the server's that it calls."""
    seen = set() if seen is None else seen
    function = inspect.unwrap(getattr(function, "__func__", function))
    if function.__qualname__ in seen or not function.__module__.startswith("server."):
        return
    seen.add(function.__qualname__)
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    tree.body[0].decorator_list = []  # pyright: ignore[reportAttributeAccessIssue]
    yield tree
    names = function.__globals__
    own = names.get(function.__qualname__.split(".")[0])
    for node in ast.walk(tree):
        callee: Any = None
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            where = node.value.id
            callee = getattr(own, node.attr, None) if where == "self" else None
            callee = getattr(Inbox, node.attr, None) if where == "inbox" else callee
            if where == "self" and node.attr in INJECTED:
                kind = INJECTED[node.attr]
                callee = getattr(*kind) if isinstance(kind, tuple) else getattr(kind, node.attr)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self._inbox":
            callee = getattr(Inbox, node.attr, None)
        elif isinstance(node, ast.Name):
            callee = names.get(node.id)
        if inspect.isfunction(callee):
            yield from reached(callee, seen)


def given(function: Callable[..., Any]) -> set[int]:
    """The statuses that a handler can answer with, as its source has them."""
    statuses: set[int] = set()
    for tree in reached(function):
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node) == f"web.{node.attr}":
                statuses |= {STATUSES[node.attr]} if node.attr in STATUSES else set()
                statuses |= {200, 206, 304, 412, 416} if node.attr == "FileResponse" else set()
            if isinstance(node, ast.Call):
                statuses |= _of_call(node)
    return statuses


def _of_call(node: ast.Call) -> set[int]:
    name = ast.unparse(node.func)
    if name in BEGUN:
        return {BEGUN[name]}
    if name not in {"web.Response", "web.json_response", "answer"}:
        return set()
    told = [word.value for word in node.keywords if word.arg == "status"]
    if name == "answer" and len(node.args) > 1:
        told.append(node.args[1])
    if not told:
        return {200}
    constants = [part for part in ast.walk(told[0]) if isinstance(part, ast.Constant)]
    return {part.value for part in constants if isinstance(part.value, int)}


def test_a_route_that_tells_nothing_of_itself_is_found() -> None:
    async def mute(_request: web.Request) -> web.Response:
        return web.Response()

    made = web.Application()
    made.router.add_get("/new", mute)
    with pytest.raises(ValueError, match="/new tells nothing"):
        list(operations(made))


def test_the_page_has_every_route_and_no_other() -> None:
    served = {
        (resource.canonical, route.method.lower())
        for resource in app().router.resources()
        for route in resource
        if route.method != "HEAD"
    }
    assert {(path, method) for path, held in page()["paths"].items() for method in held} == served


@pytest.mark.parametrize("name", handlers())
def test_a_handler_answers_with_the_statuses_that_it_tells(name: str) -> None:
    function, operation = handlers()[name]
    assert set(operation.answers) - set(ALWAYS) == given(function) - set(ALWAYS)
    if given(function) & set(ALWAYS):
        assert set(operation.answers) & set(ALWAYS)


def test_a_status_that_is_not_told_would_be_found() -> None:
    @told(Operation("one thing", openapi.text(404)))
    async def other(_self: Any, _request: web.Request) -> None:
        auth.need_operator(_request)
        raise web.HTTPGone

    other.__module__ = "server.auth"
    assert given(other) == {410}
    assert given(auth.need_operator) == {403}
    assert {400, 408, 413, 415, 507} <= given(uploads.Uploads._add)  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("name", handlers())
def test_a_handler_looks_at_the_parameters_that_it_tells(name: str) -> None:
    function, operation = handlers()[name]
    asked = {
        node.args[0].value
        for tree in reached(function)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "request.query.get"
        if isinstance(node.args[0], ast.Constant)
    }
    assert asked == set(operation.query)


def test_the_guards_answers_are_told_where_it_stands() -> None:
    told = page(token="a-long-secret")["paths"]
    assert "403" not in told["/healthz"]["get"]["responses"]
    assert "401" not in told["/"]["get"]["responses"]
    assert told["/"]["get"]["security"] == []
    assert {"401", "403"} <= set(told["/v1/info"]["get"]["responses"])
    assert told["/v1/info"]["get"]["security"] == [{"token": []}]
    assert page()["paths"]["/v1/info"]["get"]["security"] == []


def test_the_page_is_openapi_and_tells_the_limits() -> None:
    made = page()
    few = {path: held for path, held in made["paths"].items() if not path.startswith("/web/")}
    OpenAPIV31SpecValidator({**made, "paths": few}).validate()  # the others are all alike
    assert made["info"]["x-limits"]["idle_s"] == ServerConfig().limits.idle_s
    body = made["paths"]["/v1/convert"]["post"]["requestBody"]
    assert body["x-most-bytes"] == ServerConfig().limits.convert_bytes
    assert json.loads(json.dumps(made)) == made
    used = {
        int(s) for held in made["paths"].values() for op in held.values() for s in op["responses"]
    }
    assert set(MEANINGS) <= used, "a meaning that nothing has"


def fits(value: Any, name: str, made: dict[str, Any]) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": made["components"]}
    jsonschema.Draft202012Validator(schema).validate(value)


def test_cards_of_real_voices_fit_the_page(tmp_path: Path) -> None:
    made = page()
    broken = tmp_path / "voices" / "broken"
    broken.mkdir(parents=True)
    (broken / "voice.json").write_text("{}")
    cards = Studio(ServerConfig(home=tmp_path)).cards()
    assert {"starter", "broken"} <= {card["name"] for card in cards}
    fits({"default": "starter", "voices": cards}, "Voices", made)
    with pytest.raises(jsonschema.ValidationError):
        fits({"default": "starter", "voices": [{"name": "ada"}]}, "Voices", made)


def test_what_a_job_tells_fits_the_page() -> None:
    job = Job(
        "1", "ada", "song", "running", Path("a"), Path("b"), {"key": 2}, 1.5, steps={"a": (1, 2)}
    )
    told = JobTold.model_validate(job.told())
    assert json.loads(told.model_dump_json()) == job.told()
    fits(job.told(), "JobTold", page())
    assert get_args(JobTold.model_fields["state"].annotation) == get_args(State)


def test_a_server_answers_with_its_page() -> None:
    async def main() -> None:
        async with serving() as server, aiohttp.ClientSession() as http:
            async with http.get(f"{server.url}{openapi.PATH}") as answer:
                made = await answer.json()
                assert (answer.status, answer.content_type) == (200, "application/json")
            async with http.get(f"{server.url}/v1/info") as answer:
                fits(await answer.json(), "Info", made)
        async with (
            serving(token="a-long-secret") as server,
            aiohttp.ClientSession() as http,
            http.get(f"{server.url}{openapi.PATH}") as answer,
        ):
            assert answer.status == 401

    asyncio.run(main())


def test_every_sent_file_has_its_limit_on_the_page() -> None:
    kinds = (uploads.Uploads, whole.Whole, jobs.Desk)
    limited = {op.most for _, op in handlers().values() if op.most}
    source = "".join(inspect.getsource(kind) for kind in kinds)
    assert limited == {
        name
        for name in ServerConfig().limits.__dict__
        if f"limits.{name}" in source and name.endswith("_bytes")
    }
