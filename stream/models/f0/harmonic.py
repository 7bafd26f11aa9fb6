"""A pitch detector of our own: where the harmonics of a spectrum fall into line."""

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.audio import ANALYSIS_RATE, CONTENT_HOP, FRAME_HOP, FRAMES_PER_CONTENT, Audio
from stream.device import CPU, Device
from stream.models.f0.detector import (
    FAINT,
    HIGHEST_HZ,
    LOWEST_HZ,
    check_window,
    hold_newest,
)
from stream.models.onnx import OnnxModel

SHORT, LONG = 1024, 1600  # samples of a spectrum: 64 and 100 ms
FFT = 2048
EARLIER, LATER = 2, 2  # short spectra, 10 ms apart, before and after that of a pair's first frame
SPECTRA = EARLIER + 1 + LATER + 1  # and a long one around the middle of the pair
OCTAVE = 36  # steps of a third of a semitone
PITCHES = 168  # steps from FIRST_HZ on: a little more than 50..1100 Hz
FIRST_HZ = 46.0
PARTIALS = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)  # multiples of f0 that the network looks at
SHIFTS = tuple(round(OCTAVE * math.log2(2.0 * partial)) for partial in PARTIALS)  # steps
STEPS = PITCHES + SHIFTS[-1]  # of the logarithmic axis, whose first one is FIRST_HZ / 2

PAST = EARLIER * FRAME_HOP + SHORT // 2  # samples heard before a pair's first centre
FUTURE = (FRAME_HOP + LONG) // 2  # and after it: to the end of 40 ms of look-ahead
LONG_FIRST = PAST + FUTURE - LONG  # where the long spectrum begins


AT_ONCE = 4  # content frames: the arrays of more of them cost more than they save


def _hann(size: int) -> Audio:
    return np.square(np.sin(np.pi * np.arange(size) / size)).astype(np.float32)


_HANN = {size: _hann(size) for size in (SHORT, LONG)}
_HZ = 0.5 * FIRST_HZ * np.exp2(np.arange(STEPS) / OCTAVE)
_PLACE = np.minimum(_HZ * FFT / ANALYSIS_RATE, FFT / 2 - 1e-6)
_BELOW = _PLACE.astype(np.int64)
_SHARE = (_PLACE - _BELOW).astype(np.float32)
_SILENCE = np.float32(1e-12)  # power: below what 16 bits can say
_RANGE = np.float32(8.0)  # half of what is heard below the loudest, log power: 70 dB in all


def log_spectra(short: Audio, long: Audio) -> Audio:
    """Log power on the logarithmic axis, [a + b, STEPS], of sound [a, SHORT] and [b, LONG]."""
    frames = np.zeros((len(short) + len(long), FFT), np.float32)
    np.multiply(short, _HANN[SHORT], out=frames[: len(short), :SHORT])
    np.multiply(long, _HANN[LONG], out=frames[len(short) :, :LONG])
    spectrum = np.fft.rfft(frames)
    power = np.square(spectrum.real) + np.square(spectrum.imag) + _SILENCE
    level = np.log(power.astype(np.float32))
    below = level.take(_BELOW, axis=1)
    return below + (level.take(_BELOW + 1, axis=1) - below) * _SHARE


def heard(sound: Audio, rows: int) -> Audio:
    """What the network hears of `rows` content frames in a row, [rows, SPECTRA, STEPS], -1..1.

    sound  [PAST + FUTURE + 320 (rows - 1)] or more: from PAST before the first centre on

    The loudest that a content frame hears is 1, whatever the level.
    """
    shorts = FRAMES_PER_CONTENT * (rows - 1) + SPECTRA - 1
    short = sound.take(_places(shorts, FRAME_HOP, SHORT))
    long = sound.take(_places(rows, CONTENT_HOP, LONG) + LONG_FIRST)
    levels = log_spectra(short, long).take(_rows(rows), axis=0)
    loudest = levels.max(axis=(1, 2), keepdims=True)
    return np.maximum((levels - loudest) / _RANGE + np.float32(1.0), np.float32(-1.0))


