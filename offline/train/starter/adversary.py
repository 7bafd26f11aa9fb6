"""The critics of the decoder's adversarial training: periods of the waveform, and spectra."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from offline.train.layers import SLOPE

PERIODS = (2, 3, 5)
WINDOWS = (1024, 512, 256)

Verdict = tuple[Tensor, list[Tensor]]
"""The scores, and what the layers saw."""


def _judge(layers: nn.ModuleList, post: nn.Module, x: Tensor) -> Verdict:
    seen: list[Tensor] = []
    for layer in layers:
        x = F.leaky_relu(layer(x), SLOPE)
        seen.append(x)
    scores = post(x)
    return scores.flatten(1), [*seen, scores]


class PeriodCritic(nn.Module):
    """Sees sound [B, N] folded into rows of `period` samples."""

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = period
        widths = (1, 8, 24, 48, 64)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (5, 1), (3, 1), (2, 0))) for a, b in pairwise(widths)
        )
        self.post = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), 1, (1, 0)))

    def forward(self, sound: Tensor) -> Verdict:
        missing = -sound.shape[1] % self.period
        folded = F.pad(sound[:, None], (0, missing), "reflect")
        return _judge(self.layers, self.post, folded.unflatten(2, (-1, self.period)))


class SpectrumCritic(nn.Module):
    """Sees the log-magnitudes of sound [B, N] through one window."""

    window: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        shapes = ((1, 7, 2), (12, 7, 2), (12, 5, 2), (12, 3, 1))  # channels, bins, stride
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, 12, (k, 3), (s, 1), (k // 2, 1))) for a, k, s in shapes
        )
        self.post = weight_norm(nn.Conv2d(12, 1, (3, 3), padding=(1, 1)))

    def forward(self, sound: Tensor) -> Verdict:
        spectrum = torch.stft(
            sound, self.size, self.size // 4, window=self.window, return_complex=True
        )
        power = spectrum.real**2 + spectrum.imag**2
        return _judge(self.layers, self.post, torch.log(torch.sqrt(power + 1e-6) + 1e-3)[:, None])


class Critics(nn.Module):
    """All of them, with the least-squares losses of both sides."""

    def __init__(self) -> None:
        super().__init__()
        self.all = nn.ModuleList(
            [*(PeriodCritic(p) for p in PERIODS), *(SpectrumCritic(w) for w in WINDOWS)]
        )

    def own_loss(self, real: Tensor, made: Tensor) -> Tensor:
        """What the critics minimise: real sound scores 1, made sound 0."""
        total = torch.zeros(())
        for critic in self.all:
            total = total + ((1 - critic(real)[0]) ** 2).mean() + (critic(made)[0] ** 2).mean()
        return total

    def judge(self, real: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
        """What the decoder minimises: to score 1, and to look the same inside the critics."""
        self.requires_grad_(False)
        scores, features = torch.zeros(()), torch.zeros(())
        for critic in self.all:
            with torch.no_grad():
                _, wanted = critic(real)
            score, seen = critic(made)
            scores = scores + ((1 - score) ** 2).mean()
            for a, b in zip(wanted, seen, strict=True):
                features = features + (a - b).abs().mean()
        self.requires_grad_(True)
        return scores, features
