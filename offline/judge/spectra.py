"""How far two sounds are apart: mel spectra frame by frame, cepstra after time warping."""

from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from offline.mel import mel_filters
from stream.audio import Audio

BANDS: Final = 80
CEPSTRA: Final = 24  # coefficients of the mel cepstrum; the level, c0, is left out
FLOOR: Final = 1e-5  # magnitude: a full-scale sine is 0.5
QUIET_DB: Final = 40.0  # below the loudest frame, a frame is silence and not compared
WINDOW_MS: Final = 25


class Spectra:
    """Measures sounds of one rate in Hz; frames of 25 ms, one each 10 ms."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._window = rate * WINDOW_MS // 1000
        self._size = 1 << (self._window - 1).bit_length()

    @cached_property
    def _filters(self) -> Audio:
        return mel_filters(self.rate, self._size, BANDS).T

    def log_mel(self, sound: Audio) -> Audio:
        """[n] -> natural logarithms of magnitudes in 80 mel bands, [n // (rate / 100), 80].

        Frame i is centred on sample (i + 1/2) rate / 100; beyond the ends is silence.
        """
        hop, window = self.rate // 100, self._window
        count = len(sound) // hop
        if not count:
            return np.zeros((0, BANDS), np.float32)
        side = (window - hop) // 2
        padded = np.pad(sound[: count * hop], (side, window - hop - side))
        frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
        hann = np.hanning(window + 2)[1:-1].astype(np.float32)
        spectrum = np.abs(np.fft.rfft(frames * hann, self._size)) / hann.sum()
        return np.log(spectrum @ self._filters + FLOOR).astype(np.float32)

    def mel_distance(self, one: Audio, other: Audio) -> float:
        """Mean difference in dB over the bands of frames where either is heard.

        Of sounds in step: frame i is compared with frame i. Law: 0 for the same sound, and
        |20 log10 g| for one of another level g, both far above the floor.
        """
        a, b = self.log_mel(one), self.log_mel(other)
        n = min(len(a), len(b))
        heard = _heard(a[:n]) | _heard(b[:n])
        if not heard.any():
            return 0.0
        return float(np.mean(np.abs(a[:n][heard] - b[:n][heard]))) * 20.0 / np.log(10.0)

    def mcd(self, one: Audio, other: Audio) -> float:
        """Mel-cepstral distortion in dB along the best alignment in time; silence is left out.

        10 / ln 10 sqrt(2 sum (c_k - d_k)^2) over 24 cepstra without the level (Kubichek 1993), its
        mean over the path. Law: 0 for the same sound at any level and however long each of its
        frames lasts. NaN where one of them is silent.
        """
        a, b = (self._cepstra(sound) for sound in (one, other))
        if not len(a) or not len(b):
            return float("nan")
        apart = np.sqrt(np.maximum(_squares(a)[:, None] + _squares(b) - 2.0 * (a @ b.T), 0.0))
        return warped(apart) * 10.0 / np.log(10.0) * np.sqrt(2.0)

    def _cepstra(self, sound: Audio) -> Audio:
        mel = self.log_mel(sound)
        return mel[_heard(mel)] @ _cosines(BANDS, CEPSTRA).T


def _heard(mel: Audio) -> NDArray[np.bool_]:
    """The frames within 40 dB of the loudest; none of a sound that is all at the floor."""
    if not len(mel):
        return np.zeros(0, np.bool_)
    level = mel.mean(axis=1) * (20.0 / np.log(10.0))
    audible = mel.max(axis=1) > np.log(2.0 * FLOOR)
    return (level > level.max() - QUIET_DB) & audible


def _squares(x: Audio) -> Audio:
    return np.sum(np.square(x), axis=1)


def _cosines(size: int, count: int) -> Audio:
    """What makes cepstra 1 .. count of a logarithm in `size` bands, [count, size].

    In the convention of speech coding: log |H| = c_0 + 2 sum c_k cos.
    """
    k, n = np.arange(1, count + 1)[:, np.newaxis], np.arange(size) + 0.5
    return (np.cos(np.pi / size * k * n) / size).astype(np.float32)


def warped(cost: Audio) -> float:
    """The mean of `cost` [n, m] along the cheapest path from its first to its last corner.

    Steps go one on in either or both; the path is the one of the least sum (Sakoe and Chiba 1978).
    """
    n, m = cost.shape
    infinite = np.float64(np.inf)
    total = np.full((n + 1, m + 1), infinite)
    total[0, 0] = 0.0
    for diagonal in range(n + m - 1):
        i = np.arange(max(0, diagonal - m + 1), min(n, diagonal + 1))
        j = diagonal - i
        before = np.minimum(np.minimum(total[i, j], total[i, j + 1]), total[i + 1, j])
        total[i + 1, j + 1] = before + cost[i, j]
    steps, i, j = 1, n, m
    while i > 1 or j > 1:
        choices = (total[i - 1, j - 1], total[i - 1, j], total[i, j - 1])
        best = int(np.argmin(choices))
        i, j = i - (best != 2), j - (best != 1)
        steps += 1
    return float(total[n, m]) / steps
