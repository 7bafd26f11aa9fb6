"""Mel scales and filters, in NumPy."""

import numpy as np
from numpy.typing import NDArray


def hz_to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slaney's scale: linear to 1 kHz, logarithmic above."""
    high = 15.0 + np.log(np.maximum(hz, 1000.0) / 1000.0) * (27.0 / np.log(6.4))
    return np.where(hz < 1000.0, hz * 0.015, high)


def mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `hz_to_mel`."""
    return np.where(mel < 15.0, mel / 0.015, 1000.0 * np.exp((mel - 15.0) * (np.log(6.4) / 27.0)))


def mel_centres(bands: int, top: float) -> NDArray[np.float64]:
    """[bands + 2] edges and centres in Hz, evenly spaced in mel from 0 to `top` Hz."""
    ends = hz_to_mel(np.array([0.0, top]))
    return mel_to_hz(np.linspace(ends[0], ends[1], bands + 2))


def mel_filters(rate: int, size: int, bands: int) -> NDArray[np.float32]:
    """[bands, size // 2 + 1] triangles of equal area over the bins of a transform of `size`."""
    edges = mel_centres(bands, rate / 2)
    bins = np.arange(size // 2 + 1) * (rate / size)
    rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    shape = np.maximum(0.0, np.minimum(rise, fall))
    return (shape * (2.0 / (edges[2:] - edges[:-2]))[:, None] * (rate / size)).astype(np.float32)
