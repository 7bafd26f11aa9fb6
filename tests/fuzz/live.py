"""WebSocket conversations with a real server, down to the bytes of the frames.

Laws: every text that comes back is a message of the protocol and no error is `internal`; no raw
voice comes; a connection that the server closes has a code of the protocol; and an honest client
beside it gets every sample.
"""

import asyncio
import random
import struct
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from calls import START
from fuzz.engine import Broken, Dice, Play
from fuzz.mutate import damaged
from fuzz.site import TOKENS, Site, Wire, site
from fuzz.talks import CODES
from fuzz.wire import message, messages_of

from server.protocol import (
    PATH,
    AudioFrame,
    ClientMessage,
    Failure,
    Ready,
    Stop,
    server_message,
)

TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
OF_SOCKETS = frozenset({1002, 1003, 1007, 1009, 1011})  # what the WebSocket's own rules add
MOST_S = 20.0
UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Protocol: timbral.v1\r\n\r\n"
)


class Guest:
    """One connection that was upgraded, and what came over it."""

    def __init__(self, draw: random.Random, wire: Wire) -> None:
        self.draw = draw
        self.wire = wire
        self.secret = ""
        self.encoding = START.encoding
        self.bypassed = False
        self.position = 0
        self.code: int | None = None

    async def listen(self) -> None:
        """Judge all that comes until the connection is over."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while self.code is None:
                head, size = await self.wire.reader.readexactly(2)
                if size == 126:
                    size = struct.unpack(">H", await self.wire.reader.readexactly(2))[0]
                elif size == 127:
                    size = struct.unpack(">Q", await self.wire.reader.readexactly(8))[0]
                self._judge(head, await self.wire.reader.readexactly(size))

    def _judge(self, head: int, data: bytes) -> None:
        if head & 0xF0 != 0x80:
            raise Broken(f"a frame begins with {head:#x}")
        kind = head & 0x0F
        if kind == TEXT:
            told = server_message.validate_json(data)
            if isinstance(told, Failure) and told.code == "internal":
                raise Broken(f"an error that is not ours: {told.message}")
            if isinstance(told, Ready):
                self.secret, self.encoding = told.resume, told.encoding
        elif kind == BINARY:
            samples = np.frombuffer(AudioFrame.unpack(data).pcm, DTYPES[self.encoding])
            if not self.bypassed and (samples > 0).any():
                raise Broken("the raw voice")
        elif kind == CLOSE:
            self.code = struct.unpack(">H", data[:2])[0] if data else 1005
            if self.code not in CODES | OF_SOCKETS:
                raise Broken(f"closed with {self.code}")


DTYPES = {"f32le": "<f4", "s16le": "<i2"}


def frame(draw: random.Random, kind: int, data: bytes, *, proper: bool = True) -> bytes:
    """A frame of a client; in pieces sometimes, or with a head that must not be."""
    first, mask = 0x80 | kind, 0x80
    if not proper:
        first ^= draw.choice((0x80, 0x40, 0x10, 0x0F, 0x07, 0x00))
        mask = draw.choice((0x80, 0x80, 0x00))
    if proper and kind in {TEXT, BINARY} and draw.random() < 0.1 and len(data) > 1:
        cut = draw.randrange(1, len(data))
        ping = _framed(draw, 0x80 | PING, 0x80, b"x") if draw.random() < 0.5 else b""
        rest = _framed(draw, 0x80, 0x80, data[cut:])
        return _framed(draw, kind, 0x80, data[:cut]) + ping + rest
    return _framed(draw, first, mask, data)


def _framed(draw: random.Random, first: int, mask: int, data: bytes) -> bytes:
    size = len(data)
    if size < 126:
        head = struct.pack(">BB", first, mask | size)
    elif size < 65536:
        head = struct.pack(">BBH", first, mask | 126, size)
    else:
        head = struct.pack(">BBQ", first, mask | 127, size)
    if not mask:
        return head + data
    key = draw.randbytes(4)
    masked = np.frombuffer(data, np.uint8) ^ np.resize(np.frombuffer(key, np.uint8), size)
    return head + key + masked.tobytes()


class Talking:
    """Plays conversations."""

    def __init__(self, where: Site) -> None:
        self._site = where
        self._schemas, self._names = messages_of(ClientMessage)

    async def case(self, dice: Dice) -> str:
        """One connection or two: the second comes back with the first one's secret, perhaps."""
        draw, secret, became = dice.draw, "", ""
        for _ in range(draw.choice((1, 1, 2))):
            wire = await self._site.connect()
            guest = Guest(draw, wire)
            try:
                became, secret = await self._talk(guest, secret)
            finally:
                wire.close()
        return became

    async def _talk(self, guest: Guest, secret: str) -> tuple[str, str]:
        draw, wire = guest.draw, guest.wire
        asked = UPGRADE.format(path=PATH, host=self._site.host).encode()
        await wire.send(damaged(draw, asked) if draw.random() < 0.1 else asked)
        said = await wire.answer()
        if said is not None and said.status >= 500 and said.status != 503:
            raise Broken(f"status {said.status}")
        if said is None or said.status != 101:
            return ("closed" if said is None else str(said.status)), secret
        listening = asyncio.create_task(guest.listen())
        try:
            if draw.random() < 0.9:
                await self._start(guest, secret)
            for _ in range(draw.randint(0, 14)):
                await self._act(guest)
                if listening.done():
                    break
                if draw.random() < 0.2:
                    await asyncio.sleep(draw.choice((0.0, 0.001, 0.01)))
            if draw.random() < 0.5:
                await wire.send(frame(draw, TEXT, Stop().model_dump_json().encode()))
                await wire.send(frame(draw, CLOSE, struct.pack(">H", 1000)))
                await asyncio.wait_for(asyncio.shield(listening), MOST_S)
            else:
                await asyncio.sleep(0.01)
            if listening.done():
                listening.result()
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        return f"closed {guest.code}", guest.secret or secret

    async def _start(self, guest: Guest, secret: str) -> None:
        draw = guest.draw
        token = TOKENS[draw.choice(("all",) * 8 + ("some", "old", "none"))]
        resume = draw.choice((None, secret or None, "x" * 22))
        told = START.model_copy(update={"token": token or None, "resume": resume})
        await guest.wire.send(frame(draw, TEXT, told.model_dump_json().encode()))
        await asyncio.sleep(draw.choice((0.0, 0.005)))

    async def _act(self, guest: Guest) -> None:
        draw, wire = guest.draw, guest.wire
        match draw.choices(range(6), (10, 3, 4, 2, 1, 1))[0]:
            case 0:
                count = draw.choice((1, 160, 161, 800))
                pcm = np.full(count, 0.5, "<f4").tobytes()
                await wire.send(frame(draw, BINARY, AudioFrame(0, guest.position, pcm).pack()))
                guest.position += count + draw.choice((0, 0, 0, 1, 5000))
            case 1:
                pcm = np.full(160, 0.5, "<f4").tobytes()
                head = damaged(draw, AudioFrame(0, guest.position, b"").pack())
                await wire.send(frame(draw, BINARY, head[:16].ljust(16, b"\x00") + pcm))
            case 2:
                text = message(draw, self._schemas, self._names)
                guest.bypassed = guest.bypassed or "bypass" in text
                await wire.send(frame(draw, TEXT, text.encode("utf-8", "replace")))
            case 3:
                await wire.send(frame(draw, draw.choice((TEXT, PING, 10)), draw.randbytes(30)))
            case 4:
                data = draw.randbytes(draw.choice((0, 1, 125, 126, 70_000)))
                await wire.send(frame(draw, draw.choice((TEXT, BINARY)), data, proper=False))
            case _:
                code = draw.choice((0, 999, 1000, 1005, 1006, 1011, 3000, 65535))
                await wire.send(frame(draw, CLOSE, struct.pack(">H", code)))


@contextmanager
def sockets(folder: Path) -> Generator[Play]:
    """Conversations with a real server."""
    with site(folder) as found:
        yield found.plays(Talking(found).case)
