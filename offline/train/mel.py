"""The log-mel spectrogram that is the synthesizer's latent."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

FLOOR = 1e-5
"""Added to the mel magnitudes: about the level at which 16-bit recordings are noise."""


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


class LogMel(nn.Module):
    """Sound [B, hop T] -> log-mel [B, bands, T]; frame i is centred on sample (i + 1/2) hop.

    The window is short (21 ms at 24 kHz), so that the latent says little about single harmonics:
    the pitch belongs to the excitation.
    """

    hann: Tensor
    filters: Tensor

    def __init__(
        self, rate: int = 24_000, hop: int = 240, window: int = 512, bands: int = 80
    ) -> None:
        super().__init__()
        self.hop, self.window, self.size = hop, window, 2 * window
        self.register_buffer("hann", torch.hann_window(window), persistent=False)
        filters = torch.from_numpy(mel_filters(rate, self.size, bands))
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, sound: Tensor) -> Tensor:
        side = (self.window - self.hop) // 2
        pieces = torch.nn.functional.pad(sound, (side, side)).unfold(1, self.window, self.hop)
        spectrum = torch.fft.rfft(pieces * self.hann, self.size).abs()
        # an average over the band of what a sine of amplitude 1 would show as 1/2
        scaled = spectrum * (1.0 / float(self.hann.sum()))
        return torch.log(self.filters @ scaled.transpose(1, 2) + FLOOR)
