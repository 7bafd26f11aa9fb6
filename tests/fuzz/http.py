"""Requests made from the OpenAPI page, as they should be and nearly; then damaged as bytes.

Law: what is asked for as the page says gets a status, a kind and a body that the page has; whatever
else is sent gets a status of HTTP's own, never one of a fault, and none tells where anything lies.
"""

import json
import random
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema
from fuzz.engine import Broken, Dice, Hang, Play
from fuzz.files import CORPUS
from fuzz.mutate import NUMBERS, TEXTS, damaged, nearly, plausible, spoiled
from fuzz.site import JOBS, TOKENS, Said, Site, Wire, site

from server.openapi import MEANINGS, Contract

OF_HTTP = frozenset({200, 201, 202, 204, 206, 304, 405, 408, 412, 416, *MEANINGS})
HEADERS = (
    *("Range: bytes=0-9", "Range: bytes=9-0", "Range: bytes=-5", "Range: bytes=99999-", "Range: x"),
    *("If-Modified-Since: Fri, 31 Dec 2100 00:00:00 GMT", "If-None-Match: *", "If-Match: x"),
    *("Expect: 100-continue", "Expect: 200-ok", "Accept-Encoding: gzip", "Accept: nothing/x"),
    *("Content-Encoding: gzip", "Content-Encoding: br, gzip", "Origin: null", "Origin: http://e"),
    *("Sec-Fetch-Site: cross-site", "X-Forwarded-For: ::1, x", "X-HTTP-Method-Override: DELETE"),
    *("Connection: Upgrade", "Upgrade: h2c", "Connection: close", "Cookie: a=b; c", "Te: trailers"),
    *("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: x", "Sec-WebSocket-Protocol: chat"),
)
KINDS = ("multipart/form-data", "text/plain", "application/x-www-form-urlencoded", "a", "a/b;c=d;")
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "X")
SECRETS = ("Traceback", str(Path(__file__).parents[2]), "aiohttp", "Python/")


