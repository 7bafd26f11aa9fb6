"""The resonances of a voice: the smooth envelope of its spectrum, taken from one sound to another.

After A. Roebel and X. Rodet, "Efficient spectral envelope estimation and its application to pitch
shifting and envelope preservation" (DAFx 2005): the true envelope is the cepstrally smoothed
spectrum, raised again and again to where the harmonics stick out of it.
"""

from typing import Any

import numpy as np
from scipy.fft import irfft, rfft

from stream.audio import Audio

WINDOW_S = 0.046
OVERLAP = 4  # windows over every sample
BATCH = 128  # frames at a time
ROUNDS = 6  # of raising the envelope
LOWEST_HZ, HIGHEST_HZ = 70.0, 900.0  # of a voice's pitch
RESOLVED = 0.75  # of a pitch period: what in the cepstrum belongs to the envelope
SHARPEST_S, SMOOTHEST_S = 4e-3, 0.5e-3  # cepstrum of the finest and of the coarsest envelope
RANGE = 1e-8  # of the power of a frame's highest bin: below it is nothing to shape
QUIETEST = 1e-12  # power of a bin
MOST = 30.0 / 20.0 * np.log(10.0)  # 30 dB up or down
LOUDER = 4.0  # power by which a frame may be raised to be as loud as it was


class Envelope:
    """Gives sounds the resonances of others.

    rate    Hz
    ratio   by which the pitch of the one is higher than that of the other
    """

    def __init__(self, rate: int, ratio: float) -> None:
        self._rate = rate
        self._ratio = ratio
        self._size = 2 ** round(np.log2(WINDOW_S * rate))
        self._hop = self._size // OVERLAP
        self._window = np.sqrt(np.hanning(self._size + 1)[:-1]).astype(np.float32)

    def put_back(self, x: Audio, y: Audio) -> Audio:
        """`y` [n, channels] with the envelope of `x` [n, channels] at every moment.

        `y` is `x` in another pitch. All channels are shaped alike, and as loud as they were. Where
        both are the same, so is the output, within rounding.
        """
        frames = len(y) // self._hop + OVERLAP + 1
        room = ((self._size, frames * self._hop - len(y)), (0, 0))
        heard, moved = np.pad(x, room), np.pad(y, room)
        out = np.zeros_like(moved)
        for first in range(0, frames, BATCH):
            starts = np.arange(first, min(first + BATCH, frames)) * self._hop
            places = starts[:, None] + np.arange(self._size)
            spectra = _spectra(moved[places].transpose(0, 2, 1) * self._window)
            model = _spectra(heard[places].transpose(0, 2, 1) * self._window)
            wanted, given = _power(model), _power(spectra)
            factors = self._factors(wanted, given)
            loudness = wanted.sum(axis=1) / (given * np.square(factors)).sum(axis=1)
            factors *= np.sqrt(np.minimum(loudness, LOUDER)).astype(np.float32)[:, None]
            spectra *= factors[:, None]
            shaped = _back(spectra, self._size) * (self._window * np.float32(2.0 / OVERLAP))
            for start, frame in zip(starts, shaped, strict=True):
                out[start : start + self._size] += frame.T
        return out[self._size : self._size + len(y)]

    def _factors(self, wanted: Audio, given: Audio) -> Audio:
        """Factors that bring one envelope to another, of powers [frames, bins]."""
        rows = (0.5 * np.log(np.stack([wanted, given]))).astype(np.float32)
        cepstra = _back(rows, self._size)
        keep = self._lifter(cepstra[0])
        level = rows
        for _ in range(ROUNDS):
            smooth = _spectra(_back(level, self._size) * keep).real
            level = np.maximum(rows, smooth)
        smooth = _spectra(_back(level, self._size) * keep).real
        return np.exp(np.clip(smooth[0] - smooth[1], -MOST, MOST)).astype(np.float32)

    def _lifter(self, cepstra: Audio) -> Audio:
        """What to keep of the cepstra of each frame, [frames, size]: less than a pitch period."""
        shortest, longest = round(self._rate / HIGHEST_HZ), round(self._rate / LOWEST_HZ)
        period = shortest + np.argmax(cepstra[:, shortest : longest + 1], axis=1)
        ends = RESOLVED * period / max(1.0, self._ratio)
        ends = np.clip(ends, SMOOTHEST_S * self._rate, SHARPEST_S * self._rate)[:, None]
        place = np.arange(self._size)
        place = np.minimum(place, self._size - place)  # a cepstrum is even
        share = np.clip(2.0 * place / ends - 1.0, 0.0, 1.0)
        return np.square(np.cos(0.5 * np.pi * share)).astype(np.float32)


def _spectra(x: Audio) -> Any:
    return np.asarray(rfft(x))


def _back(spectra: Any, size: int) -> Audio:
    return np.asarray(irfft(spectra, size))


def _power(spectra: Any) -> Audio:
    """Mean of the channels of [frames, channels, bins], with a floor, [frames, bins]."""
    power = np.mean(np.square(np.abs(spectra), dtype=np.float64), axis=1)
    return np.maximum(power, RANGE * power.max(axis=1, keepdims=True) + QUIETEST)
