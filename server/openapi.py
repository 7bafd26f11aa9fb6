"""The OpenAPI page of what is served over HTTP: made from the routes that serve, and what each
handler says of itself beside its code.
"""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, TypeVar

from aiohttp import hdrs, web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from server.answers import Added, Info, JobsTold, JobTold, Unusable, Voices
from server.auth import HEALTH
from server.config import ServerConfig
from server.protocol import VERSION, ControlValues

MARK: Final = "operation"
FORMS: Final = (Added, ControlValues, Info, JobTold, JobsTold, Unusable, Voices)
JSON, TEXT, BYTES = "application/json", "text/plain", "application/octet-stream"
PATH: Final = "/v1/openapi.json"
Handler = TypeVar("Handler", bound=Callable[..., Any])
Schema = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """One answer of a route: what it means, and what its body is.

    kinds  media types of the body; none without one
    form   the model of a JSON body
    """

    text: str
    kinds: tuple[str, ...] = (TEXT,)
    form: type[BaseModel] | None = None


@dataclass(frozen=True)
class Operation:
    """What a route says of itself, besides its path and method.

    answers  by status; the page adds those of the guard, which no handler gives
    query    JSON schemas of the parameters, by name; a model is sent as JSON
    takes    schemas of the body, by media type
    most     the limit on the body, by its name in `Limits`
    """

    summary: str
    answers: Mapping[int, Answer]
    query: Mapping[str, Schema | type[BaseModel]] = field(default_factory=dict[str, Any])
    takes: Mapping[str, Schema] = field(default_factory=dict[str, Any])
    most: str = ""


def text(*statuses: int) -> dict[int, Answer]:
    """Answers that are a line for people."""
    return {status: Answer(MEANINGS[status]) for status in statuses}


def said(form: type[BaseModel], what: str) -> Answer:
    """An answer that is JSON."""
    return Answer(what, (JSON,), form)


def file(what: str, *kinds: str) -> dict[int, Answer]:
    """Answers that are a file, which may be asked for in part, or only if it changed."""
    return {
        200: Answer(what, kinds),
        206: Answer("the part that was asked for", kinds),
        304: Answer("it has not changed", ()),
        412: Answer("it has changed", ()),
        416: Answer("there is no such part of it", ()),
    }


def told(operation: Operation) -> Callable[[Handler], Handler]:
    """A decorator: what the handler of a route does."""

    def mark(handler: Handler) -> Handler:
        setattr(handler, MARK, operation)
        return handler

    return mark


MEANINGS: Final[Mapping[int, str]] = {
    400: "the request is not as it should be; the text says what is wrong",
    401: "a token is asked for, and this is none that is good",
    403: "not for who asks: another site's page, a name that is not this server's, or a right "
    "that the token has not",
    404: "it is not there, or not for this token",
    408: "what was sent came to a halt",
    409: "that cannot be now; the text says why",
    413: "too large",
    415: "of a kind that is not understood",
    417: "it expects what this server does not do",
    422: "what was sent cannot be used; the text says what it is",
    429: "as much of this client's is under way as may be",
    501: "this server does not do it",
    503: "not now; try again later",
    507: "the disk is full",
}
STREAM: Final = Operation(
    "A stream: an upgrade to WebSocket, subprotocol timbral.v1",
    {101: Answer("it begins", ()), **text(400, 503)},
    query={"replica": {"type": "string", "description": "the server that the client was at"}},
)
ALWAYS: Final = (400, 417)  # of HTTP itself, before any handler


