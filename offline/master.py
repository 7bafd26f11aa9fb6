"""The end of a mix: its sum, kept as floats, is played again until it is as loud as wanted."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO

import numpy as np

from offline.limiter import Limiter
from offline.loudness import SILENT_LUFS, Loudness, Meter, TruePeak
from offline.stage import through
from stream.audio import Audio, gain

PIECE_S = 5.0  # seconds played at a time
CLOSE_LU = 0.05  # nearer to the wanted loudness no further pass is tried
PASSES = 8  # at most, to find the gain
STRIDE_DB = 6.0  # the most by which the gain changes between two
FLATTEST = 0.1  # LU by dB: below that, more gain hardly makes it louder


@dataclass
class Steps:
    """Tells how far a piece of work is whose length grows with the passes that it takes."""

    tell: Callable[[int, int], None] | None
    all: int = 0
    done: int = field(default=0, init=False)

    def expect(self, samples: int) -> None:
        """So many more are to come."""
        self.all += samples

    def step(self, samples: int) -> None:
        """So many more are done."""
        self.done += samples
        if self.tell:
            self.tell(self.done, max(self.all, self.done))


@dataclass(frozen=True)
class Played:
    """What a take was when it was played."""

    heard: Loudness
    reduction_db: float  # the most that the limiter took away
    highest: float  # sample


class Take:
    """A recording of floats in a file that belongs to it.

    file  open for reading and writing, empty; it holds 4 bytes a sample
    """

    def __init__(self, file: IO[bytes], rate: int, channels: int) -> None:
        self._file = file
        self.rate = rate
        self.channels = channels
        self.frames = 0

    def record(self, blocks: Iterable[Audio], steps: Steps) -> Loudness:
        """Keep `blocks` [n, channels], all there are, and tell how loud they are together."""
        meter, peak = Meter(self.rate, self.channels), TruePeak(self.channels)
        for block in blocks:
            self._file.write(np.ascontiguousarray(block, np.float32).tobytes())
            self.frames += len(block)
            meter.step(block)
            peak.step(block)
            steps.step(len(block))
        return Loudness(meter.lufs, peak.db)

    def gain_for(self, lufs: float, raw: Loudness, ceiling_db: float | None, steps: Steps) -> float:
        """The gain in dB with which it is as loud as wanted, limited.

        Where the limiter has nothing to do this is the difference itself; else it is found by the
        secant method, a pass over everything for each try. Silence is not made louder.
        """
        if raw.lufs <= SILENT_LUFS:
            return 0.0
        tried = lufs - raw.lufs
        if ceiling_db is None or raw.true_peak_db + tried <= ceiling_db:
            return tried
        before, level = 0.0, raw.lufs
        for _ in range(PASSES):
            steps.expect(self.frames)
            now = self.play(tried, ceiling_db, steps).heard.lufs
            if abs(now - lufs) < CLOSE_LU:
                break
            slope = (now - level) / (tried - before) if tried != before else 1.0
            stride = (lufs - now) / min(max(slope, FLATTEST), 1.0)
            before, level = tried, now
            tried += min(max(stride, -STRIDE_DB), STRIDE_DB)
        return tried

    def play(
        self,
        gain_db: float,
        ceiling_db: float | None,
        steps: Steps,
        write: Callable[[Audio], None] | None = None,
    ) -> Played:
        """All of it, louder by `gain_db`, limited where there is a ceiling, into `write`.

        The true peak is looked for only where something is written.
        """
        limiter = None if ceiling_db is None else Limiter(self.rate, self.channels, ceiling_db)
        meter, peak = Meter(self.rate, self.channels), TruePeak(self.channels)
        highest = 0.0
        for block in self._limited(gain(gain_db), limiter, steps):
            meter.step(block)
            if write:
                peak.step(block)
                highest = max(highest, float(np.max(np.abs(block))))
                write(block)
        taken = limiter.reduction_db if limiter else 0.0
        return Played(Loudness(meter.lufs, peak.db), taken, highest)

    def _limited(self, factor: float, limiter: Limiter | None, steps: Steps) -> Iterator[Audio]:
        louder = (block * np.float32(factor) for block in self._blocks(steps))
        return louder if limiter is None else through(limiter, louder)

    def _blocks(self, steps: Steps) -> Iterator[Audio]:
        self._file.seek(0)
        size = round(PIECE_S * self.rate) * self.channels * 4
        while held := self._file.read(size):
            block = np.frombuffer(held, np.float32).reshape(-1, self.channels)
            yield block
            steps.step(len(block))
