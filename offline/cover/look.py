"""What a report shows of a sound: its shape, its spectrum, its loudness, and whether it clips."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.fft import rfft

from offline.cover.plan import Progress
from offline.loudness import Meter, TruePeak
from offline.mel import mel_filters
from offline.sound import facts, pieces, writing
from stream.audio import SILENCE_DB, Audio

PIECE_SECONDS = 5.0
COLUMNS = 720  # at most, of pictures and curves: one a pixel
SHORTEST = 0.02  # seconds of a column
WINDOW, BANDS = 2048, 96  # samples of a spectrum, and its mel bands
CLIPPED = 1.0  # a sample this high or higher is cut off by most formats
FIGURES, PICTURES, SOUND = "look.json", "look.npz", "listen.ogg"
FLOOR = 10.0 ** (SILENCE_DB / 10.0)


@dataclass(frozen=True)
class Figures:
    """What was measured: s, Hz, LUFS, dBTP, dBFS, and how many samples are full scale or more.

    column  s of the sound that each column of its pictures shows
    """

    seconds: float
    rate: int
    channels: int
    lufs: float
    true_peak_db: float
    peak_db: float
    clipped: int
    column: float


@dataclass(frozen=True)
class Look:
    """A sound as a report shows it, in columns.

    lowest, highest [n]  of all channels' samples
    level [n]            dBFS
    spectrum [bands, n]  dB of full scale in mel bands up to half the rate, the lowest first
    sound                to listen to, small; None where there is none
    """

    figures: Figures
    lowest: Audio
    highest: Audio
    level: Audio
    spectrum: Audio
    sound: Path | None

    @property
    def times(self) -> Audio:
        """The columns' centres in s, [n]."""
        return (np.arange(len(self.level)) + 0.5) * self.figures.column


def look(
    path: Path, folder: Path, progress: Progress | None = None, *, listen: bool = True
) -> Look:
    """Look at a file; what is found goes into `folder`, for `looked`, with a copy to listen to.

    `progress` is told samples. Laws: the figures are those of the whole file, sample by sample;
    memory does not grow with it. Raises `AudioError`.
    """
    found = facts(path)
    total = found.frames or sum(len(piece) for piece in pieces(path, PIECE_SECONDS))
    seen = _Seen(found.rate, found.channels, total)
    if listen:
        with writing(folder / SOUND, found.rate, found.channels) as out:
            for piece in pieces(path, PIECE_SECONDS):
                out.write(np.clip(piece, -1.0, 1.0))
                seen.step(piece)
                if progress:
                    progress(seen.frames, max(seen.frames, total))
    else:
        for piece in pieces(path, PIECE_SECONDS):
            seen.step(piece)
    figures, pictures = seen.told()
    (folder / FIGURES).write_text(json.dumps(asdict(figures)), "utf-8")
    np.savez(folder / PICTURES, allow_pickle=False, **pictures)
    return looked(folder)


def looked(folder: Path) -> Look:
    """What `look` put into `folder`."""
    figures = Figures(**json.loads((folder / FIGURES).read_text("utf-8")))
    with np.load(folder / PICTURES, allow_pickle=False) as file:
        kept = {name: file[name] for name in file.files}
    sound = folder / SOUND
    return Look(
        figures,
        kept["lowest"],
        kept["highest"],
        kept["level"],
        kept["spectrum"],
        sound if sound.is_file() else None,
    )


class _Seen:
    """Hears a file piece by piece."""

    def __init__(self, rate: int, channels: int, total: int) -> None:
        self.rate, self.channels, self.frames = rate, channels, 0
        self._size = max(round(SHORTEST * rate), math.ceil(total / COLUMNS), 1)
        columns = -(-max(total, 1) // self._size)
        self._meter, self._peak = Meter(rate, channels), TruePeak(channels)
        self._lowest = np.zeros(columns, np.float32)
        self._highest = np.zeros(columns, np.float32)
        self._power, self._many = np.zeros(columns), np.zeros(columns)
        self._bands, self._spectra = np.zeros((BANDS, columns)), np.zeros(columns)
        self._filters = mel_filters(rate, WINDOW, BANDS)
        self._hann = np.hanning(WINDOW + 2)[1:-1].astype(np.float32)
        self._open = np.zeros(0, np.float32)  # not in a spectrum yet
        self._clipped = 0

    def step(self, x: Audio) -> None:
        self._meter.step(x)
        self._peak.step(x)
        y = np.ascontiguousarray(x.T)
        self._clipped += int(np.count_nonzero(np.abs(y) >= CLIPPED))
        first, at = _runs(self._column(self.frames + np.arange(len(x))))
        low = np.minimum.reduceat(y.min(axis=0), first)
        high = np.maximum.reduceat(y.max(axis=0), first)
        self._lowest[at] = np.minimum(self._lowest[at], low)
        self._highest[at] = np.maximum(self._highest[at], high)
        power = np.square(y, dtype=np.float64).mean(axis=0)
        self._power[at] += np.add.reduceat(power, first)
        self._many[at] += np.diff(np.append(first, len(x)))
        self._look(y.mean(axis=0))
        self.frames += len(x)

    def _look(self, x: Audio) -> None:
        begun = self.frames - len(self._open)
        heard = np.concatenate([self._open, x])
        hop = WINDOW // 2
        count = max(0, (len(heard) - WINDOW) // hop + 1)
        if count:
            windows = np.lib.stride_tricks.sliding_window_view(heard, WINDOW)[::hop]
            scale = 2.0 / float(self._hann.sum())
            power = np.square(np.abs(np.asarray(rfft(windows * self._hann))) * scale)
            first, at = _runs(self._column(begun + np.arange(count) * hop + hop))
            self._bands[:, at] += np.add.reduceat(self._filters @ power.T, first, axis=1)
            self._spectra[at] += np.diff(np.append(first, count))
        self._open = heard[count * hop :]

    def _column(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.minimum(samples // self._size, len(self._power) - 1)

    def told(self) -> tuple[Figures, dict[str, Audio]]:
        highest = max(float(self._highest.max()), -float(self._lowest.min()))
        figures = Figures(
            seconds=self.frames / self.rate,
            rate=self.rate,
            channels=self.channels,
            lufs=self._meter.lufs,
            true_peak_db=self._peak.db,
            peak_db=20.0 * math.log10(max(highest, 10.0 ** (SILENCE_DB / 20.0))),
            clipped=self._clipped,
            column=self._size / self.rate,
        )
        n = max(1, min(len(self._power), -(-self.frames // self._size)))
        level = 10.0 * np.log10(self._power / np.maximum(self._many, 1.0) + FLOOR)[:n]
        spectrum = 10.0 * np.log10(self._bands / np.maximum(self._spectra, 1.0) + FLOOR)
        empty = self._spectra[:n] == 0.0  # a column between two windows shows the one before
        before = np.maximum.accumulate(np.where(empty, 0, np.arange(len(empty))))
        return figures, {
            "lowest": self._lowest[:n],
            "highest": self._highest[:n],
            "level": level.astype(np.float32),
            "spectrum": spectrum[:, before].astype(np.float32),
        }


def _runs(columns: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where in the rising `columns` [n] a new one begins, and which one."""
    first = np.flatnonzero(np.diff(columns, prepend=-1))
    return first, columns[first]
