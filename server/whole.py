"""`POST /v1/convert`: a file in, the same file in another voice out."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from pydantic import ValidationError

from server.apart import apart
from server.auth import client_address, holder
from server.config import ServerConfig
from server.failures import Refused
from server.inbox import CHUNK, Inbox, Sent
from server.logs import Audit
from server.openapi import BYTES, Answer, Operation, text, told
from server.places import Pass, Places
from server.protocol import ControlValues
from server.session import attempt
from stream.errors import TimbralError, VoiceNotFound

KINDS: Final = {"wav": "audio/wav", "flac": "audio/flac", "ogg": "audio/ogg", "mp3": "audio/mpeg"}


@dataclass(frozen=True)
class Order:
    """What is to be converted, and how; it can be sent to another process."""

    source: Path
    target: Path
    voice: str
    controls: dict[str, Any]
    home: Path | None
    device: str


Convert = Callable[[Order], float]


class Whole:
    """Answers `POST /v1/convert`; one file at a time, beside the streams and behind them.

    ready    raises while there is no voice yet
    convert  does an order, in a thread, and returns the seconds of sound; raises `TimbralError`

    Law: a client's minutes count what it has converted here, too; and neither the file nor its
    conversion outlives the request.
    """

    def __init__(
        self,
        config: ServerConfig,
        ready: Callable[[], object],
        places: Places,
        audit: Audit,
        convert: Convert | None = None,
    ) -> None:
        self._config = config
        self._ready = ready
        self._places = places
        self._audit = audit
        self._convert = convert or self._apart
        self._thread = ThreadPoolExecutor(1, "files")
        self._inbox = Inbox(config, self._thread)
        self._stopping = threading.Event()
        self._busy = False

    def route(self, app: web.Application) -> None:
        """Add the route."""
        app.router.add_post("/v1/convert", self._answer)

    def stop(self) -> None:
        """Give up what is being converted."""
        self._stopping.set()
        self._thread.shutdown(wait=False, cancel_futures=True)

    @told(
        Operation(
            "Convert a file",
            {
                200: Answer("the same in another voice", tuple(KINDS.values())),
                **text(400, 403, 404, 408, 413, 415, 422, 503, 507),
            },
            query={
                "voice": {"type": "string", "maxLength": 64},
                "to": {"type": "string", "enum": list(KINDS), "default": "wav"},
                "controls": ControlValues,
                "filename": {"type": "string"},
            },
            takes={BYTES: {}},
            most="convert_bytes",
        )
    )
    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self._ready()
        by = holder(request)
        voice = request.query.get("voice") or self._config.voice
        kind = request.query.get("to") or "wav"
        if kind not in KINDS:
            raise web.HTTPBadRequest(text=f"`to` is one of {', '.join(KINDS)}.\n")
        controls = _controls(request.query.get("controls") or "{}")
        try:
            by.check_voice(voice)
            self._places.check_minutes(by, time.monotonic())
        except Refused as error:
            status = web.HTTPNotFound if error.code == "voice_not_found" else web.HTTPForbidden
            raise status(text=f"{error}\n") from error
        if self._busy:
            raise web.HTTPServiceUnavailable(
                text="Another file is being converted; try again when it is done.\n",
                headers={"Retry-After": "10"},
            )
        async with self._inbox.open(request, self._config.limits.convert_bytes) as sent:
            target = sent.folder / f"converted.{kind}"
            await self._take(request, by, sent, target, voice, controls)
            return await self._give(request, target, KINDS[kind])

    async def _take(
        self,
        request: web.Request,
        by: Pass,
        sent: Sent,
        target: Path,
        voice: str,
        controls: dict[str, Any],
    ) -> None:
        """Store what is sent, and convert it to `target`."""
        self._busy = True
        try:
            source = self._inbox.place(request.query.get("filename"), sent)
            await self._inbox.store(request.content.readany, source, sent)
            home, device = self._config.home, str(self._config.devices[0])
            order = Order(source, target, voice, controls, home, device)
            loop = asyncio.get_running_loop()
            outcome = await loop.run_in_executor(
                self._thread, attempt, lambda: self._convert(order)
            )
        finally:
            self._busy = False
        self._audit.say(
            "file converted" if outcome.error is None else "file refused",
            client=by.name,
            address=client_address(request, frozenset(self._config.proxies)),
            voice=voice,
            seconds=outcome.value,
        )
        if isinstance(outcome.error, VoiceNotFound):
            raise web.HTTPNotFound(text=f"{outcome.error}\n")
        if isinstance(outcome.error, TimbralError):
            text = str(outcome.error).replace(f"{source.parent}/", "")
            raise web.HTTPUnprocessableEntity(text=f"{text}\n")
        if outcome.error is not None:
            raise outcome.error
        self._places.charge(by, outcome.value)

    async def _give(self, request: web.Request, path: Path, kind: str) -> web.StreamResponse:
        """Send a file, all of it before this returns: then it is deleted."""
        loop, pause = asyncio.get_running_loop(), self._config.limits.upload_pause_s
        answer = web.StreamResponse(headers={"Content-Type": kind})
        answer.content_length = path.stat().st_size
        try:
            await answer.prepare(request)
            with path.open("rb") as file:
                while data := await loop.run_in_executor(None, file.read, CHUNK):
                    await asyncio.wait_for(answer.write(data), pause)
            await answer.write_eof()
        except (ConnectionError, asyncio.TimeoutError):  # the client is gone, or reads no more
            if request.transport is not None:
                request.transport.abort()
        return answer

    def _apart(self, order: Order) -> float:
        limits = self._config.limits
        return apart(convert_file, order, most_s=limits.convert_s, give_up=self._stopping)


def convert_file(order: Order) -> float:
    """Do an order; returns the seconds of sound. Raises `TimbralError`.

    Live streams do not notice: it runs in a process of its own, on one thread, at low priority.
    """
    from stream.controls import Controls
    from stream.device import Device
    from stream.engine import Conversion
    from stream.files import SoundFile, writing
    from stream.models.store import Store

    device = Device.parse(order.device)  # the server would not run with another
    voice = Store(order.home, threads=1).load(order.voice, device)
    file = SoundFile(order.source, least_rate=voice.card.sample_rate)
    controls = Controls(**order.controls)
    conversion = Conversion(voice, file.rate, profile=voice.for_files, controls=controls)
    written = 0
    with writing(order.target, file.rate, order.source) as out:
        for block in file:
            spoken = conversion.step(block)
            out.write(spoken)
            written += len(spoken)
        rest = conversion.flush()
        out.write(rest)
    return (written + len(rest)) / file.rate


def _controls(text: str) -> dict[str, Any]:
    try:
        return ControlValues.model_validate_json(text).model_dump(exclude_none=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise web.HTTPBadRequest(text=f"controls {where}: {first['msg']}.\n") from error