class Asking:
    """Makes requests from a page, and judges their answers by it."""

    def __init__(self, page: dict[str, Any], where: Site, folder: Path) -> None:
        self._names: dict[str, Any] = page["components"]["schemas"]
        self._site = where
        self._folder = str(folder)
        self._asked = [
            (path, method.upper(), operation)
            for path, held in page["paths"].items()
            for method, operation in held.items()
        ]
        self._api = [asked for asked in self._asked if asked[0].startswith("/v1/")]
        self._held = [path.read_bytes() for path in CORPUS.iterdir()]
        self._checks = {
            name: jsonschema.Draft202012Validator(
                {"$ref": f"#/components/schemas/{name}", "components": page["components"]}
            )
            for name in self._names
        }

    async def case(self, dice: Dice) -> str:
        """Play one."""
        draw = dice.draw
        path, method, operation = draw.choice(self._api if draw.random() < 0.9 else self._asked)
        if draw.random() < 0.04:
            method = draw.choice(METHODS)
        proper = draw.random() < 0.7
        data = self.request(draw, path, method, operation, proper=proper)
        if not proper and draw.random() < 0.7:
            data = damaged(draw, data)
            method = ""
        wire = await self._site.connect()
        try:
            await wire.send(data)
            said = await self._heard(wire, method, proper=proper)
            if said is None:
                return "closed"
            self.judge(said, path, method if proper else "")
            return str(said.status)
        finally:
            wire.close()

    async def _heard(self, wire: Wire, method: str, *, proper: bool) -> Said | None:
        if proper:
            said = await wire.answer(method)
            return said
        try:
            return await wire.answer(method or "GET", 0.15)
        except Hang:  # it may wait for more: there is none
            wire.writer.write_eof() if wire.writer.can_write_eof() else None
            return await wire.answer(method or "GET")

    def request(
        self, draw: random.Random, path: str, method: str, operation: Any, *, proper: bool
    ) -> bytes:
        """The bytes of a request."""
        target = self._target(draw, path, operation)
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._site.host}"]
        token = TOKENS[draw.choice(("all",) * 8 + ("some", "some", "old", "none"))]
        lines += [f"Authorization: Bearer {token}"] if token else []
        for _ in range(draw.choice((0, 0, 0, 0, 1, 2)) + (not proper)):
            lines.append(draw.choice(HEADERS))
        body = b""
        if "requestBody" in operation or draw.random() < 0.05:
            kind, body = self._body(draw, operation)
            lines.append(f"Content-Type: {kind}")
            if draw.random() < 0.2:
                lines.append("Transfer-Encoding: chunked")
                body = chunked(draw, body, proper=proper)
            else:
                lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "replace") + body

    def judge(self, said: Said, path: str, method: str) -> None:
        """Raise `Broken` for an answer that must not be; `method` is "" for no proper request."""
        if said.status not in OF_HTTP and said.status != 101:
            raise Broken(f"status {said.status} {said.body[:300]!r}")
        shown = f"{said.headers} {said.body[:10_000].decode('utf-8', 'replace')}"
        for secret in (*SECRETS, self._folder):
            if secret in shown and not path.startswith("/web/"):
                raise Broken(f"{secret!r} is told: {shown[:300]}")
        operation = next((o for p, m, o in self._asked if (p, m) == (path, method)), None)
        if operation is None:
            return
        declared = operation["responses"].get(str(said.status))
        if declared is None:
            if said.status in {404, 405}:  # the names in the path made it another one
                return
            raise Broken(f"{method} {path} does not tell of {said.status}: {said.body[:200]!r}")
        content = declared.get("content", {})
        if said.body and said.kind not in content:
            raise Broken(f"{method} {path} {said.status} is {said.kind}, not {list(content)}")
        form = content.get(said.kind, {}).get("schema", {})
        if "$ref" in form:
            self._checks[form["$ref"].rpartition("/")[2]].validate(json.loads(said.body))

    def _target(self, draw: random.Random, path: str, operation: Any) -> str:
        asked = path.replace("{id}", draw.choice((*JOBS, "0" * 32, "x")))
        name = draw.choice(("ada", "ben", "slow", "new", draw.choice(TEXTS)))
        asked = asked.replace("{name}", escaped(draw, name))
        pairs: list[str] = []
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "query" and draw.random() < 0.6:
                value = escaped(draw, self._value(draw, parameter))
                pairs += [f"{parameter['name']}={value}"]
        if draw.random() < 0.1:
            pairs.append(escaped(draw, draw.choice(TEXTS)))
        return asked + ("?" + "&".join(pairs) if pairs else "")

    def _value(self, draw: random.Random, parameter: Any) -> str:
        if "content" in parameter:
            form = parameter["content"]["application/json"]["schema"]
            text = nearly(draw, plausible(draw, form, self._names))
            return (spoiled(draw, text) if draw.random() < 0.2 else text)[:3000]
        if draw.random() < 0.5:
            return str(plausible(draw, parameter["schema"], self._names))
        return draw.choice((*TEXTS, *NUMBERS))[:3000]

    def _body(self, draw: random.Random, operation: Any) -> tuple[str, bytes]:
        content = operation.get("requestBody", {}).get("content", {})
        kind = draw.choice([*content, *content, draw.choice(KINDS)])
        held = damaged(draw, draw.choice(self._held)) if draw.random() < 0.5 else b"RIFF sound"
        if draw.random() < 0.02:
            held = bytes(80_000)
        if not kind.startswith("multipart/"):
            return kind, held
        form = content.get(kind, {}).get("schema", {}).get("properties", {"a": {}, "song": {}})
        edge = draw.choice(("x", "----7", "a'b", "0" * 70, "0" * 71))
        parts = [self._part(draw, name, held) for name in form if draw.random() < 0.8]
        line = f"--{edge}\r\n".encode()
        body = b"".join(line + part + b"\r\n" for part in parts) + f"--{edge}--\r\n".encode()
        if draw.random() < 0.3:
            body = damaged(draw, body)
        named = draw.choice((f"; boundary={edge}",) * 8 + ("", "; boundary=", '; boundary="é'))
        return kind + named, body

    def _part(self, draw: random.Random, name: str, held: bytes) -> bytes:
        told = f'Content-Disposition: form-data; name="{name}"'
        value = held
        if name in {"name", "settings"}:
            value = draw.choice(TEXTS).encode("utf-8", "replace")
            if name == "settings":
                settings = {"key": 2, "format": "wav", "voice": "ada", "effects": "hall"}
                value = nearly(draw, settings).encode()
        else:
            told += f'; filename="{draw.choice(TEXTS)}"' if draw.random() < 0.9 else ""
        more = draw.choice(
            ("",) * 8
            + ("\r\nContent-Transfer-Encoding: base64", "\r\nContent-Encoding: deflate")
            + ("\r\nContent-Length: 99999", "\r\nContent-Type: multipart/mixed; boundary=y")
        )
        return f"{told}{more}\r\n\r\n".encode("utf-8", "replace") + value


def escaped(draw: random.Random, text: str) -> str:
    """As it stands in an address: rightly, twice, hardly, or as bytes that are no text."""
    match draw.randrange(6):
        case 0:
            return quote(quote(text, safe=""), safe="")
        case 1:
            return quote(text, safe="/:;@!$'()*+,~%", errors="replace")
        case 2:
            return "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "replace")) + "%ff"
        case _:
            return quote(text, safe="", errors="replace")


def chunked(draw: random.Random, body: bytes, *, proper: bool) -> bytes:
    """In chunks of HTTP/1.1; wrongly if it need not be proper."""
    out, at = b"", 0
    while at < len(body):
        size = draw.choice((1, 7, 1000, 70_000))
        piece = body[at : at + size]
        out += f"{len(piece):x}{draw.choice(('', '', ';a=b'))}\r\n".encode() + piece + b"\r\n"
        at += size
        if len(out) > 200_000:
            break
    out += b"0\r\n\r\n"
    return out if proper else damaged(draw, out)


@contextmanager
def requests(folder: Path) -> Generator[Play]:
    """Requests to a real server."""
    with site(folder) as found:
        server = found.server
        app = server._runner.app  # pyright: ignore[reportPrivateUsage]
        contract = Contract(server._config, frozenset({"/"}))  # pyright: ignore[reportPrivateUsage]
        asking = Asking(contract.page(app), found, folder)
        yield found.plays(asking.case)
