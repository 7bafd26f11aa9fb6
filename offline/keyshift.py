"""Music in another key: higher or lower at the same tempo.

python-stretch (Signalsmith Stretch, MIT) moves everything, as instruments want it. For what is sung
the resonances are put back: the spectrum's envelope of the shifted sound is replaced by that of
the sound that was given.
"""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from offline.envelope import Envelope
from offline.sound import facts, pieces, writing
from offline.stage import through
from stream.audio import Audio
from stream.errors import ConfigError

Progress = Callable[[int, int], None]
WIDEST = 24.0  # semitones
PIECE_S = 100.0  # seconds that are shifted at once
AROUND_S = 1.0  # heard on both sides of a piece beside it
FADE_S = 0.04  # seconds of a join
SEEK_S = 0.6  # to both sides: where a join may lie
READ_S = 5.0  # seconds read at a time


def shift(
    source: Path,
    target: Path,
    semitones: float,
    keep_formants: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write `source`, `semitones` higher, to `target`: as long, with its tags, and in its place.

    keep_formants   put the resonances back where they were: for voices

    Memory does not grow with the file. `progress` is told how many samples are done, and of how
    many. Raises `AudioError` and `ConfigError`; `target` is then as it was.
    """
    found = facts(source)
    shifter = Shifter(found.rate, found.channels, semitones, keep_formants)
    done = 0
    with writing(target, found.rate, found.channels, tags=found.tags, source=source) as out:
        for block in through(shifter, pieces(source, READ_S)):
            out.write(block)
            done += len(block)
            if progress:
                progress(done, max(done, found.frames))


class Shifter:
    """The stage that does it.

    Laws: 0 semitones is the sound itself, bit for bit; the output is as long as the input, and a
    click stays where it was. What is longer than 100 s is shifted in overlapping pieces; two are
    joined where they agree best, by a fade that keeps the power, so that no join is heard.
    """

    def __init__(self, rate: int, channels: int, semitones: float, keep_formants: bool) -> None:
        if not -WIDEST <= semitones <= WIDEST:
            raise ConfigError(f"A shift is -24 to 24 semitones, not {semitones:g}.")
        self._rate = rate
        self._channels = channels
        self._envelope = Envelope(rate, 2.0 ** (semitones / 12.0)) if keep_formants else None
        self._moving = semitones != 0.0
        self._stretch: Any = None
        if self._moving:
            self._stretch = _python_stretch().Signalsmith.Stretch(0)
            self._stretch.preset(channels, float(rate))
            self._stretch.setTransposeSemitones(semitones, 0.0)
        self._piece = round(PIECE_S * rate)
        self._around = round(AROUND_S * rate)
        self._heard: list[Audio] = []
        self._have = 0
        self._tail = np.zeros((0, channels), np.float32)  # shifted already, to be joined

    def step(self, x: Audio) -> Audio:
        """See `Stage`."""
        if not self._moving:
            return x
        self._heard.append(x)
        self._have += len(x)
        parts = [x[:0]]
        while self._have >= self._piece + 2 * self._around:
            joined = np.concatenate(self._heard)
            parts.append(self._shifted(joined[: self._piece + 2 * self._around], last=False))
            self._heard = [joined[self._piece :].copy()]
            self._have -= self._piece
        return np.concatenate(parts)

    def flush(self) -> Audio:
        """See `Stage`."""
        if not self._have:
            return np.zeros((0, self._channels), np.float32)
        return self._shifted(np.concatenate(self._heard), last=True)

    def _shifted(self, x: Audio, *, last: bool) -> Audio:
        """The piece `x`, which overlaps the one before by `2 * around`: what is ready of it."""
        y: Audio = self._stretch.process(np.ascontiguousarray(x.T)).T
        if self._envelope:
            y = self._envelope.put_back(x, y)
        if len(self._tail):
            y = self._joined(self._tail, y)
        ready = len(y) if last else self._piece
        self._tail = y[ready:].copy()
        return np.ascontiguousarray(y[:ready])

    def _joined(self, old: Audio, new: Audio) -> Audio:
        """`new`, with what `old` has of its beginning up to where the two agree best."""
        size = round(FADE_S * self._rate)
        seek = round(SEEK_S * self._rate)
        begin, end = self._around - seek, self._around + seek
        differ = np.square(old - new[: len(old)], dtype=np.float64).sum(axis=1)[begin:end]
        sums = np.concatenate([[0.0], np.cumsum(differ)])
        at = begin + int(np.argmin(sums[size:] - sums[:-size]))
        fade = slice(at, at + size)
        both = _blended(old[fade], new[fade])
        return np.concatenate([old[:at], both, new[at + size :]])


def _blended(old: Audio, new: Audio) -> Audio:
    """From one to the other, [n, channels], at even power, however alike they are.

    With the angle t from 0 to 90 degrees and their correlation r, the shares cos t and sin t, both
    divided by sqrt(1 + r sin 2t), keep the power.
    """
    across = float(np.sum(old * new, dtype=np.float64))
    powers = np.sum(np.square(old, dtype=np.float64)) * np.sum(np.square(new, dtype=np.float64))
    alike = max(0.0, across / np.sqrt(powers)) if powers > 0.0 else 1.0
    angle = 0.5 * np.pi * (np.arange(len(old)) + 0.5) / len(old)
    even = np.sqrt(1.0 + alike * np.sin(2.0 * angle))
    shares = np.stack([np.cos(angle), np.sin(angle)]) / even
    return (old * shares[0][:, None] + new * shares[1][:, None]).astype(np.float32)


def _python_stretch() -> ModuleType:
    try:
        import python_stretch
    except ImportError as error:
        raise ConfigError(
            "To change the key, python-stretch is needed: pip install python-stretch. Where it has "
            "no wheel, as on Linux on ARM, that needs a C++ compiler."
        ) from error
    return python_stretch
