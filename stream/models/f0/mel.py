"""Mel spectrograms as the detectors were trained on."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stream.audio import ANALYSIS_RATE, Audio

SIZE = 1024  # samples of a frame
BANDS = 128
FLOOR = 1e-5  # smallest magnitude in a band before the logarithm

Scale = Literal["htk", "slaney"]


class LogMel:
    """Magnitudes in 128 mel bands, as natural logarithms.

    scale     "htk": 2595 log10(1 + f / 700); "slaney": linear to 1 kHz, then 27 bands to a factor
              of 6.4 (Slaney, Auditory Toolbox, 1998)
    low, high Hz, the outer edges of the first and the last band
    floor     added to the power in each bin of the spectrum

    Triangles of equal area on the frequency axis, over periodic Hann windows of 64 ms.
    """

    def __init__(self, scale: Scale, low: float, high: float, floor: float = 0.0) -> None:
        self._bands = bands(scale, low, high).T
        self._floor = floor
        self._hann = np.square(np.sin(np.pi * np.arange(SIZE) / SIZE)).astype(np.float32)

    def __call__(self, audio: Audio, centres: NDArray[np.int64]) -> Audio:
        """[frames, 128] of the frames around samples `centres`.

        What lies beyond the ends of `audio` is its mirror image.
        """
        half = SIZE // 2
        padded = np.pad(audio, (half, half), mode="reflect" if len(audio) > 1 else "constant")
        frames = np.lib.stride_tricks.sliding_window_view(padded, SIZE)[centres]
        power = np.square(np.abs(np.fft.rfft(frames * self._hann))) + self._floor
        magnitudes = np.sqrt(power).astype(np.float32) @ self._bands
        return np.log(np.maximum(magnitudes, FLOOR)).astype(np.float32)


def bands(scale: Scale, low: float, high: float, *, count: int = BANDS, size: int = SIZE) -> Audio:
    """`count` bands as weights of the bins of a spectrum of `size` samples, [count, size/2 + 1]."""
    to_hz = _from_htk if scale == "htk" else _from_slaney
    to_mel = _to_htk if scale == "htk" else _to_slaney
    edges = to_hz(np.linspace(to_mel(low), to_mel(high), count + 2))
    bins = np.linspace(0.0, ANALYSIS_RATE / 2, size // 2 + 1)
    widths = np.diff(edges)[:, np.newaxis]
    away = edges[:, np.newaxis] - bins
    rising, falling = -away[:-2] / widths[:-1], away[2:] / widths[1:]
    area = 2.0 / (edges[2:] - edges[:-2])
    triangles = np.maximum(0.0, np.minimum(rising, falling)) * area[:, np.newaxis]
    return triangles.astype(np.float32)


def _to_htk(hz: float) -> float:
    return float(2595.0 * np.log10(1.0 + hz / 700.0))


def _from_htk(mel: Audio) -> Audio:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


LINEAR = 200.0 / 3.0  # Hz a mel below the knee
KNEE = 1000.0  # Hz
STEP = np.log(6.4) / 27.0  # of the logarithm a mel above it


def _to_slaney(hz: float) -> float:
    return hz / LINEAR if hz < KNEE else KNEE / LINEAR + float(np.log(hz / KNEE) / STEP)


def _from_slaney(mel: Audio) -> Audio:
    knee = KNEE / LINEAR
    return np.where(mel < knee, mel * LINEAR, KNEE * np.exp(STEP * (mel - knee)))
