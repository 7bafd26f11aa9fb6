"""What the server tells about itself: alive, ready, what it is, and its figures."""

import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, get_args

from aiohttp import web

from server.answers import Info, answer
from server.auth import need_operator
from server.config import ServerConfig
from server.figures import Figures
from server.openapi import Answer, Operation, said, text, told
from server.protocol import VERSION, Encoding, ProfileName, Rate

FRESH = {"Cache-Control": "no-store"}


class Status:
    """Answers `/healthz`, `/readyz`, `/v1/info` and `/metrics`.

    why_not  why no stream is taken now; "" when streams are
    now      what changes of `/v1/info`
    """

    def __init__(
        self,
        config: ServerConfig,
        figures: Figures,
        why_not: Callable[[], str],
        now: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._config = config
        self._figures = figures
        self._why_not = why_not
        self._now = now
        self._began = time.monotonic()
        figures.build.set(1, version=installed_version(), protocol=str(VERSION))
        figures.registry.before(lambda: figures.ready.set(not why_not()))

    def route(self, app: web.Application) -> None:
        """Add the four routes."""
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/v1/info", self._info)
        app.router.add_get("/metrics", self._metrics)

    @told(Operation("Whether the process is alive", {200: Answer("it is")}))
    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="alive\n", headers=FRESH)

    @told(Operation("Whether the default voice can speak", {200: Answer("it can"), **text(503)}))
    async def _readyz(self, _request: web.Request) -> web.Response:
        why = self._why_not()
        return web.Response(status=503 if why else 200, text=f"{why or 'ready'}\n", headers=FRESH)

    @told(Operation("What this server is", {200: said(Info, "that")}))
    async def _info(self, _request: web.Request) -> web.Response:
        config = self._config
        info = Info(
            version=installed_version(),
            protocol=VERSION,
            voice=config.voice,
            device=config.device,
            workers=config.workers,
            sample_rates=get_args(Rate),
            encodings=get_args(Encoding),
            profiles=get_args(ProfileName),
            uptime_s=round(time.monotonic() - self._began, 1),
            **self._now(),
        )
        return answer(info, headers=FRESH)

    @told(
        Operation(
            "Figures for Prometheus; for operators", {200: Answer("the figures"), **text(403)}
        )
    )
    async def _metrics(self, request: web.Request) -> web.Response:
        need_operator(request)
        registry = self._figures.registry
        headers = {**FRESH, "Content-Type": registry.CONTENT_TYPE}
        return web.Response(text=registry.text(), headers=headers)


def installed_version() -> str:
    """Of this package."""
    try:
        return version("timbral")
    except PackageNotFoundError:
        return "unknown"
