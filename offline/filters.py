"""Filters for music: high- and low-pass, peaks and shelves, as stages."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from offline.effects.chain import Filter, HighPass, HighShelf, LowPass, LowShelf, Peak
from stream.audio import Audio

HIGHEST = 0.49  # of the rate; a filter above that has nothing to do
OCTAVE_DB = 6  # an order of Butterworth's, by the octave

Sections = NDArray[np.float64]


class Filters:
    """Filters one after the other, as one stage. It is never late and adds nothing at the end."""

    def __init__(self, filters: Sequence[Filter], rate: int, channels: int) -> None:
        self._sections = np.concatenate([np.zeros((0, 6)), *(sections(f, rate) for f in filters)])
        self._state = np.zeros((len(self._sections), 2, channels))
        self._channels = channels

    def step(self, x: Audio) -> Audio:
        """`x` [n, channels], filtered."""
        if not len(x) or not len(self._sections):
            return x
        y, self._state = sosfilt(self._sections, x.astype(np.float64), axis=0, zi=self._state)
        return y.astype(np.float32)

    def flush(self) -> Audio:
        """Nothing."""
        return np.zeros((0, self._channels), np.float32)


def sections(filter: Filter, rate: int) -> Sections:
    """Second-order sections [n, 6] for `rate` Hz; none where the filter has nothing to do.

    Peaks and shelves are those of R. Bristow-Johnson's "Cookbook formulae for audio EQ biquad
    filter coefficients".
    """
    if isinstance(filter, HighPass | LowPass):
        hz = min(filter.hz, HIGHEST * rate)
        if isinstance(filter, LowPass) and hz < filter.hz:
            return np.zeros((0, 6))
        kind = "highpass" if isinstance(filter, HighPass) else "lowpass"
        return np.asarray(butter(filter.slope // OCTAVE_DB, hz, kind, fs=rate, output="sos"))
    if filter.hz > HIGHEST * rate or filter.gain_db == 0.0:
        return np.zeros((0, 6))
    return _equaliser(filter, 2.0 * math.pi * filter.hz / rate)


def _equaliser(filter: Peak | LowShelf | HighShelf, w: float) -> Sections:
    a = 10.0 ** (filter.gain_db / 40.0)
    alpha, cos = math.sin(w) / (2.0 * filter.q), math.cos(w)
    if isinstance(filter, Peak):
        top = (1.0 + alpha * a, -2.0 * cos, 1.0 - alpha * a)
        bottom = (1.0 + alpha / a, -2.0 * cos, 1.0 - alpha / a)
    else:
        sign = 1.0 if isinstance(filter, LowShelf) else -1.0
        more, less, root = a + 1.0, a - 1.0, 2.0 * math.sqrt(a) * alpha
        top = (
            a * (more - sign * less * cos + root),
            sign * 2.0 * a * (less - sign * more * cos),
            a * (more - sign * less * cos - root),
        )
        bottom = (
            more + sign * less * cos + root,
            -sign * 2.0 * (less + sign * more * cos),
            more + sign * less * cos - root,
        )
    return np.array([[*top, *bottom]]) / bottom[0]
