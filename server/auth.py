"""Who may ask: checks of `Host`, `Origin` and token, before any handler runs."""

import ipaddress
import time
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import date, datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from server.config import LOCAL_NAMES, ServerConfig
from server.failures import Refused
from server.logs import Audit
from server.places import Pass
from server.tokens import Token, find, read_tokens, same_token
from stream.errors import ConfigError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
HEALTH = frozenset({"/healthz", "/readyz"})
HOLDER = web.RequestKey("holder", Pass)  # who asks
MINUTE_S = 60.0
MOST_ADDRESSES = 10_000  # remembered for their wrong tokens
FOREIGN = frozenset({"cross-site", "same-site"})  # `same-site` is another port of this machine
WRONG = "The token is missing or wrong."


def host_allowed(host: str, config: ServerConfig) -> bool:
    """Whether a `Host` header names this server.

    On loopback only local names do, and those allowed by name: a page that points its own name at
    127.0.0.1 is refused. Off loopback any name does as long as none is set: the token guards.
    """
    if not config.loopback and not config.allowed_hosts:
        return True
    return _hostname(f"//{host}") in LOCAL_NAMES | {config.host, *config.allowed_hosts}


def origin_allowed(origin: str | None, host: str, scheme: str | None = None) -> bool:
    """Whether a page of `origin` may talk to this server: its own pages, and no browser at all.

    scheme  that the page must have come by, where that is known: `https` or `http`
    """
    if origin is None:
        return True
    by, _, rest = origin.partition("://")
    return by in ({scheme} if scheme else {"http", "https"}) and rest.lower() == host.lower()


def client_address(request: web.Request, proxies: frozenset[str]) -> str:
    """Who asks: the peer, or whom a proxy that is believed says that it asks for."""
    peer = request.remote or ""
    said = request.headers.getall("X-Forwarded-For", []) if peer in proxies else []
    return said[-1].split(",")[-1].strip() if said else peer


class Gate:
    """Knows the tokens, and whom to refuse unheard.

    Law: without a token that is set, or is in the file and has not expired, there is no `Pass` as
    soon as any is asked for. A file that becomes unreadable leaves the tokens as they were; one
    that is gone leaves none.
    """

    def __init__(self, config: ServerConfig, today: Callable[[], date] | None = None) -> None:
        self._config = config
        self._today = today or utc_day
        self._stamp: object = None
        self._tokens: tuple[Token, ...] = ()
        self._wrong: dict[str, deque[float]] = {}
        if config.tokens is not None:
            self._stamp = _stamp(config.tokens)
            self._tokens = read_tokens(config.tokens)
        if config.reachable_by_all and config.token is None and not self._tokens:
            raise ConfigError(
                f"There is no token in {config.tokens}, so nobody could connect: "
                f"timbral tokens add NAME --file {config.tokens}"
            )

    def check(self, given: str | None, address: str, now: float) -> Pass:
        """Who it is. Raises `Refused`: unauthorized."""
        if not self._config.asks_for_token:
            return Pass("(local)")
        wrong = self._remembered(address, now)
        if len(wrong) >= self._config.limits.wrong_tokens_per_minute:
            raise Refused("unauthorized", "Too many wrong tokens came from here; wait a minute.")
        holder = self._holder(given) if given else None
        if holder is None:
            if given:
                self._remember(address, now)
            raise Refused("unauthorized", WRONG)
        return holder

    def refresh(self) -> frozenset[str]:
        """Read the file again if it changed; returns whose tokens are no more: gone, expired,
        or others under the same name.

        Raises `ConfigError` for one that cannot be read, once for each change.
        """
        path, before = self._config.tokens, {token.name: token for token in self._tokens}
        if path is None:
            return frozenset()
        stamp = _stamp(path)
        if stamp != self._stamp:
            self._stamp = stamp
            self._tokens = read_tokens(path) if stamp is not None else ()
        today = self._today()
        good = {token.sha256 for token in self._tokens if token.good(today)}
        return frozenset(name for name, token in before.items() if token.sha256 not in good)

    def _holder(self, given: str) -> Pass | None:
        own = self._config.token
        if own is not None and same_token(given, own):
            return Pass("(token)")
        token = find(given, self._tokens)
        if token is None or not token.good(self._today()):
            return None
        return Pass(
            token.name,
            None if token.voices is None else frozenset(token.voices),
            token.max_streams,
            token.minutes_per_day,
            token.upload_bytes,
            token.operator,
            token.max_jobs,
        )

    def _remembered(self, address: str, now: float) -> deque[float]:
        times = self._wrong.get(_network(address), deque())
        while times and now - times[0] > MINUTE_S:
            times.popleft()
        return times

    def _remember(self, address: str, now: float) -> None:
        if len(self._wrong) >= MOST_ADDRESSES:
            late = [a for a, times in self._wrong.items() if now - times[-1] > MINUTE_S]
            for each in late or list(self._wrong)[: MOST_ADDRESSES // 2]:
                del self._wrong[each]
        most = self._config.limits.wrong_tokens_per_minute
        self._wrong.setdefault(_network(address), deque(maxlen=most)).append(now)


def guard(
    config: ServerConfig, gate: Gate, open_paths: frozenset[str], audit: Audit
) -> Callable[..., Awaitable[web.StreamResponse]]:
    """A middleware that lets through what may ask.

    open_paths  need no token: the page, health, and the stream, which asks for it in `start`
    """
    proxies = frozenset(config.proxies)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in HEALTH:
            return await handler(request)
        address = client_address(request, proxies)
        why = _stranger(request, config, proxies)
        if why:
            audit.say("refused", address=address, path=request.path, why=why)
            raise web.HTTPForbidden(text=why + "\n")
        if request.path not in open_paths:
            by, _, given = request.headers.get("Authorization", "").partition(" ")
            try:
                asked = given.strip() if by.lower() == "bearer" else None
                request[HOLDER] = gate.check(asked, address, time.monotonic())
            except Refused as error:
                audit.say("refused", address=address, path=request.path, why=str(error))
                headers = {"WWW-Authenticate": "Bearer"}
                raise web.HTTPUnauthorized(text=f"{error}\n", headers=headers) from error
        return await handler(request)

    return check


def holder(request: web.Request) -> Pass:
    """Who asks, where a token is asked for."""
    return request[HOLDER]


def need_operator(request: web.Request) -> None:
    """Raise 403 unless who asks may see to the server itself."""
    if not holder(request).operator:
        raise web.HTTPForbidden(text="This takes an operator's token.\n")


def _stranger(request: web.Request, config: ServerConfig, proxies: frozenset[str]) -> str:
    """Why a browser may not ask this; "" when it may."""
    if not host_allowed(request.host, config):
        return "This server is not known by that name."
    scheme = "https" if config.cert is not None else None
    if request.remote in proxies:
        scheme = request.headers.get("X-Forwarded-Proto", scheme)
    if not origin_allowed(request.headers.get("Origin"), request.host, scheme):
        return "Pages of other sites may not use this server."
    if request.path != "/" and request.headers.get("Sec-Fetch-Site") in FOREIGN:
        return "Pages of other sites may not use this server."
    return ""


def utc_day() -> date:
    """Today, the same day for every server."""
    return datetime.now(timezone.utc).date()


def _network(address: str) -> str:
    """What one client can choose its addresses from: an IPv4 address, or an IPv6 /64.

    >>> _network("203.0.113.9"), _network("2001:db8::1:2")
    ('203.0.113.9', '2001:db8::/64')
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file does; None without one."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _hostname(netloc: str) -> str | None:
    try:
        return urlsplit(netloc).hostname
    except ValueError:
        return None
