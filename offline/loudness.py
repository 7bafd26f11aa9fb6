"""How loud music is: integrated loudness by ITU-R BS.1770-4, and true peak.

Both are measured on a stream, in memory that does not grow with it but by 10 numbers a second.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pyloudnorm import IIRfilter
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import lfilter

from offline.sound import facts, pieces
from stream.audio import SILENCE_DB, Audio
from stream.errors import AudioError

SILENT_LUFS = -70.0  # the standard's absolute gate: what is quieter everywhere has no loudness
SEGMENTS = 10  # a second; the standard's blocks are 4 long and begin with every one
BLOCK = 4  # segments
OFFSET = -0.691  # LU, of a K-weighted power of 1
GATE = 0.1  # of the mean power of what passed the absolute gate: 10 LU below it
SHELF = (4.0, 0.5**0.5, 1500.0)  # dB, Q and Hz of the K-weighting's two filters
PASS = (0.0, 0.5, 38.0)
SURROUND = 1.41
WEIGHTS = {  # of channels in the order of WAVE_FORMAT_EXTENSIBLE; the low-frequency one has none
    1: (1.0,),
    2: (1.0, 1.0),
    3: (1.0, 1.0, 1.0),
    4: (1.0, 1.0, SURROUND, SURROUND),
    5: (1.0, 1.0, 1.0, SURROUND, SURROUND),
    6: (1.0, 1.0, 1.0, 0.0, SURROUND, SURROUND),
}
PIECE = 5.0  # seconds read at a time

PHASES = 8  # times the rate at which peaks are looked for
REACH = 64  # samples to either side from which one in between is made
SHAPE = 6.0  # of the Kaiser window
# ITU-R BS.1770-4, annex 2: two of its four phases of 12 taps; the others are their mirror images
STANDARD = """
    0.0017089843750  0.0109863281250 -0.0196533203125  0.0332031250000 -0.0594482421875
    0.1373291015625  0.9721679687500 -0.1022949218750  0.0476074218750 -0.0266113281250
    0.0148925781250 -0.0083007812500
   -0.0291748046875  0.0292968750000 -0.0517578125000  0.0891113281250 -0.1665039062500
    0.4650878906250  0.7797851562500 -0.2003173828125  0.1015625000000 -0.0582275390625
    0.0330810546875 -0.0189208984375