def _reach(rows: int) -> int:
    """Samples that `rows` content frames in a row hear."""
    return PAST + FUTURE + CONTENT_HOP * (rows - 1)


@lru_cache(maxsize=64)
def _places(count: int, hop: int, size: int) -> NDArray[np.int64]:
    """The places of `count` pieces of `size`, one every `hop`: [count, size]."""
    return hop * np.arange(count)[:, np.newaxis] + np.arange(size)


@lru_cache(maxsize=64)
def _rows(rows: int) -> NDArray[np.int64]:
    """Which spectra, first the short and then the long ones, each content frame hears."""
    short = _places(rows, FRAMES_PER_CONTENT, SPECTRA - 1)
    return np.column_stack([short, short.max() + 1 + np.arange(rows)])


class Harmonic:
    """A small network that learned from SwiftF0 (offline.train.pitch), at a fifth of its cost.

    For the two frames of a content frame it hears five spectra of 64 ms, 10 ms apart, and one of
    100 ms; beyond the newest sample it hears silence. Law: what is committed depends on the audio
    at fixed distances only, bit for bit, however many frames a call has, for each content frame is
    a row of its own; on no more than 40 ms of look-ahead; and on the level not at all.

    What is provisional it only finds where all is heard `together`, as voices want it that say
    what is provisional; else those frames hold the last pitch, and cost nothing.
    """

    VOICED = 0.4  # sureness: voice that is missed is heard more than voice that lasts too long
    PIECE = 64  # content frames of a recording in one pass

    live = True

    def __init__(self, path: Path, device: Device = CPU) -> None:
        self._model = OnnxModel(
            path,
            {"levels": (None, SPECTRA, STEPS)},
            {"octaves": (None, FRAMES_PER_CONTENT), "sure": (None, FRAMES_PER_CONTENT)},
            device=device,
        )

    def window(self, n: int, delay: int) -> int:
        return CONTENT_HOP * (n + delay) - FRAME_HOP // 2 + PAST

    def __call__(self, audio: Audio, n: int, delay: int, *, together: bool = False) -> Audio:
        check_window(self, audio, n, delay)
        rows = n + delay if together else n
        missing = _reach(rows) - len(audio)
        found = self._detect(np.pad(audio, (0, missing)) if missing > 0 else audio, rows)
        if together:
            return hold_newest(found, delay)
        f0 = np.empty(FRAMES_PER_CONTENT * (n + delay), np.float32)
        f0[: len(found)], f0[len(found) :] = found, found[-1]
        return f0

    def detect_file(self, audio: Audio) -> Audio:
        frames = len(audio) // FRAME_HOP
        before = PAST - FRAME_HOP // 2
        padded = np.pad(audio, (before, PAST + FUTURE + CONTENT_HOP * self.PIECE))
        found = [np.zeros(0, np.float32)]
        for first in range(0, len(audio), CONTENT_HOP * self.PIECE):
            sound = padded[first : first + _reach(self.PIECE)]
            found.append(self._detect(sound, self.PIECE))
        return np.concatenate(found)[:frames]

    def _detect(self, sound: Audio, rows: int) -> Audio:
        """f0 [2 rows] of the content frames whose spectra begin where `sound` does."""
        parts = range(0, rows, AT_ONCE)
        levels = [heard(sound[CONTENT_HOP * i :], min(AT_ONCE, rows - i)) for i in parts]
        answer = self._model(levels=np.concatenate(levels))
        octaves, sure = (
            np.asarray(answer[name], np.float32).reshape(-1) for name in ("octaves", "sure")
        )
        f0 = np.exp2(octaves)
        around = sound[PAST - SHORT // 4 :].take(_places(len(f0), FRAME_HOP, SHORT // 2))
        voiced = (sure >= self.VOICED) & (np.abs(around).max(axis=1) >= FAINT)
        voiced &= (f0 >= LOWEST_HZ) & (f0 <= HIGHEST_HZ)
        return np.where(voiced, f0, np.float32(0.0))
