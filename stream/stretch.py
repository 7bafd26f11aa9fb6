"""Formant shift: speak at another tempo, then play at another speed."""

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]


class Stretch:
    """Which frames are said how often, so that playing them faster or slower keeps the time.

    A voice that speaks `factor` times as slowly, at a pitch `factor` times as low, and is played
    `factor` times as fast, has the pitch and the tempo that were wanted; only its resonances have
    moved, by `factor`. RVC's formant shift does the same behind its flow.

    semitones  by which the resonances move
    hop        samples of a 10 ms frame at the voice's rate

    The factor is the nearest for which a frame of `hop` samples, played `factor` times as fast,
    comes from a whole number of samples: within 4 cents for 24 kHz and more. A frame of either
    kind, counted from one start, holds what the other has at the same time.
    """

    def __init__(self, semitones: float, hop: int) -> None:
        self.semitones = semitones
        self._hop = hop
        self._samples = round(hop * 2.0 ** (semitones / 12.0))
        self.factor = self._samples / hop
        self.rate = 100 * self._samples  # Hz at which the voice's samples are played

    def count(self, frames: int) -> int:
        """How many frames to say for the first `frames` frames heard."""
        return -(-frames * self._samples // self._hop)

    def heard(self, first: int, until: int) -> Index:
        """Of every frame said, from `first` to `until` - 1, the frame heard at its start."""
        return np.arange(first, until, dtype=np.int64) * self._hop // self._samples