class Contract:
    """Answers `GET /v1/openapi.json`.

    open_paths  those that need no token

    Law: every route but this has an operation, and no operation is without its route.
    """

    def __init__(self, config: ServerConfig, open_paths: frozenset[str]) -> None:
        self._config = config
        self._open = open_paths | HEALTH

    def route(self, app: web.Application) -> None:
        """Add the route."""
        app.router.add_get(PATH, self._answer)

    @told(Operation("This page", {200: Answer("OpenAPI 3.1", (JSON,))}))
    async def _answer(self, request: web.Request) -> web.Response:
        loop = asyncio.get_running_loop()
        return web.json_response(await loop.run_in_executor(None, self.page, request.app))

    def page(self, app: web.Application) -> dict[str, Any]:
        """The page for the routes of `app`. Raises `ValueError` for one that tells nothing."""
        paths: dict[str, dict[str, Any]] = {}
        for path, method, operation in operations(app):
            paths.setdefault(path, {})[method.lower()] = self._operation(path, operation)
        return {
            "openapi": "3.1.0",
            "info": {
                "title": "timbral",
                "version": str(VERSION),
                "description": "What is served over HTTP beside streams. A `GET` may be a `HEAD`. "
                "Streams speak the protocol of server/PROTOCOL.md over the WebSocket.",
                "x-limits": asdict(self._config.limits),
            },
            "paths": paths,
            "components": {
                "schemas": schemas(),
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            },
        }

    def _operation(self, path: str, operation: Operation) -> dict[str, Any]:
        guarded = [
            *ALWAYS,
            *([] if path in HEALTH else [403]),
            *([] if path in self._open else [401]),
        ]
        answers = {**text(*guarded), **operation.answers}
        page: dict[str, Any] = {
            "summary": operation.summary,
            "responses": {str(status): _answer(answers[status]) for status in sorted(answers)},
            "security": []
            if path in self._open or not self._config.asks_for_token
            else [{"token": []}],
        }
        parameters = [*_parameters(path), *_query(operation.query)]
        if parameters:
            page["parameters"] = parameters
        if operation.takes:
            body: dict[str, Any] = {
                "required": True,
                "content": {kind: {"schema": form} for kind, form in operation.takes.items()},
            }
            if operation.most:
                most = getattr(self._config.limits, operation.most)
                body |= {"description": f"At most {most} bytes.", "x-most-bytes": most}
            page["requestBody"] = body
        return page


def operations(app: web.Application) -> Iterator[tuple[str, str, Operation]]:
    """Path, method and operation of every route; the `HEAD` that comes with a `GET` is left out.

    Raises `ValueError` for a route that tells nothing of itself.
    """
    for resource in app.router.resources():
        for route in resource:
            found = getattr(route.handler, MARK, None)
            if not isinstance(found, Operation):
                raise ValueError(f"{route.method} {resource.canonical} tells nothing of itself")
            if route.method != hdrs.METH_HEAD:
                yield resource.canonical, route.method, found


def schemas() -> dict[str, Any]:
    """What answers are made of, by name. Blocks while the models' runtime is loaded."""
    from stream.models.voice import VoiceCard  # not before it is needed: it loads much

    forms = [(form, "serialization") for form in (*FORMS, VoiceCard)]
    template = "#/components/schemas/{model}"
    found: dict[str, Any] = models_json_schema(forms, ref_template=template)[1]["$defs"]  # pyright: ignore[reportArgumentType]
    card = found["VoiceCard"]
    del card["properties"]["files"]  # of this machine
    card["required"].remove("files")
    of_card, of_broken = _ref("VoiceCard"), _ref("Unusable")
    found["Added"]["properties"]["voice"] = of_card
    found["Voices"]["properties"]["voices"]["items"] = {"anyOf": [of_card, of_broken]}
    return found


def _answer(answer: Answer) -> dict[str, Any]:
    schema = _ref(answer.form.__name__) if answer.form else None
    if schema is None and answer.kinds == (JSON,):
        schema = {"type": "object"}
    content = {
        kind: {"schema": schema or ({"type": "string"} if kind.startswith("text/") else {})}
        for kind in answer.kinds
    }
    return {"description": answer.text, **({"content": content} if content else {})}


def _parameters(path: str) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query(query: Mapping[str, Schema | type[BaseModel]]) -> Iterator[dict[str, Any]]:
    for name, form in query.items():
        if isinstance(form, dict):
            yield {"name": name, "in": "query", "schema": form}
        else:
            yield {"name": name, "in": "query", "content": {JSON: {"schema": _ref(form.__name__)}}}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
