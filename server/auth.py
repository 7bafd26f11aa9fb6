"""Who may ask: checks of `Host`, `Origin` and token, before any handler runs."""

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

from server.call import same_token
from server.config import ServerConfig

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Middleware = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def host_allowed(host: str, config: ServerConfig) -> bool:
    """Whether a `Host` header names this server.

    On loopback only local names do: a page that points its own name at 127.0.0.1 is refused. Off
    loopback the token guards, whatever the name.
    """
    return not config.loopback or _hostname(f"//{host}") in LOCAL_NAMES | {config.host}


def origin_allowed(origin: str | None, host: str) -> bool:
    """Whether a page of `origin` may talk to this server: its own pages, and no browser at all."""
    if origin is None:
        return True
    scheme, _, rest = origin.partition("://")
    return scheme in {"http", "https"} and rest.lower() == host.lower()


def guard(
    config: ServerConfig, open_paths: frozenset[str]
) -> Callable[..., Awaitable[web.StreamResponse]]:
    """A middleware that lets through what may ask.

    open_paths  need no token: the page, health, and the stream, which asks for it in `start`
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not host_allowed(request.host, config):
            raise web.HTTPForbidden(text="This server is not known by that name.\n")
        if not origin_allowed(request.headers.get("Origin"), request.host):
            raise web.HTTPForbidden(text="Pages of other sites may not use this server.\n")
        if config.token is not None and request.path not in open_paths:
            scheme, _, given = request.headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not same_token(given, config.token):
                headers = {"WWW-Authenticate": "Bearer"}
                raise web.HTTPUnauthorized(text="The token is missing or wrong.\n", headers=headers)
        return await handler(request)

    return check


def _hostname(netloc: str) -> str | None:
    try:
        return urlsplit(netloc).hostname
    except ValueError:
        return None
