"""`timbral send`: a file through the server at the pace of speech, and what it cost."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clients.link import Event, VoiceLink, clock, open_link
from clients.pressure import pressure
from server.protocol import (
    AudioFrame,
    ControlValues,
    Failure,
    Flag,
    Pong,
    ProfileName,
    Rate,
    Ready,
    Start,
    Stats,
    Stopped,
)
from stream.audio import Audio
from stream.errors import LinkError
from stream.files import SoundFile, writing

BLOCKS_PER_SECOND = 50  # 20 ms, as a sound device gives them
FAST_BLOCKS_PER_SECOND = 10  # a file need not wait for so many answers
STALL = 2.0  # s after which an answer is taken for lost
PATIENCE = 30.0  # s without a word from the server
HEAD_START = 0.05  # s from `ready` to the first sample

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class SendSettings:
    """How a file is sent."""

    server: str = "ws://127.0.0.1:8765"
    voice: str = "starter"
    profile: ProfileName = "auto"
    controls: ControlValues = field(default_factory=ControlValues)
    token: str | None = None
    realtime: bool = True  # False: as fast as the server converts


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one file took. Times are milliseconds."""

    ready: Ready
    stats: Stats | None  # the server's last
    eased: Stats | None  # the last that told of something given up
    seconds: float  # of sound
    took: float  # s
    realtime: bool
    round_trips: Audio  # [pings]
    ends: Audio  # [frames] from capturing a frame's first sample to the frame's arrival
    concealed: int  # samples for which silence came
    missing: int  # samples for which nothing came
    refused: tuple[str, ...]  # what the server said was wrong, none of it fatal

    @property
    def algorithmic(self) -> float:
        """The delay that a machine of any speed has."""
        return 1000 * self.ready.latency_samples / self.ready.sample_rate

    def table(self) -> str:
        """The latency budget, as Markdown."""
        rows = [("algorithmic", f"{self.algorithmic:.1f}", "hop, look-ahead and filters")]
        if self.stats:
            compute = self.stats.compute_ms
            figures = f"{compute.p50:.1f} / {compute.p95:.1f} / {compute.p99:.1f}"
            rows += [
                ("compute p50 / p95 / p99", figures, f"a hop, RTF {self.stats.rtf:.2f}"),
                ("queue", f"{self.stats.queue_ms:.1f}", "waiting for a free core"),
            ]
        if len(self.round_trips):
            rows.append(("network", f"{np.median(self.round_trips):.1f}", "there and back"))
        if self.realtime and len(self.ends):
            p50, p95 = np.percentile(self.ends, [50, 95])
            told = "from a frame's first sample to its conversion's arrival"
            rows.append(("end to end p50 / p95", f"{p50:.1f} / {p95:.1f}", told))
        rows = [("latency", "ms", "what it is"), ("-" * 23, "-" * 19 + ":", "---"), *rows]
        return "\n".join(f"| {name:23} | {value:>20} | {why} |" for name, value, why in rows)

    def summary(self) -> str:
        """One line: what ran, how long, and what was lost."""
        misses = self.stats.deadline_misses if self.stats else 0
        rate = self.ready.sample_rate
        busy = f". {pressure(self.ready, self.eased)}" if self.eased else ""
        return (
            f"{self.seconds:.1f} s in {self.took:.1f} s, voice {self.ready.voice} on "
            f"{self.ready.provider}, deadline misses {misses}, silenced "
            f"{self.concealed / rate:.2f} s, lost {self.missing / rate:.2f} s{busy}"
        )


def send_file(
    source: Path, target: Path, settings: SendSettings, progress: Progress | None = None
) -> Report:
    """Send `source`, write what comes back to `target`: as long, sample by sample in its place.

    `progress` is told how many samples came back, and of how many. Raises `AudioError`,
    `ConfigError` and `LinkError`; `target` is then as it was.
    """
    file = SoundFile(source)
    with writing(target, file.rate, source) as out:
        sound = file.read()
        try:
            heard, report = asyncio.run(_converse(sound, file.rate, settings, progress))
        except LinkError as error:
            if not error.retry_s:
                raise
            text = f"{error} Try again in {error.retry_s:g} s."
            raise LinkError(text, error.code, error.retry_s) from error
        out.write(heard)
    return report


async def _converse(
    sound: Audio, rate: int, settings: SendSettings, progress: Progress | None
) -> tuple[Audio, Report]:
    start = Start(
        voice=settings.voice,
        sample_rate=_as_rate(rate),
        encoding="f32le",
        profile=settings.profile,
        controls=settings.controls,
        token=settings.token,
    )
    async with open_link(settings.server, start) as link:
        begun = clock()
        listener = Listener(link.ready, len(sound), begun + HEAD_START, progress)
        speak = _speak_live if settings.realtime else _speak_fast
        speaking = asyncio.create_task(speak(link, sound, listener), name="speak")
        try:
            await _listen(link, listener)
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)
        return listener.heard, listener.report(clock() - begun, settings.realtime)


