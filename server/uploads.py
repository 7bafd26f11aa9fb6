"""Voices that come in over HTTP, and voices that go."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any, Protocol

from aiohttp import BodyPartReader, web

from server.answers import Added, answer
from server.auth import client_address, holder, need_operator
from server.config import ServerConfig
from server.figures import Figures
from server.inbox import CHUNK, Inbox, Sent, form_errors
from server.logs import Audit
from server.openapi import BYTES, Answer, Operation, said, text, told
from server.places import Pass
from server.session import attempt
from stream.errors import ConfigError, TimbralError, VoiceNotFound

MOST_NAME = 200  # bytes of a text field


class Keeper(Protocol):
    """Who keeps the voices. All but `close` may take long and run in a thread of their own."""

    def add(self, files: Sequence[Path], name: str | None, index: Path | None, /) -> dict[str, Any]:
        """Import the voice in `files`: {"voice": its card, "missing": what it still needs or ""}.

        Raises `TimbralError`.
        """
        ...

    def remove(self, name: str, /) -> None:
        """Delete a voice; raises `VoiceNotFound`, and `ConfigError` for one that must stay."""
        ...

    def close(self) -> None:
        """Give up what `add` is doing."""
        ...


class Uploads:
    """Answers `POST /v1/voices` and `DELETE /v1/voices/{name}`; one import at a time.

    keeper  the voices, once they can be asked
    """

    def __init__(
        self,
        config: ServerConfig,
        keeper: Callable[[], Keeper],
        figures: Figures,
        audit: Audit,
    ) -> None:
        self._config = config
        self._keeper = keeper
        self._figures = figures
        self._audit = audit
        self._thread = ThreadPoolExecutor(1, "import")
        self._inbox = Inbox(config, self._thread)
        self._busy = False

    def route(self, app: web.Application) -> None:
        """Add the two routes."""
        app.router.add_post("/v1/voices", self._add)
        app.router.add_delete("/v1/voices/{name}", self._remove)

    def stop(self) -> None:
        """Take no more work."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    @told(
        Operation(
            "Add a voice",
            {
                201: said(Added, "it was added"),
                **text(400, 403, 404, 408, 409, 413, 415, 422, 503, 507),
            },
            query={"filename": {"type": "string"}, "name": {"type": "string"}},
            takes={
                "multipart/form-data": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string", "maxLength": MOST_NAME},
                        "index": {"type": "string", "contentMediaType": BYTES},
                        "file": {"type": "string", "contentMediaType": BYTES},
                    },
                },
                BYTES: {},
            },
            most="upload_bytes",
        )
    )
    async def _add(self, request: web.Request) -> web.Response:
        by, status = holder(request), 500
        try:
            added = await self._take(request, by)
            status = 201
        except web.HTTPException as refused:
            status = refused.status
            raise
        finally:
            self._figures.uploads.add(status=str(status))
            if status != 201:
                self._tell("voice refused", request, by, status=status)
        name = added["voice"]["name"]
        self._tell("voice added", request, by, voice=name)
        where = {"Location": f"/v1/voices/{name}/preview.wav"}
        return answer(Added.model_validate(added), 201, where)

    async def _take(self, request: web.Request, by: Pass) -> Any:
        keeper, most = self._keeper(), self._config.limits.upload_bytes
        if by.upload_bytes is not None:
            most = min(most, by.upload_bytes)
        if not most:
            raise web.HTTPForbidden(text="This token may not add voices.\n")
        if self._busy:
            raise web.HTTPServiceUnavailable(
                text="Another voice is being added; try again when it is done.\n",
                headers={"Retry-After": "10"},
            )
        self._busy = True
        try:
            async with self._inbox.open(request, most) as sent:
                await self._receive(request, sent)
                return await self._run(
                    lambda: keeper.add(sent.files, sent.name, sent.index),
                )
        finally:
            self._busy = False

    @told(
        Operation(
            "Delete a voice; for operators",
            {204: Answer("it is gone", ()), **text(403, 404, 409, 422, 503)},
        )
    )
    async def _remove(self, request: web.Request) -> web.Response:
        need_operator(request)
        keeper, name = self._keeper(), request.match_info["name"]
        if name == self._config.voice:
            raise web.HTTPConflict(text=f"'{name}' is the voice that this server starts with.\n")
        await self._run(lambda: keeper.remove(name))
        self._tell("voice removed", request, holder(request), voice=name)
        return web.Response(status=204)

    def _tell(self, event: str, request: web.Request, by: Pass, **facts: object) -> None:
        address = client_address(request, frozenset(self._config.proxies))
        self._audit.say(event, client=by.name, address=address, **facts)

    async def _run(self, work: Callable[[], Any]) -> Any:
        loop = asyncio.get_running_loop()
        outcome = await loop.run_in_executor(self._thread, attempt, work)
        match outcome.error:
            case None:
                return outcome.value
            case VoiceNotFound():
                raise web.HTTPNotFound(text=f"{outcome.error}\n")
            case ConfigError():
                raise web.HTTPConflict(text=f"{outcome.error}\n")
            case TimbralError():
                raise web.HTTPUnprocessableEntity(text=f"{outcome.error}\n")
            case _:
                raise outcome.error

    async def _receive(self, request: web.Request, sent: Sent) -> None:
        """Store what the client sends: a form with files, or one file as it is."""
        if request.content_type.startswith("multipart/"):
            async with aclosing(self._inbox.parts(request, sent)) as parts:
                async for part in parts:
                    with form_errors():
                        await self._part(part, sent)
        elif request.content_type == "application/x-www-form-urlencoded":
            raise web.HTTPUnsupportedMediaType(text="Send a form with files, or a file.\n")
        else:
            path = self._inbox.place(request.query.get("filename"), sent)
            await self._inbox.store(request.content.readany, path, sent)
            sent.name = request.query.get("name") or None
        if not sent.files and sent.index is None:
            raise web.HTTPBadRequest(text="There is no file in it.\n")

    async def _part(self, part: BodyPartReader, sent: Sent) -> None:
        if part.filename is None:
            text = bytearray()
            while (data := await self._inbox.soon(part.read_chunk())) and len(text) <= MOST_NAME:
                text += data
            if part.name != "name" or len(text) > MOST_NAME:
                raise web.HTTPBadRequest(text="The only text of the form is `name`.\n")
            sent.name = text.decode("utf-8", "replace").strip() or None
            return
        path = self._inbox.place(part.filename, sent)
        if part.name == "index":
            sent.files.remove(path)
            sent.index = path
        await self._inbox.store(lambda: part.read_chunk(CHUNK), path, sent)
