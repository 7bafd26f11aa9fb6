"""A real server in a process of its own, and clients that talk to it at real pace, for tests.

`python crowds.py SETTINGS` is the server: the real one around a conversion that multiplies, so that
what comes back tells what was converted, what was concealed, and what is the raw voice.
`python crowds.py URL` is a client that talks until it is killed.
"""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import numpy as np
from arrivals import signal
from dial import dialled
from halver import GAINS, Halver, HalvingVoices
from pydantic import TypeAdapter
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from clients.link import SEND_BUFFER
from server.config import ServerConfig, cores
from server.line import Opened
from server.logs import open_logs
from server.protocol import (
    AudioFrame,
    Flag,
    Message,
    Ready,
    ServerMessage,
    Start,
    Stop,
    server_message,
)
from server.service import run
from stream.audio import Audio
from stream.ladder import STEPS, Ladder, Step

TESTS = Path(__file__).parent
RATE, FRAME = 48_000, 960  # Hz, and samples of 20 ms
FADE = 240  # samples in which the voice comes back after a loss
LATE_S = 0.5
LOUDEST = 0.5  # of `signal`
SOON_S = 30.0  # generous: machines that run tests do other things too


class Piece(NamedTuple):
    """Audio that came back."""

    position: int
    samples: Audio
    flags: Flag
    delay: float  # s from the moment its last sample was due


