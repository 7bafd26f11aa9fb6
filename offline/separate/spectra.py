"""Short-time spectra of stereo sound, forth and back."""

import numpy as np
from numpy.typing import NDArray

from stream.audio import Audio

Spectra = NDArray[np.complexfloating]
"""Complex, [channels, frames, bins], at run time in single precision."""


def hann(size: int) -> Audio:
    """The periodic Hann window, [size]."""
    return np.square(np.sin(np.pi * np.arange(size) / size)).astype(np.float32)


def stft(x: Audio, size: int, hop: int) -> Spectra:
    """[n, channels] -> [channels, 1 + (n - size) // hop, size // 2 + 1]; frame i is at i hop."""
    frames = np.lib.stride_tricks.sliding_window_view(x, size, axis=0)[::hop]
    windowed = frames.transpose(1, 0, 2) * hann(size)
    return np.fft.rfft(windowed).astype(np.complex64)


def istft(spectra: Spectra, size: int, hop: int) -> Audio:
    """The sound, [size + (frames - 1) hop, channels], whose spectra come nearest to these.

    Law: istft(stft(x)) is x where frames cover it (Griffin and Lim 1984, eq. 6).
    """
    window = hann(size)
    frames = np.fft.irfft(spectra, size).astype(np.float32) * window
    channels, count = frames.shape[:2]
    out = np.zeros((channels, size + (count - 1) * hop), np.float32)
    norm = np.zeros(out.shape[1], np.float32)
    steps = -(-size // hop)
    for first in range(steps):  # frames that do not overlap are added at one stroke
        chosen = frames[:, first::steps]
        start = first * hop
        for i in range(chosen.shape[1]):
            at = start + i * steps * hop
            out[:, at : at + size] += chosen[:, i]
            norm[at : at + size] += np.square(window)
    return (out / np.maximum(norm, 1e-8)).T
