"""Many clients at once, in one light process: the load of `timbral bench --streams`.

    python -m clients.crowd URL --streams 12 --seconds 6 --voice starter --profile low SPEECH

adds one client after another, each with SPEECH (any sound file) in real time, and writes what was
found with each number of them as one line of JSON.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import deque
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import soxr

from clients.link import VoiceLink, open_link
from server.protocol import AudioFrame, Flag, ProfileName, Start, Stats
from stream.audio import s16_from_float
from stream.errors import LinkError
from stream.files import SoundFile

RATE = 48_000
FRAME = RATE // 50  # 20 ms, what browsers and OBS send
SETTLE_S = 1.0  # after a newcomer, before measuring
STEADY_S, MOST_S = 3.0, 15.0  # so long nothing more is given up; so long is waited for that
EMPTY = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Row:
    """What was found with so many streams.

    step_ms     p50, p95, p99 of a hop's conversion: the worst stream's
    hop_ms      how long the worst stream's hop is
    delay_ms    p50, p95, p99 from sending the last sample of a frame to having all of it back
    late        part of the hops that were done too late
    concealed   part of the audio that was concealed or never came, from the newcomer's arrival on
    eased       what the server gave up, in words
    refused     what the server said to the newcomer, when it took no more
    """

    streams: int
    step_ms: tuple[float, float, float] = EMPTY
    hop_ms: float = 0.0
    delay_ms: tuple[float, float, float] = EMPTY
    late: float = 0.0
    concealed: float = 0.0
    eased: str = ""
    refused: str = ""
    client_cpu: float = 0.0  # cores that this process took

    @property
    def in_time(self) -> bool:
        """Whether all streams got all their audio, 99 of 100 hops in time."""
        return not self.refused and self.late < 0.01 and self.concealed == 0.0


@dataclass
class Talker:
    """One client: says frame after frame, each when it is due, and notes what comes back."""

    link: VoiceLink
    frames: list[bytes]
    offset: int
    delays: list[float] = field(default_factory=list)
    heard: int = 0  # samples since measuring began
    concealed: int = 0
    stats: Stats | None = None
    misses: int = 0  # at the beginning of measuring
    gone: str = ""

    async def talk(self) -> None:
        """Until cancelled."""
        sent: deque[tuple[int, float]] = deque()  # where a frame ends, and when it went
        hearing = asyncio.create_task(self._hear(sent))
        begun, k = time.perf_counter(), 0
        try:
            while True:
                k += 1
                await asyncio.sleep(max(0.0, begun + 0.02 * k - time.perf_counter()))
                sent.append((k * FRAME, time.perf_counter()))
                await self.link.send(self.frames[(self.offset + k) % len(self.frames)])
        except LinkError as error:
            self.gone = str(error)
        finally:
            hearing.cancel()
            with suppress(asyncio.CancelledError):
                await hearing

    async def _hear(self, sent: deque[tuple[int, float]]) -> None:
        with suppress(LinkError):
            async for event in self.link.events():
                if isinstance(event, Stats):
                    self.stats = event
                elif isinstance(event, AudioFrame):
                    self._note(event, sent)

    def _note(self, frame: AudioFrame, sent: deque[tuple[int, float]]) -> None:
        now, samples = time.perf_counter(), frame.samples("s16le")
        self.heard += samples
        self.concealed += samples if frame.flags & Flag.CONCEALED else 0
        while sent and sent[0][0] <= frame.position + samples:
            self.delays.append(now - sent.popleft()[1])

    def begin(self) -> None:
        """Measure from now on."""
        self.delays.clear()
        self.heard = self.concealed = 0
        self.misses = self.stats.deadline_misses if self.stats else 0

    @property
    def hop_ms(self) -> float:
        """Milliseconds a hop, as far as the profile in force tells: latency grows with it."""
        known, now = self.link.ready, self.stats
        longer = now.latency_samples - known.latency_samples if now else 0
        return 1000.0 * (known.hop_samples + longer) / RATE


async def crowd(
    url: str, most: int, seconds: float, voice: str, profile: ProfileName, speech: Path
) -> None:
    """Write a row for each number of streams, up to `most` or the first that is refused."""
    frames = _frames(speech)
    start = Start(voice=voice, sample_rate=RATE, encoding="s16le", profile=profile)
    talkers: list[Talker] = []
    tasks: list[asyncio.Task[None]] = []
    async with AsyncExitStack() as stack:
        for count in range(1, most + 1):
            try:
                link = await stack.enter_async_context(open_link(url, start))
            except LinkError as error:
                _write(Row(count, refused=str(error)))
                break
            talkers.append(Talker(link, frames, offset=37 * count))
            tasks.append(asyncio.create_task(talkers[-1].talk()))
            _write(await _measured(talkers, seconds))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _settled(talkers: list[Talker]) -> None:
    """Until the server goes on giving up nothing more, or nothing else."""
    begun = steady = time.perf_counter()
    given_up = {""}
    while (now := time.perf_counter()) - steady < STEADY_S and now - begun < MOST_S:
        await asyncio.sleep(0.25)
        told = {talker.stats.eased for talker in talkers if talker.stats}
        if told != given_up:
            given_up, steady = told, now
        if now - begun >= SETTLE_S and told == {""}:
            return


async def _measured(talkers: list[Talker], seconds: float) -> Row:
    lost = sum(talker.concealed for talker in talkers)
    await _settled(talkers)
    lost = sum(talker.concealed for talker in talkers) - lost
    for talker in talkers:
        talker.begin()
    cpu, begun = time.process_time(), time.perf_counter()
    await asyncio.sleep(seconds)
    took = time.perf_counter() - begun
    cpu = time.process_time() - cpu
    worst = max(talkers, key=lambda t: t.stats.compute_ms.p99 / t.hop_ms if t.stats else 0.0)
    delays = [delay for talker in talkers for delay in talker.delays] or [0.0]
    p50, p95, p99 = (float(v) for v in 1000.0 * np.percentile(delays, (50, 95, 99)))
    hops = sum(1000.0 * took / talker.hop_ms for talker in talkers)
    misses = sum(t.stats.deadline_misses - t.misses for t in talkers if t.stats)
    heard = sum(talker.heard for talker in talkers)
    lost += sum(talker.concealed for talker in talkers)
    lost += sum(max(0, round((took - 1.0) * RATE) - t.heard) for t in talkers)  # never came
    step = worst.stats.compute_ms if worst.stats else None
    gone = next((talker.gone for talker in talkers if talker.gone), "")
    return Row(
        streams=len(talkers),
        step_ms=(step.p50, step.p95, step.p99) if step else EMPTY,
        hop_ms=worst.hop_ms,
        delay_ms=(p50, p95, p99),
        late=misses / hops,
        concealed=lost / max(1, heard),
        eased=worst.stats.eased if worst.stats else "",
        refused=gone,
        client_cpu=cpu / took,
    )


def _frames(speech: Path) -> list[bytes]:
    """The sound as frames of s16le at `RATE`, the last one left out if it is not whole."""
    file = SoundFile(speech)
    sound = soxr.resample(file.read(), file.rate, RATE)
    pcm = s16_from_float(np.asarray(sound, np.float32)).tobytes()
    size = 2 * FRAME
    return [pcm[at : at + size] for at in range(0, len(pcm) - size + 1, size)]


def _write(row: Row) -> None:
    sys.stdout.write(json.dumps({**asdict(row), "in_time": row.in_time}) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Be the crowd."""
    parser = argparse.ArgumentParser(prog="clients.crowd", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("speech", type=Path)
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--voice", required=True)
    parser.add_argument("--profile", required=True)
    told = parser.parse_args()
    asyncio.run(crowd(told.url, told.streams, told.seconds, told.voice, told.profile, told.speech))


if __name__ == "__main__":
    main()