@dataclass
class Talker:
    """A client that says `signal`, 20 ms after 20 ms, and keeps all that comes back.

    start  what it began with; its voice tells the gain
    live   it leaves out what it is `LATE_S` behind with, as microphones do; else it says all
    """

    link: ClientConnection
    start: Start
    ready: Ready
    begun: float
    position: int = 0
    live: bool = False
    skipped: int = 0  # samples
    enough: bool = False  # ends `talk`
    pieces: list[Piece] = field(default_factory=list[Piece])
    messages: list[ServerMessage] = field(default_factory=list[ServerMessage])
    close_code: int | None = None

    def __post_init__(self) -> None:
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.reading = asyncio.create_task(self._read())

    async def talk(self, seconds: float) -> None:
        """Say what is due in the next seconds, each frame when it is; what was missed, at once, or
        not at all if the client is a live one and far behind.
        """
        until = self.now + seconds
        while True:
            due = self.begun + (self.position + FRAME) / RATE
            if due > until or self.enough:
                return
            if self.live and self.now - due > LATE_S:
                self.skip()
                continue
            await asyncio.sleep(due - self.now)
            await self.say(FRAME)

    async def say(self, count: int) -> None:
        """The next `count` samples."""
        pcm = signal(self.position, count).astype("<f4").tobytes()
        frame = AudioFrame(self.position // FRAME, self.position, pcm).pack()
        self.position += count
        await self.link.send(frame)

    async def tell(self, message: Message) -> None:
        """Send a message."""
        await self.link.send(message.model_dump_json(exclude_none=True))

    async def freeze(self, seconds: float) -> None:
        """Neither say nor hear anything for so long."""
        self.may_read.clear()
        await asyncio.sleep(seconds)
        self.may_read.set()

    def skip(self) -> None:
        """Leave out what should have been said until now."""
        behind = self.now - self.begun - self.position / RATE
        frames = max(0, round(behind * RATE / FRAME))
        self.skipped += frames * FRAME
        self.position += frames * FRAME

    async def stop(self) -> None:
        """Say that it was all, and hear the rest."""
        await self.tell(Stop())
        await asyncio.wait_for(asyncio.shield(self.reading), SOON_S)

    def said(self) -> list[tuple[float, float]]:
        """Of all that came back: when it was said, s after the beginning, and its delay, s."""
        return [(piece.position / RATE, piece.delay) for piece in self.pieces]

    @property
    def concealed(self) -> float:
        """Seconds."""
        lost = sum(len(p.samples) for p in self.pieces if Flag.CONCEALED in p.flags)
        return lost / RATE

    @property
    def heard(self) -> int:
        """Samples."""
        return sum(len(p.samples) for p in self.pieces)

    def check(self) -> None:
        """Every sample is answered once and in order, where it belongs, by the converted voice or
        an echo of it; holes are told of. Never the raw voice.
        """
        gain, next_, after_loss = np.float32(GAINS.get(self.start.voice, 1.0)), None, False
        for piece in self.pieces:
            assert next_ in (None, piece.position) or (
                Flag.GAP in piece.flags and piece.position > (next_ or 0)
            ), f"{piece.position} came where {next_} was due"
            next_ = piece.position + len(piece.samples)
            if Flag.CONCEALED in piece.flags:
                assert np.abs(piece.samples).max() <= abs(gain) * LOUDEST, "the raw voice"
                after_loss = True
                continue
            right = gain * signal(piece.position, len(piece.samples))
            if self.start.voice not in GAINS:  # a real one: who knows what it says
                assert np.any(right != piece.samples), "the raw voice"
                continue
            first = FADE if after_loss or Flag.GAP in piece.flags else 0
            np.testing.assert_array_equal(piece.samples[first:], right[first:])
            after_loss = False

    def check_whole(self) -> None:
        """The same, and nothing was lost from the first to the last sample said."""
        self.check()
        assert self.concealed == 0.0
        assert self.heard == self.position
        assert not self.skipped
        assert all(Flag.GAP not in piece.flags for piece in self.pieces)

    @property
    def now(self) -> float:
        """Seconds on the clock of `begun`."""
        return asyncio.get_running_loop().time()

    async def _read(self) -> None:
        try:
            while True:
                await self.may_read.wait()
                data = await self.link.recv()
                if isinstance(data, str):
                    self.messages.append(server_message.validate_json(data))
                    continue
                frame = AudioFrame.unpack(data)
                samples = np.frombuffer(frame.pcm, "<f4")
                due = self.begun + (frame.position + len(samples)) / RATE
                self.pieces.append(Piece(frame.position, samples, frame.flags, self.now - due))
        except ConnectionClosed:
            self.close_code = self.link.close_code


@asynccontextmanager
async def talker(
    url: str, voice: str = "ada", *, connection: dict[str, Any] | None = None, **changes: Any
) -> AsyncGenerator[Talker, None]:
    """A client whose stream is open. Fails when it is refused."""
    start = Start(voice=voice, sample_rate=RATE, encoding="f32le", **changes)
    async with dialled(
        url, **{"ping_interval": None, "close_timeout": 1, **(connection or {})}
    ) as link:
        sock = link.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # as `clients.link` does
        await link.send(start.model_dump_json(exclude_none=True))
        ready = server_message.validate_json(await asyncio.wait_for(link.recv(), SOON_S))
        assert isinstance(ready, Ready), ready
        now = asyncio.get_running_loop().time()
        made = Talker(link, start, ready, now - ready.position / RATE, ready.position)
        try:
            yield made
        finally:
            made.reading.cancel()
            await asyncio.gather(made.reading, return_exceptions=True)


async def all_talk(talkers: Iterable[Talker], seconds: float) -> None:
    """At once, then stop."""

    async def one(each: Talker) -> None:
        await each.talk(seconds)
        await each.stop()

    await asyncio.gather(*(one(each) for each in talkers))


class Wire:
    """A line between clients and a server that can fall silent, as a cable that is cut does."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._there = host, int(port)
        self._whole = asyncio.Event()
        self._whole.set()
        self._ends: list[asyncio.StreamWriter] = []
        self.url = ""

    def cut(self) -> None:
        """From now on nothing comes through, and nobody is told."""
        self._whole.clear()

    def tear(self) -> None:
        """All connections break off, now."""
        for end in self._ends:
            end.transport.abort()
        self._ends.clear()

    @asynccontextmanager
    async def open(self) -> AsyncGenerator["Wire", None]:
        """Take connections at `url`."""
        server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            self.tear()
            server.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._there)
        self._ends += [writer, back]
        await asyncio.gather(self._copy(reader, back), self._copy(there, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(4096):
                await self._whole.wait()
                writer.write(data)
                await writer.drain()


@asynccontextmanager
async def talking(*talkers: Talker) -> AsyncGenerator[None, None]:
    """All talk until this is left, then stop."""
    talk = asyncio.create_task(all_talk(talkers, 600.0))
    try:
        yield
        for each in talkers:
            each.enough = True
        await talk
    finally:
        talk.cancel()


@dataclass(frozen=True)
class Served:
    """A server's process."""

    url: str
    process: "subprocess.Popen[str]"

    async def figures(self) -> dict[str, float]:
        """What `/metrics` tells: name with labels, as it is written there, and value."""
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{self.url}/metrics", timeout=aiohttp.ClientTimeout(SOON_S)) as answer,
        ):
            lines = (await answer.text()).splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    async def streams(self) -> int:
        """How many places are taken."""
        found = await self.figures()
        return round(sum(v for name, v in found.items() if "client_streams{" in name))

    @property
    def files(self) -> int:
        """File descriptors."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    @property
    def threads(self) -> int:
        """Threads."""
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    @property
    def memory(self) -> int:
        """Bytes that are really there."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text("ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    async def until_empty(self, files: int) -> None:
        """Wait until no place is taken, and no more than so many files are open."""

        async def wait() -> None:
            while await self.streams() or self.files > files:
                await asyncio.sleep(0.05)

        await asyncio.wait_for(wait(), SOON_S)


