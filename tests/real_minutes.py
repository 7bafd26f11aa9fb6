"""The other half of `make soak`: `timbral serve` and real clients who come, go, and are lost."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soxr
from crowds import Served, Wire, serving_timbral
from simulated import Wrong

from clients.link import VoiceLink, open_link
from server.protocol import AudioFrame, Flag, Start, Stats, Stopped
from stream.audio import s16_from_float
from stream.errors import LinkError
from stream.files import SoundFile

RATE, FRAME_S = 48_000, 0.02
MINUTE_S = 60.0
SETTLE_S = 2.5  # after which a newcomer shows in what the server measures
MOST_LATE, MOST_CONCEALED = 0.01, 0.002  # of what is converted and heard
GROWTH_BYTES, GROWTH_THREADS = 25e6, 8  # threads: those of the standard library's own pool
WARM_MINUTES = 2  # after which nothing may grow
SPEECH = Path(__file__).parent / "speech"


@dataclass
class Seen:
    """What clients noticed since it was last emptied."""

    tally: "Counter[str]" = field(default_factory=Counter[str])
    delays: list[float] = field(default_factory=list[float])
    loads: list[float] = field(default_factory=list[float])  # p99 of computing to hop


@dataclass(frozen=True)
class Minute:
    """One line of the table."""

    number: int
    seen: Seen
    figures: dict[str, float]
    bytes: int
    files: int  # but for connections
    threads: int


def frames() -> list[bytes]:
    """Recorded speech, in frames of s16le."""
    file = SoundFile(min(SPEECH.glob("*.wav")))
    sound = soxr.resample(file.read(), file.rate, RATE)
    pcm = s16_from_float(np.asarray(sound, np.float32)).tobytes()
    size = 2 * round(FRAME_S * RATE)
    return [pcm[at : at + size] for at in range(0, len(pcm) - size + 1, size)]


class Regular:
    """A client that talks, stalls, is lost, comes back, leaves, and comes again."""

    def __init__(self, url: str, chance: random.Random, seen: list[Seen]) -> None:
        self._url, self._chance, self._seen = url, chance, seen
        self._frames = frames()
        self.over = False

    async def live(self) -> None:
        """Until `over`."""
        secret = ""
        while not self.over:
            start = Start(
                voice="starter",
                sample_rate=RATE,
                encoding="s16le",
                profile="low",
                resume=secret or None,
            )
            secret = ""
            try:
                async with Wire(self._url).open() as wire, open_link(wire.url, start) as link:
                    self._now("resumed" if link.ready.resumed else "began")
                    secret = await self._talk(link, wire)
            except LinkError as error:
                self._now("refused" if error.code == "overloaded" else f"error {error}")
            await asyncio.sleep(self._chance.uniform(0.5, 5.0))

    async def _talk(self, link: VoiceLink, wire: Wire) -> str:
        """For a while; the secret to come back with, if the connection is to break."""
        hearing = asyncio.create_task(self._hear(link))
        stalls = self._chance.random() < 0.2
        until = time.monotonic() + self._chance.uniform(20.0, 80.0)
        try:
            await self._say(link, until)
            if stalls and not self.over:
                await asyncio.sleep(self._chance.uniform(0.5, 5.0))
                self._now("stalled")
                await self._say(link, time.monotonic() + 10.0)
            if self._chance.random() < 0.3 and not self.over:
                self._now("lost")
                hearing.cancel()
                wire.tear()
                return link.ready.resume if self._chance.random() < 0.7 else ""
            await link.stop()
            await asyncio.wait_for(asyncio.shield(hearing), 30.0)
            return ""
        finally:
            hearing.cancel()
            with suppress(asyncio.CancelledError, LinkError):
                await hearing

    async def _say(self, link: VoiceLink, until: float) -> None:
        begun, first, k = time.monotonic(), link.position, 0
        self._due = begun - first / RATE
        while not self.over and time.monotonic() < until:
            k += 1
            await asyncio.sleep(max(0.0, begun + FRAME_S * k - time.monotonic()))
            await link.send(self._frames[k % len(self._frames)])

    async def _hear(self, link: VoiceLink) -> None:
        hop_s = link.ready.hop_samples / RATE
        misses = 0
        async for event in link.events():
            seen = self._seen[-1]
            if isinstance(event, AudioFrame):
                samples = event.samples("s16le")
                seen.tally["heard"] += samples
                seen.tally["concealed"] += samples if Flag.CONCEALED in event.flags else 0
                due = self._due + (event.position + samples) / RATE
                seen.delays.append(time.monotonic() - due)
            elif isinstance(event, Stats):
                seen.loads.append(event.compute_ms.p99 / 1e3 / hop_s)
                seen.tally["late"] += event.deadline_misses - misses
                seen.tally["hops"] += round(1.0 / hop_s)
                misses = event.deadline_misses
            elif isinstance(event, Stopped):
                self._now("stopped")

    def _now(self, what: str) -> None:
        self._seen[-1].tally[what] += 1


async def fitting(server: Served, most: int) -> int:
    """How many streams the server takes until it refuses, or is late, or `most`."""
    seen = [Seen()]
    regulars = [Regular(server.url, random.Random(k), seen) for k in range(most)]
    lives: list[asyncio.Task[None]] = []
    for count, each in enumerate(regulars):
        lives.append(asyncio.create_task(each.live()))
        await asyncio.sleep(SETTLE_S)
        tally = seen[-1].tally
        if tally["refused"] or tally["late"] > MOST_LATE * (tally["hops"] + 50):
            most = count
            break
    for each in regulars:
        each.over = True
    await asyncio.gather(*lives)
    return max(1, most)


async def minutes(server: Served, count: int, streams: int, seed: int) -> AsyncIterator[Minute]:
    """Real minutes with so many clients. Raises `Wrong` when the server breaks its word."""
    chance = random.Random(seed)
    streams = streams or max(1, await fitting(server, 32) // 2)
    seen = [Seen()]
    regulars = [Regular(server.url, random.Random(chance.random()), seen) for _ in range(streams)]
    lives = [asyncio.create_task(each.live()) for each in regulars]
    first: Minute | None = None
    for number in range(1, count + 1):
        seen.append(Seen())
        await asyncio.sleep(MINUTE_S)
        for life in lives:
            if life.done():
                life.result()
        if server.process.poll() is not None:
            raise Wrong("the server ended")
        found = await server.figures()
        files = server.files - round(found["timbral_connections"])
        now = Minute(number, seen[-1], found, server.memory, files, server.threads)
        yield now
        _check(first, now)
        first = now if number == WARM_MINUTES else first
    for each in regulars:
        each.over = True
    await asyncio.gather(*lives)
    await asyncio.sleep(15.0)  # `resume_s`, for those who were lost last, and more
    if await server.streams():
        raise Wrong("places are still taken though all have gone")


def _check(first: Minute | None, now: Minute) -> None:
    tally = now.seen.tally
    errors = [what for what in tally if what.startswith("error")]
    if errors:
        raise Wrong(f"clients were told: {errors}")
    if tally["late"] > MOST_LATE * tally["hops"]:
        raise Wrong(f"{tally['late']} of {tally['hops']} hops were late")
    if tally["concealed"] > MOST_CONCEALED * tally["heard"]:
        raise Wrong(f"{tally['concealed']} of {tally['heard']} samples were concealed")
    if first is not None and now.bytes > first.bytes + GROWTH_BYTES:
        raise Wrong(f"memory grew from {first.bytes} to {now.bytes} bytes")
    if first is not None and now.files > first.files + 2:
        raise Wrong(f"files grew from {first.files} to {now.files}")
    if first is not None and now.threads > first.threads + GROWTH_THREADS:
        raise Wrong(f"threads grew from {first.threads} to {now.threads}")


COLUMNS = (
    *("minute", "streams", "began", "resumed", "lost", "refused", "step p99 / hop"),
    *("delay p50 / p99 ms", "late", "concealed", "ladder", "lag ms", "MB", "files", "threads"),
)


def row(minute: Minute) -> str:
    """A line of the table."""
    tally, figures = minute.seen.tally, minute.figures
    p50, p99 = 1e3 * np.percentile(minute.seen.delays or [0.0], (50, 99))
    places = sum(value for name, value in figures.items() if "client_streams{" in name)
    level = max((v for name, v in figures.items() if "degradation_level" in name), default=0.0)
    cells = (
        *(minute.number, round(places), tally["began"], tally["resumed"], tally["lost"]),
        tally["refused"],
        f"{float(np.median(minute.seen.loads or [0.0])):.2f}",
        f"{p50:.0f} / {p99:.0f}",
        f"{tally['late'] / max(1, tally['hops']):.2%}",
        f"{tally['concealed'] / max(1, tally['heard']):.2%}",
        f"{level:.0f}",
        f"{1e3 * figures['timbral_loop_lag_seconds']:.0f}",
        f"{minute.bytes / 1e6:.0f}",
        *(minute.files, minute.threads),
    )
    return f"| {' | '.join(map(str, cells))} |"


def real(count: int, streams: int, seed: int) -> AsyncIterator[Minute]:
    """Minutes against a server of their own."""

    async def run() -> AsyncIterator[Minute]:
        with TemporaryDirectory() as home, serving_timbral(Path(home)) as server:
            async for minute in minutes(server, count, streams, seed):
                yield minute

    return run()
