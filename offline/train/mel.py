"""The log-mel spectrogram that is the synthesizer's latent."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from offline.mel import mel_filters

FLOOR = 1e-5
"""Added to the mel magnitudes: about the level at which 16-bit recordings are noise."""


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
