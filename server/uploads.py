"""Voices that come in over HTTP, and voices that go."""

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from aiohttp import BodyPartReader, web

from server.auth import client_address, holder, need_operator
from server.config import ServerConfig
from server.figures import Figures
from server.logs import Audit
from server.places import Pass
from server.session import attempt
from stream.errors import ConfigError, TimbralError, VoiceNotFound
from stream.home import default_home

CHUNK = 1 << 20  # bytes written at a time
MOST_FILES = 8
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


@dataclass
class _Sent:
    """What a client has sent so far."""

    folder: Path
    most: int  # bytes in all
    left: int  # of them, that it may still send
    began: float  # s, of the loop's clock
    files: list[Path] = field(default_factory=list)
    index: Path | None = None
    name: str | None = None


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
        self._busy = False

    def route(self, app: web.Application) -> None:
        """Add the two routes."""
        app.router.add_post("/v1/voices", self._add)
        app.router.add_delete("/v1/voices/{name}", self._remove)

    def stop(self) -> None:
        """Take no more work."""
        self._thread.shutdown(wait=False, cancel_futures=True)

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
        return web.json_response(added, status=201, headers=where)

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
        if (request.content_length or 0) > most:
            raise _too_large(most)
        self._busy = True
        try:
            async with self._inbox() as folder:
                sent = _Sent(folder, most, most, asyncio.get_running_loop().time())
                await self._receive(request, sent)
                return await self._run(
                    lambda: keeper.add(sent.files, sent.name, sent.index),
                )
        finally:
            self._busy = False

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

    async def _receive(self, request: web.Request, sent: _Sent) -> None:
        """Store what the client sends: a form with files, or one file as it is."""
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise web.HTTPUnsupportedMediaType(text="Send it without a Content-Encoding.\n")
        if request.content_type.startswith("multipart/"):
            try:
                form = await request.multipart()
                while (part := await form.next()) is not None:
                    if not isinstance(part, BodyPartReader):
                        raise web.HTTPBadRequest(text="A form inside a form is not understood.\n")
                    await self._part(part, sent)
            except ValueError as error:
                raise web.HTTPBadRequest(text=f"The form cannot be read: {error}.\n") from error
        elif request.content_type == "application/x-www-form-urlencoded":
            raise web.HTTPUnsupportedMediaType(text="Send a form with files, or a file.\n")
        else:
            path = self._place(request.query.get("filename"), sent)
            await self._store(request.content.readany, path, sent)
            sent.name = request.query.get("name") or None
        if not sent.files and sent.index is None:
            raise web.HTTPBadRequest(text="There is no file in it.\n")

    async def _part(self, part: BodyPartReader, sent: _Sent) -> None:
        if part.filename is None:
            text = bytearray()
            while (data := await self._soon(part.read_chunk())) and len(text) <= MOST_NAME:
                text += data
            if part.name != "name" or len(text) > MOST_NAME:
                raise web.HTTPBadRequest(text="The only text of the form is `name`.\n")
            sent.name = text.decode("utf-8", "replace").strip() or None
            return
        path = self._place(part.filename, sent)
        if part.name == "index":
            sent.files.remove(path)
            sent.index = path
        await self._store(lambda: part.read_chunk(CHUNK), path, sent)

    def _place(self, filename: str | None, sent: _Sent) -> Path:
        """Where to put the next file: alone in a folder, under a harmless name."""
        if len(sent.files) >= MOST_FILES:
            raise web.HTTPBadRequest(text=f"{MOST_FILES} files at most.\n")
        stem, dot, suffix = (filename or "voice").replace("\\", "/").split("/")[-1].rpartition(".")
        name = re.sub(r"[^\w ()+-]", "_", stem or suffix)[:100].strip() or "voice"
        ending = re.sub(r"[^A-Za-z0-9]", "", suffix)[:12] if stem and dot else ""
        folder = Path(tempfile.mkdtemp(dir=sent.folder))
        sent.files.append(folder / (f"{name}.{ending}" if ending else name))
        return sent.files[-1]

    async def _store(self, read: Callable[[], Awaitable[bytes]], path: Path, sent: _Sent) -> None:
        """Write what `read` gives until it gives nothing; disk work is done in the thread."""
        loop = asyncio.get_running_loop()
        waiting, ended = bytearray(), False
        with path.open("wb") as file:
            while not ended:
                data = await self._soon(read())
                self._check_pace(sent, loop.time())
                ended = not data
                sent.left -= len(data)
                if sent.left < 0:
                    raise _too_large(sent.most)
                waiting += data
                if len(waiting) >= CHUNK or ended:
                    await loop.run_in_executor(self._thread, file.write, bytes(waiting))
                    waiting.clear()

    async def _soon(self, read: Awaitable[bytes]) -> bytes:
        try:
            return await asyncio.wait_for(read, self._config.limits.upload_pause_s)
        except asyncio.TimeoutError:
            raise web.HTTPRequestTimeout(text="The upload came to a halt.\n") from None

    def _check_pace(self, sent: _Sent, now: float) -> None:
        """One upload is taken at a time: it must not be held up by a trickle of bytes."""
        limits = self._config.limits
        lasted, came = now - sent.began, sent.most - sent.left
        if lasted > limits.upload_pause_s and came < lasted * limits.upload_bytes_per_s:
            text = f"Fewer than {limits.upload_bytes_per_s} bytes a second came.\n"
            raise web.HTTPRequestTimeout(text=text)

    @asynccontextmanager
    async def _inbox(self) -> AsyncGenerator[Path, None]:
        """A hidden folder on the disk where voices are, gone afterwards."""
        voices = (self._config.home or default_home()) / "voices"
        voices.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".import-", dir=voices))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _too_large(most: int) -> web.HTTPException:
    shown = f"{most >> 20} MiB" if most >> 20 else f"{most} bytes"
    return web.HTTPRequestEntityTooLarge(
        max_size=most, actual_size=most + 1, text=f"More than {shown} are not taken.\n"
    )
