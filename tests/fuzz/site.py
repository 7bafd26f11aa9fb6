"""A real server to send things to, and the plain connections that they go over."""

import asyncio
import logging
import re
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import aiohttp
from calls import START, FakeConversion, FakeVoices
from dial import dialled, serving, speak, whole
from fuzz.engine import Broken, Dice, Hang, Play, Played
from fuzz.files import CORPUS

from offline.jobs.runner import Runner
from server.app import Server
from server.config import Limits, ServerConfig
from server.tokens import Token, digest, write_tokens
from server.whole import Order
from stream.errors import AudioError, ConfigError, HostileFile
from stream.importer.voices import NAME
from stream.ladder import STEPS
from stream.models.voice import VoiceCard

JOBS = ("1" * 32, "2" * 32, "3" * 32)  # one that waits, one with a cover, one whose cover is lost
AT_ONCE = 24  # connections
BATCH = 240  # cases, after which an honest client is asked
MOST_S = 30.0  # for one answer, on a busy machine
TOKENS = {"all": "timbral_all", "some": "timbral_some", "old": "timbral_old", "none": ""}
LIMITS = Limits(
    header_s=1.0,
    upload_pause_s=0.5,
    upload_bytes=64 * 1024,
    convert_bytes=64 * 1024,
    song_bytes=64 * 1024,
    wrong_tokens_per_minute=10**9,
    connections_an_address=4096,
    connections=4096,
    start_s=2.0,
    resume_s=0.5,
)


class Voices(FakeVoices):
    """Voices that keep nothing of what is added, and have whole cards."""

    def __init__(self, folder: Path, make: Callable[[], FakeConversion] = FakeConversion) -> None:
        super().__init__(make)
        self._card = VoiceCard.model_validate_json((CORPUS / "voice.json").read_bytes())
        self._recording = folder / "preview.wav"
        self._recording.write_bytes((CORPUS / "int.wav").read_bytes())

    def cards(self) -> list[dict[str, Any]]:
        told = self._card.model_dump(mode="json", exclude={"files"})
        broken = {"name": "slow", "error": "voice.json is missing"}
        return [told | {"name": name} for name in ("ada", "ben")] + [broken]

    def preview(self, voice: str) -> Path | None:
        self.load(voice)
        return self._recording if voice == "ada" else None

    def add(self, files: Any, name: str | None, index: Path | None) -> dict[str, Any]:
        chosen = name or "new"
        if not NAME.fullmatch(chosen):
            raise ConfigError(f"'{chosen}' is no name for a voice.")
        if chosen in self.NAMES:
            raise ConfigError(f"There is a voice '{chosen}' already.")
        for path in [*files, *([index] if index else [])]:
            if not path.read_bytes().strip(b"\x00"):
                raise HostileFile(path, "there is nothing in it")
        card = self._card.model_copy(update={"name": chosen})
        return {"voice": card.model_dump(mode="json", exclude={"files"}), "missing": ""}

    def open(self, start: Any, device: Any, step: Any = STEPS[0]) -> Any:
        opened = super().open(start, device, step)
        self.opened.clear()
        return opened


def copying(order: Order) -> float:
    """In place of a conversion: what begins with `RIFF` is sound."""
    data = order.source.read_bytes()
    if not data.startswith(b"RIFF"):
        raise AudioError(f"{order.source} holds no audio.")
    order.target.write_bytes(data)
    return 0.001


@dataclass
class Site:
    """A server that runs, in a loop that runs when cases are played.

    faults  what the loop was told of, and nobody caught
    """

    server: Server
    loop: asyncio.AbstractEventLoop
    faults: list[str] = field(default_factory=list[str])

    @property
    def host(self) -> str:
        """As a client names it."""
        return self.server.url.removeprefix("http://")

    async def connect(self) -> "Wire":
        """A plain connection."""
        host, _, port = self.host.rpartition(":")
        return Wire(*await asyncio.open_connection(host, int(port)))

    async def honest(self) -> None:
        """Raise `Broken` unless an honest client is served as ever."""
        async with dialled(self.server.url) as link:
            start = START.model_copy(update={"token": TOKENS["all"]})
            await link.send(start.model_dump_json())
            await link.recv()
            if not whole(await asyncio.wait_for(speak(link, 0.1), MOST_S), 0.1):
                raise Broken("an honest client did not get what it should")
        if self.faults:
            told = "; ".join(self.faults)[:2000]
            self.faults.clear()
            raise Broken(told)

    def plays(self, case: Callable[[Dice], Awaitable[str]]) -> Play:
        """Plays cases, several at once; after each batch an honest client is asked."""

        async def one(dice: Dice, places: asyncio.Semaphore) -> Played:
            async with places:
                try:
                    return Played(dice.number, await asyncio.wait_for(case(dice), 4 * MOST_S))
                except asyncio.TimeoutError:
                    return Played(dice.number, "finding", Hang("it did not come to an end"))
                except (Exception, Hang) as error:
                    return Played(dice.number, "finding", error)

        async def batch(cases: list[Dice]) -> list[Played]:
            places = asyncio.Semaphore(AT_ONCE)
            found = list(await asyncio.gather(*(one(dice, places) for dice in cases)))
            try:
                await self.honest()
            except (Exception, Hang) as error:
                after = Broken(f"after cases {cases[0].number} to {cases[-1].number}: {error!r}")
                found[-1] = Played(cases[-1].number, "finding", after)
            return found

        def play(cases: Iterable[Dice]) -> Iterator[Played]:
            waiting: list[Dice] = []
            for dice in cases:
                waiting.append(dice)
                if len(waiting) == BATCH:
                    yield from self.loop.run_until_complete(batch(waiting))
                    waiting = []
            if waiting:
                yield from self.loop.run_until_complete(batch(waiting))

        return play


