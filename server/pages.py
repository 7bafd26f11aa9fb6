"""The web client's files, and what browsers may do with whatever this server answers."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from server.figures import Figures
from server.openapi import Operation, file, told

WEB = Path(__file__).parent.parent / "clients" / "web"
KINDS = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
POLICY = {  # what a page may load: from this server only; `blob:` is what it made itself
    "default-src": "'none'",
    "script-src": "'self'",
    "worker-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "media-src": "'self' blob:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{rule} {sources}" for rule, sources in POLICY.items()),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), speaker-selection=(self), camera=(), geolocation=()",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

EVERYWHERE = {
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Server": "timbral",  # not which versions of what
}


def assets() -> dict[str, Path]:
    """The files of the page, by the path that they are asked for with."""
    files = (path for path in WEB.iterdir() if path.suffix in KINDS)
    return {"/" if path.name == "index.html" else f"/web/{path.name}": path for path in files}


def add_pages(app: web.Application, files: dict[str, Path]) -> None:
    """Answer for `files`, and for nothing else beside them."""

    @told(Operation("A part of the page", file("it", *KINDS.values())))
    async def page(request: web.Request) -> web.StreamResponse:
        path = files[request.path]
        # the kind is told, not guessed: some systems' registries call scripts plain text
        return web.FileResponse(path, headers={**HEADERS, "Content-Type": KINDS[path.suffix]})

    for path in files:
        app.router.add_get(path, page)


async def harden(_request: web.Request, response: web.StreamResponse) -> None:
    """Add what holds for every answer, as an `on_response_prepare` signal."""
    for name, value in EVERYWHERE.items():
        response.headers[name] = value


def count(figures: Figures) -> Callable[..., Awaitable[web.StreamResponse]]:
    """A middleware that counts answers by status; it must be the outermost."""

    @web.middleware
    async def counted(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        status = 500
        try:
            response = await handler(request)
            status = response.status
            return response
        except web.HTTPException as answer:
            status = answer.status
            raise
        finally:
            figures.requests.add(status=str(status))

    return counted