"""
PEAK_BLOCK = 8192  # samples looked between at a time


@dataclass(frozen=True)
class Loudness:
    """How loud a piece of music is."""

    lufs: float  # integrated, LUFS; -70 where there is none
    true_peak_db: float  # dBTP; -120 for silence


class Meter:
    """Integrated loudness of a stream, by ITU-R BS.1770-4.

    The K-weighting is pyloudnorm's. Laws: however the stream is cut, the figure is the same; it is
    `pyloudnorm.Meter.integrated_loudness` of the whole. What is shorter than a block of the
    standard, 0.4 s, is measured as if silence followed.
    """

    def __init__(self, rate: int, channels: int) -> None:
        if channels not in WEIGHTS:
            raise AudioError(f"Loudness is defined for 1 to 6 channels, not {channels}.")
        self._rate = rate
        self._weights = np.array(WEIGHTS[channels])
        kinds = {"high_shelf": SHELF, "high_pass": PASS}
        weighting = [IIRfilter(*numbers, rate, kind) for kind, numbers in kinds.items()]
        self._filters = [(filter.b, filter.a) for filter in weighting]
        self._states = [np.zeros((len(b) - 1, channels)) for b, _ in self._filters]
        self._powers: list[float] = []  # K-weighted energy of each whole segment
        self._open = np.zeros(0)  # of the segment that is not whole yet, by sample
        self._begun = 0  # where it begins

    def step(self, x: Audio) -> None:
        """Hear `x` [n, channels]."""
        if not len(x):
            return  # lfilter would forget its state
        y: NDArray[np.float64] = x.astype(np.float64)
        for i, (b, a) in enumerate(self._filters):
            y, self._states[i] = lfilter(b, a, y, axis=0, zi=self._states[i])
        fresh = np.concatenate([self._open, np.square(y) @ self._weights])
        begin = 0
        while (end := self._ends(len(self._powers)) - self._begun) <= len(fresh):
            self._powers.append(float(fresh[begin:end].sum()))
            begin = end
        self._open = fresh[begin:].copy()
        self._begun += begin

    @property
    def lufs(self) -> float:
        """Of everything heard so far; -70 where nothing is louder than that."""
        powers = np.array(self._powers)
        if len(powers) < BLOCK:
            powers = np.pad(np.append(powers, self._open.sum()), (0, BLOCK))[:BLOCK]
        blocks = sliding_window_view(powers, BLOCK).sum(axis=1) * SEGMENTS / BLOCK / self._rate
        blocks = blocks[blocks > 10.0 ** ((SILENT_LUFS - OFFSET) / 10.0)]
        if not len(blocks):
            return SILENT_LUFS
        loud = blocks[blocks > GATE * blocks.mean()]
        return OFFSET + 10.0 * math.log10(loud.mean())

    def _ends(self, segment: int) -> int:
        return (segment + 1) * self._rate // SEGMENTS


class TruePeak:
    """The highest value that a stream reaches, between its samples as well.

    The highest of two: what the interpolation by 4 of ITU-R BS.1770-4 annex 2 reads, and a longer
    one by 8. Law: however the stream is cut, the figure is the same.
    """

    def __init__(self, channels: int) -> None:
        self._between = Between(PEAK_BLOCK)
        self._open: Audio = np.zeros((2 * REACH - 1, channels), np.float32)
        self._highest = 0.0

    def step(self, x: Audio) -> None:
        """Hear `x` [n, channels]."""
        joined = np.concatenate([self._open, x])
        begin = 0
        while begin + self._between.needs <= len(joined):
            self._hear(joined[begin : begin + self._between.needs])
            begin += PEAK_BLOCK
        self._open = joined[begin:].copy()

    @property
    def db(self) -> float:
        """In dBTP, of everything heard so far, as if silence followed; -120 for silence."""
        before = self._highest
        last = np.pad(self._open, ((0, 2 * self._between.needs), (0, 0)))
        for begin in range(0, len(self._open), PEAK_BLOCK):
            self._hear(last[begin : begin + self._between.needs])
        highest, self._highest = self._highest, before
        return max(SILENCE_DB, 20.0 * math.log10(highest + 1e-30))

    def _hear(self, x: Audio) -> None:
        own = float(np.max(np.abs(x)))
        if own * self._between.most > self._highest:
            self._highest = max(self._highest, own, float(self._between.highest(x).max()))


class Between:
    """Looks between samples as the standard does, and at 8 times the rate by a longer sinc.

    size    samples after which it looks at a time
    needs   samples that it has to see for that: `REACH - 1` before, `REACH` after
    most    by what factor a value between samples can be higher than the highest sample
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.needs = size + 2 * REACH - 1
        taps = _interpolation().astype(np.float32)
        self.most = float(np.max(np.abs(taps).sum(axis=0)))
        self._length = next_fast_len(self.needs, real=True)
        self._filters = np.asarray(rfft(taps.T[:, ::-1], self._length))

    def highest(self, x: Audio) -> Audio:
        """Of `x` [needs, channels], the highest absolute value in any channel, [size].

        Between sample `REACH - 1` and the next one, and so on.
        """
        spectra = np.asarray(rfft(np.ascontiguousarray(x.T), self._length))
        values = np.asarray(irfft(spectra[:, None] * self._filters, self._length))
        return np.max(np.abs(values[..., 2 * REACH - 1 : self.needs]), axis=(0, 1))


def measure(path: Path) -> Loudness:
    """Loudness and true peak of a file. Raises `AudioError`."""
    found = facts(path)
    return measured(pieces(path, PIECE), found.rate, found.channels)


def measured(blocks: Iterable[Audio], rate: int, channels: int) -> Loudness:
    """Loudness and true peak of blocks [n, channels] at `rate` Hz. Raises `AudioError`."""
    meter, peak = Meter(rate, channels), TruePeak(channels)
    for block in blocks:
        meter.step(block)
        peak.step(block)
    return Loudness(meter.lufs, peak.db)


def _interpolation() -> NDArray[np.float64]:
    """[2 * REACH, values]: sinc under a Kaiser window, with the sum 1, and the standard's taps."""
    times = np.arange(1 - REACH, REACH + 1)[:, None] - np.arange(1, PHASES) / PHASES
    window = np.i0(SHAPE * np.sqrt(1.0 - np.square(times / (REACH + 1))))
    taps = np.sinc(times) * window
    phases = np.array(STANDARD.split(), np.float64).reshape(2, -1)
    standard = np.concatenate([phases, phases[:, ::-1]]).T
    around = REACH - len(standard) // 2
    return np.hstack([taps / taps.sum(axis=0), np.pad(standard, ((around, around), (0, 0)))])