class Ears(logging.Handler):
    """Hears what the server logs as an error."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._faults = faults

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self._faults.append(f"{record.name}: {self.format(record)[-1500:]}")


@contextmanager
def site(folder: Path, make: Callable[[], FakeConversion] = FakeConversion) -> Generator[Site]:
    """A server with tokens, voices, files to convert and jobs."""
    tokens = folder / "tokens.json"
    facts = {
        "all": {"operator": True, "upload_bytes": 1 << 30},
        "some": {"voices": ("ada",), "max_jobs": 0},
        "old": {"expires": date(2026, 1, 2)},
    }
    day = date(2026, 1, 1)
    held = [
        Token.model_validate({"name": n, "sha256": digest(TOKENS[n]), "made": day, **more})
        for n, more in facts.items()
    ]
    write_tokens(tokens, held)
    loop = asyncio.new_event_loop()
    for kind in (aiohttp.BadContentDispositionHeader, aiohttp.BadContentDispositionParam):
        warnings.simplefilter("ignore", kind)  # the server takes such a part for one without a name

    @asynccontextmanager
    async def opened() -> AsyncGenerator[Server]:
        settings: dict[str, Any] = {"home": folder, "tokens": tokens, "limits": LIMITS}
        settings |= {"max_streams": 64, "max_jobs": 16}
        async with serving(Voices(folder, make), _runner, **settings) as server:
            server._whole._convert = copying  # pyright: ignore[reportPrivateUsage]
            yield server

    async def start() -> Server:
        return await running.__aenter__()

    running = opened()
    server = loop.run_until_complete(start())
    found = Site(server, loop)

    def fault(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, ConnectionError):
            found.faults.append(f"{context.get('message')}: {error!r}")

    loop.set_exception_handler(fault)
    ears = Ears(found.faults)
    logging.getLogger().addHandler(ears)
    try:
        yield found
    finally:
        logging.getLogger().removeHandler(ears)
        loop.run_until_complete(running.__aexit__(None, None, None))
        loop.close()


def _runner(config: ServerConfig) -> Runner:
    assert config.home
    runner = Runner(config.home, working=False)
    for identity in reversed(JOBS):
        song = config.home / f"{identity}.wav"
        runner.store.add("all", "a song", song, song, {"key": 2}, identity=identity)
        if identity != JOBS[0]:
            runner.store.take()
            runner.store.end(identity, "done", seconds=1.5)
    config.home.joinpath(f"{JOBS[1]}.wav").write_bytes((CORPUS / "int.wav").read_bytes())
    return runner


@dataclass(frozen=True)
class Said:
    """An answer over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def kind(self) -> str:
        """Its media type."""
        return self.headers.get("content-type", "").partition(";")[0].strip()


class Wire:
    """A connection without manners."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Send, if somebody takes it."""
        with suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def answer(self, method: str = "GET", patience_s: float = MOST_S) -> Said | None:
        """The next answer; None when the server closed without one.

        Raises `Hang` when nothing comes for so long, `Broken` for what is no answer.
        """
        try:
            said = await asyncio.wait_for(self._answer(method), patience_s)
            while said.status == 100:  # go on
                said = await asyncio.wait_for(self._answer(method), patience_s)
            return said
        except asyncio.TimeoutError:
            raise Hang("no answer came") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def _answer(self, method: str) -> Said:
        head = await self.reader.readuntil(b"\r\n\r\n")
        line, *rest = head.decode("latin-1").split("\r\n")
        found = re.fullmatch(r"HTTP/\d\.\d (\d{3}) [\w '-]+", line)
        if found is None:
            raise Broken(f"{line!r} is no answer")
        pairs = (each.partition(":") for each in rest if each)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        status, body = int(found[1]), b""
        if method == "HEAD" or status in {101, 204, 304} or status < 200:
            return Said(status, headers, body)
        if headers.get("transfer-encoding") == "chunked":
            while size := int(await self.reader.readline(), 16):
                body += (await self.reader.readexactly(size + 2))[:-2]
                if headers.get("content-type") == "text/event-stream":
                    return Said(status, headers, body)  # it goes on for as long as the job
            await self.reader.readexactly(2)
        elif "content-length" in headers:
            body = await self.reader.readexactly(int(headers["content-length"]))
        else:
            body = await self.reader.read()
        return Said(status, headers, body)

    def close(self) -> None:
        """Go without a word."""
        self.writer.transport.abort()