@contextmanager
def chatting(url: str) -> Generator["subprocess.Popen[str]", None, None]:
    """A client in a process of its own, which has begun to talk."""
    command = [sys.executable, str(TESTS / "crowds.py"), url]
    with subprocess.Popen(command, env=with_tests(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "talking\n"
            yield process
        finally:
            process.kill()


@contextmanager
def burning() -> Generator[None, None, None]:
    """Programs that take what they can get of the processors."""
    words = [sys.executable, "-c", "while True: pass"]
    with ExitStack() as stack:
        for _ in range(4 * cores()):
            process = stack.enter_context(subprocess.Popen(words))
            stack.callback(process.kill)
        yield


@contextmanager
def served(
    words: Iterable[str] = (), *, preload: Path | None = None, **settings: Any
) -> Generator[Served, None, None]:
    """The server of this module, with these settings.

    words     what its command begins with
    preload   a library that comes before the others
    settings  `ServerConfig`'s, and those of `Crowd`
    """
    command = [*words, sys.executable, str(TESTS / "crowds.py"), json.dumps(settings, default=str)]
    environment = with_tests()
    if preload is not None:
        environment["LD_PRELOAD"] = str(preload)
    with _running(command, environment) as found:
        yield found


@contextmanager
def serving_timbral(home: Path, **settings: Any) -> Generator[Served, None, None]:
    """`timbral serve` with the voices of `home`."""
    told = {f"TIMBRAL_{name.upper()}": str(value) for name, value in settings.items()}
    environment = {**os.environ, **told, "TIMBRAL_HOME": str(home)}
    command = [sys.executable, "-m", "timbral", "serve", "--port", "0"]
    with _running(command, environment) as found:
        yield found


@contextmanager
def _running(command: list[str], environment: dict[str, str]) -> Generator[Served, None, None]:
    with subprocess.Popen(
        command,
        cwd=TESTS.parent,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            found = re.search(r"https?://\S+", process.stdout.readline())
            assert found is not None, "it did not start"
            yield Served(found[0], process)
        finally:
            process.kill()


def with_tests() -> dict[str, str]:
    """The environment of a program of the tests' own."""
    return {**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}


class Crowd(HalvingVoices):
    """ada and ben, each hop of whom takes so long.

    sleep  s that a hop waits;  burn  s of a processor that it takes
    """

    def __init__(self, sleep: float, burn: float) -> None:
        super().__init__(hop_seconds=sleep + burn)
        self._sleep, self._burn = sleep, burn

    def open(self, start: Start, device: str, step: Step = STEPS[0]) -> Opened:
        opened = super().open(start, device, step)
        assert isinstance(opened.converter, Halver)
        plain = opened.converter.step

        def slow(block: Audio) -> Audio:
            time.sleep(self._sleep)
            _burn(self._burn)
            return plain(block)

        opened.converter.step = slow
        return opened._replace(hop_seconds=self.hop_seconds)


def _burn(seconds: float) -> None:
    """Keep a processor busy, without Python's lock."""
    numbers, until = np.random.default_rng(0).random(20_000), time.thread_time() + seconds
    while time.thread_time() < until:
        np.sort(numbers)


def serve(told: dict[str, Any]) -> None:
    """Serve until killed.

    ladder_s  its `BUSY_S` and `CALM_S`
    """
    voices = Crowd(told.pop("sleep", 0.0), told.pop("burn", 0.0))
    Ladder.BUSY_S, Ladder.CALM_S = told.pop("ladder_s", (Ladder.BUSY_S, Ladder.CALM_S))
    chosen: dict[str, Any] = {"port": 0, "voice": "ada", "workers": 1, "easing": False, **told}
    config = TypeAdapter(ServerConfig).validate_python(chosen)

    def announce(running: Any) -> None:
        sys.stdout.write(f"{running.url}\n")
        sys.stdout.flush()

    open_logs(config)
    asyncio.run(run(config, lambda: voices, announce))


async def chat(url: str) -> None:
    """Talk until killed; a line says when it has begun."""
    async with talker(url, "ben") as one:
        await one.talk(0.2)
        sys.stdout.write("talking\n")
        sys.stdout.flush()
        await one.talk(600.0)


if __name__ == "__main__":
    if sys.argv[1].startswith("http"):
        asyncio.run(chat(sys.argv[1]))
    else:
        serve(json.loads(sys.argv[1]))
