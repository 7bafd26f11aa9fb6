"""What is taken out of recordings: rumble, and if wanted steady noise. Without any delay."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from stream.audio import Audio

STOP_DB = 60.0  # how far down the high-pass is where it stops
BLOCK = 1 << 15  # of the transform that filters

WINDOW_S = 0.04  # of the noise reduction
QUIETEST = 0.1  # share of the frames in which there is taken to be noise only
OVER = 2.0  # times the noise's power that is taken away: what it has for peaks
DEEPEST = 0.1  # gain, -20 dB: what is left where there is nothing but noise
FRAMES = 2_000  # in memory at once


def high_pass(x: Audio, rate: int, hz: float) -> Audio:
    """`x` [n] without what lies below `hz`; 0 leaves it as it is.

    A symmetric filter: no sample is moved in time, no phase turned. -1 dB at the cut-off, nothing
    (0.01 dB) from 1.2 times it on up, and -60 dB or less from 0.42 times it on down; no DC is left.
    """
    if hz == 0.0 or not len(x):
        return x
    return _convolved(x, _high_pass_taps(rate, hz))


@lru_cache(maxsize=8)
def _high_pass_taps(rate: int, hz: float) -> NDArray[np.float64]:
    """1 minus a low-pass by Kaiser's window method (Oppenheim and Schafer, 7.6), odd length."""
    wide = 0.75 * hz / rate
    half = int(np.ceil((STOP_DB - 7.95) / (14.36 * wide) / 2))
    beta = 0.5842 * (STOP_DB - 21) ** 0.4 + 0.07886 * (STOP_DB - 21)
    n = np.arange(-half, half + 1)
    low = np.sinc(2 * 0.8 * hz / rate * n) * np.kaiser(2 * half + 1, beta)
    taps = -low / low.sum()
    taps[half] += 1.0
    return taps


def _convolved(x: Audio, taps: NDArray[np.float64]) -> Audio:
    """`x` [n] with `taps` [2 h + 1] centred on each sample, by overlapping transforms."""
    half = len(taps) // 2
    size = max(BLOCK, 1 << (4 * len(taps)).bit_length())
    step = size - len(taps) + 1
    response = np.fft.rfft(taps, size)
    out = np.zeros(len(x) + 2 * half)
    for at in range(0, len(x), step):
        piece = np.fft.irfft(np.fft.rfft(x[at : at + step], size) * response, size)
        piece = piece[: len(out) - at]
        out[at : at + len(piece)] += piece
    return out[half : half + len(x)].astype(np.float32)


def denoise(x: Audio, rate: int, strength: float) -> Audio:
    """`x` [n] with steady noise turned down; `strength` 0 leaves it as it is, 1 takes 20 dB.

    The noise is what the quietest tenth of the recording holds. Each bin of a short spectrum is
    turned down by how little it stands above that (spectral subtraction, Boll 1979, with a floor
    and smoothed over neighbours so that it does not tinkle). Nothing is ever made louder.
    """
    size = 1 << round(np.log2(WINDOW_S * rate))
    hop = size // 4
    if strength == 0.0 or len(x) < 8 * size:
        return x
    window = np.sqrt(np.hanning(size + 1)[:-1])
    padded = np.pad(x, (size, size + -len(x) % hop))
    count = (len(padded) - size) // hop + 1
    noise = _noise(padded, window, hop, count)
    out = np.zeros(len(padded))
    for first, spectrum, power in _spectra(padded, window, hop, count):
        left = 1.0 - OVER * noise / np.maximum(_smoothed(power), 1e-20)
        gain = np.sqrt(np.clip(left, DEEPEST**2, 1.0))
        gain = 1.0 - strength * (1.0 - gain)
        inner = slice(first[0], first[1])
        pieces = np.fft.irfft((spectrum * gain)[inner], size) * window
        for k, piece in enumerate(pieces, start=first[2]):
            out[k * hop : k * hop + size] += piece
    return (out[size : size + len(x)] / 2.0).astype(np.float32)  # the windows' squares sum to 2


Part = tuple[tuple[int, int, int], NDArray[np.complex128], NDArray[np.float64]]


def _spectra(x: Audio, window: NDArray[np.float64], hop: int, count: int) -> Iterator[Part]:
    """Short spectra in pieces with two frames more on each side, and their powers.

    First: where in the piece its own frames are, from and until, and the number of the first.
    """
    frames = np.lib.stride_tricks.sliding_window_view(x, len(window))[::hop]
    for first in range(0, count, FRAMES):
        begin, end = max(0, first - 2), min(count, first + FRAMES + 2)
        spectrum = np.fft.rfft(frames[begin:end] * window)
        own = (first - begin, min(count, first + FRAMES) - begin, first)
        yield own, spectrum, np.square(np.abs(spectrum))


def _noise(x: Audio, window: NDArray[np.float64], hop: int, count: int) -> NDArray[np.float64]:
    """Mean power of the quietest frames that are not digital silence, [bins]."""
    levels = np.concatenate(
        [power[own[0] : own[1]].sum(axis=1) for own, _, power in _spectra(x, window, hop, count)]
    )
    heard = levels > 1e-12
    if not heard.any():
        return np.zeros(len(window) // 2 + 1)
    most = np.quantile(levels[heard], QUIETEST)
    chosen = heard & (levels <= most)
    total = np.zeros(len(window) // 2 + 1)
    for own, _, power in _spectra(x, window, hop, count):
        inner = power[own[0] : own[1]]
        total += inner[chosen[own[2] : own[2] + len(inner)]].sum(axis=0)
    return total / chosen.sum()


def _smoothed(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over five frames and three bins, [frames, bins]."""
    padded = np.pad(power, ((2, 2), (1, 1)), mode="edge")
    view = np.lib.stride_tricks.sliding_window_view
    return view(view(padded, 5, axis=0).sum(axis=-1), 3, axis=1).sum(axis=-1) / 15.0
