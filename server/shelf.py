"""The voices that there are, for whom they are, over HTTP."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from server.answers import Voices, answer
from server.auth import holder
from server.config import ServerConfig
from server.openapi import Operation, file, said, text, told
from stream.errors import VoiceNotFound


class Shown(Protocol):
    """Voices that can be looked at."""

    def cards(self) -> list[dict[str, Any]]:
        """What each voice says of itself."""
        ...

    def preview(self, voice: str, /) -> Path | None:
        """A recording of the voice; raises `VoiceNotFound`."""
        ...


class Shelf:
    """Answers `GET /v1/voices` and `GET /v1/voices/{name}/preview.wav`.

    ask  has a function called with the voices, in the thread that loads them

    Law: a voice that a token is not for is not there for it.
    """

    def __init__(
        self, config: ServerConfig, ask: Callable[[Callable[[Shown], Any]], Awaitable[Any]]
    ) -> None:
        self._config = config
        self._ask = ask

    def route(self, app: web.Application) -> None:
        """Add the two routes."""
        app.router.add_get("/v1/voices", self._list)
        app.router.add_get("/v1/voices/{name}/preview.wav", self._preview)

    @told(Operation("The voices", {200: said(Voices, "those for who asks"), **text(503)}))
    async def _list(self, request: web.Request) -> web.Response:
        cards = await self._ask(lambda voices: voices.cards())
        own = [card for card in cards if holder(request).may_speak(card["name"])]
        names = [card["name"] for card in own]
        default = self._config.voice if self._config.voice in names else (names or [""])[0]
        return answer(Voices(default=default, voices=tuple(own)))

    @told(Operation("A recording of a voice", {**file("it", "audio/wav"), **text(404, 503)}))
    async def _preview(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if not holder(request).may_speak(name):
            raise web.HTTPNotFound(text=f"No voice '{name}'.\n")
        try:
            path = await self._ask(lambda voices: voices.preview(name))
        except VoiceNotFound as error:
            raise web.HTTPNotFound(text=f"{error}\n") from error
        if path is None:
            raise web.HTTPNotFound(text=f"Voice '{name}' has no preview.\n")
        return web.FileResponse(path, headers={"Content-Type": "audio/wav"})
