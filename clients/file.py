"""`timbral send`: a file through the server at the pace of speech, and what it cost."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clients.link import Event, VoiceLink, clock, open_link
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
    realtime: bool = True  # False: as fast as the server takes it


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one file took. Times are milliseconds."""

    ready: Ready
    stats: Stats | None  # the server's last
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
        lines = [f"| {name:23} | {value:>20} | {why} |" for name, value, why in rows]
        return "\n".join([f"| {'latency':23} | {'ms':>20} | what it is |", "|---|--:|---|", *lines])

    def summary(self) -> str:
        """One line: what ran, how long, and what was lost."""
        misses = self.stats.deadline_misses if self.stats else 0
        rate = self.ready.sample_rate
        return (
            f"{self.seconds:.1f} s in {self.took:.1f} s, voice {self.ready.voice} on "
            f"{self.ready.provider}, deadline misses {misses}, silenced "
            f"{self.concealed / rate:.2f} s, lost {self.missing / rate:.2f} s"
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
        heard, report = asyncio.run(_converse(sound, file.rate, settings, progress))
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
        speaking = asyncio.create_task(
            _speak(link, sound, listener.zero if settings.realtime else None), name="speak"
        )
        try:
            await _listen(link, listener)
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)
        return listener.heard, listener.report(clock() - begun, settings.realtime)


def _as_rate(rate: int) -> Rate:
    return Start.model_validate({"voice": "any", "sample_rate": rate}).sample_rate


async def _speak(link: VoiceLink, sound: Audio, zero: float | None) -> None:
    """Send `sound` in blocks, each when its last sample would have been captured, then stop.

    Without `zero`, the time of the first sample, the server alone sets the pace.
    """
    rate = link.ready.sample_rate
    block = rate // BLOCKS_PER_SECOND
    for start in range(0, len(sound), block):
        part = sound[start : start + block]
        if zero is not None:
            await asyncio.sleep(zero + (start + len(part)) / rate - clock())
        if start % rate == 0:
            await link.ping()
        await link.send(part.astype("<f4").tobytes(), start)
    await link.stop()


async def _listen(link: VoiceLink, listener: "Listener") -> None:
    events = link.events()
    while not listener.over:
        try:
            event = await asyncio.wait_for(anext(events), PATIENCE)
        except asyncio.TimeoutError:
            raise LinkError(f"The server has said nothing for {PATIENCE:g} s.") from None
        listener.hear(event, clock())


class Listener:
    """Puts what comes back into its place and notes when it came. No sockets, no clock."""

    def __init__(self, ready: Ready, length: int, zero: float, progress: Progress | None) -> None:
        self.zero = zero  # when sample 0 was captured, s
        self.heard: Audio = np.zeros(length, np.float32)
        self.over = False
        self._ready = ready
        self._progress = progress
        self._got = np.zeros(length, np.bool_)
        self._concealed = 0
        self._stats: Stats | None = None
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
            case Pong(t=t):
                self._round_trips.append(1000 * (now - t))
            case Failure(message=message):
                self._refused.append(message)
            case Stopped():
                self.over = True
            case _:
                pass

    def report(self, took: float, realtime: bool) -> Report:
        """What was noted, `took` seconds after the beginning."""
        return Report(
            ready=self._ready,
            stats=self._stats,
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
        if self._progress:
            self._progress(end, len(self.heard))