def _as_rate(rate: int) -> Rate:
    return Start.model_validate({"voice": "any", "sample_rate": rate}).sample_rate


async def _speak_live(link: VoiceLink, sound: Audio, listener: "Listener") -> None:
    """Send each block when its last sample would have been captured, then stop."""
    rate = link.ready.sample_rate
    for start, part in _blocks(sound, rate // BLOCKS_PER_SECOND):
        await asyncio.sleep(listener.zero + (start + len(part)) / rate - clock())
        await _send(link, start, part)
    await link.stop()


async def _speak_fast(link: VoiceLink, sound: Audio, listener: "Listener") -> None:
    """Send each block when what came before is back, so that a slow server is never late."""
    rate = link.ready.sample_rate
    for start, part in _blocks(sound, rate // FAST_BLOCKS_PER_SECOND):
        await listener.reaches(start - link.ready.latency_samples)
        await _send(link, start, part)
    await link.stop()


def _blocks(sound: Audio, size: int) -> Iterator[tuple[int, Audio]]:
    for start in range(0, len(sound), size):
        yield start, sound[start : start + size]


async def _send(link: VoiceLink, start: int, part: Audio) -> None:
    if start % link.ready.sample_rate == 0:
        await link.ping()
    await link.send(part.astype("<f4").tobytes(), start)


async def _listen(link: VoiceLink, listener: "Listener") -> None:
    events = link.events()
    while not listener.over:
        try:
            event = await asyncio.wait_for(anext(events), PATIENCE)
        except asyncio.TimeoutError:
            raise LinkError(f"The server has said nothing for {PATIENCE:g} s.") from None
        listener.hear(event, clock())


class Listener:
    """Puts what comes back into its place and notes when it came. No sockets, no clock.

    zero   when sample 0 was captured, s
    heard  [length] what came back; silence where nothing did
    """

    def __init__(self, ready: Ready, length: int, zero: float, progress: Progress | None) -> None:
        self.zero = zero
        self.heard: Audio = np.zeros(length, np.float32)
        self.over = False
        self._ready = ready
        self._progress = progress
        self._reached = 0  # the position after the last sample that came
        self._news = asyncio.Event()
        self._got = np.zeros(length, np.bool_)
        self._concealed = 0
        self._stats: Stats | None = None
        self._eased: Stats | None = None
        self._round_trips: list[float] = []
        self._ends: list[float] = []
        self._refused: list[str] = []

    def hear(self, event: Event, now: float) -> None:
        """Take the next event, which arrived at `now`."""
        match event:
            case AudioFrame():
                self._place(event, now)
            case Stats():
                self._stats = event
                self._eased = event if event.eased else self._eased
            case Pong(t=t):
                self._round_trips.append(1000 * (now - t))
            case Failure(message=message):
                self._refused.append(message)
            case Stopped():
                self.over = True
            case _:
                pass

    async def reaches(self, position: int) -> None:
        """Wait until all before `position` is back, or is not to be expected any more."""
        while self._reached < position:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), STALL)
            except asyncio.TimeoutError:
                return

    def report(self, took: float, realtime: bool) -> Report:
        """What was noted, `took` seconds after the beginning."""
        return Report(
            ready=self._ready,
            stats=self._stats,
            eased=self._eased,
            seconds=len(self.heard) / self._ready.sample_rate,
            took=took,
            realtime=realtime,
            round_trips=np.array(self._round_trips, np.float32),
            ends=np.array(self._ends, np.float32),
            concealed=self._concealed,
            missing=int(len(self._got) - np.count_nonzero(self._got)),
            refused=tuple(self._refused),
        )

    def _place(self, frame: AudioFrame, now: float) -> None:
        samples = np.frombuffer(frame.pcm, "<f4")
        end = frame.position + len(samples)
        if end > len(self.heard):
            raise LinkError(f"The server sent sample {end - 1} of {len(self.heard)}.")
        self.heard[frame.position : end] = samples
        self._got[frame.position : end] = True
        if frame.flags & Flag.CONCEALED:
            self._concealed += len(samples)
        self._ends.append(1000 * (now - self.zero - frame.position / self._ready.sample_rate))
        self._reached = max(self._reached, end)
        self._news.set()
        if self._progress:
            self._progress(end, len(self.heard))
