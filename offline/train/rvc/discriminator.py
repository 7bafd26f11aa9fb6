"""RVC's critics: one of the waveform, the others of its periods, under the published names."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offline.train.rvc.layers import SLOPE, Normed, NormedConv1d

PERIODS = {"v1": (2, 3, 5, 7, 11, 17), "v2": (2, 3, 5, 7, 11, 17, 23, 37)}
COLUMNS = 3
"""Up to this period the columns are convolved one by one on a processor: see LOG.md."""
WIDTHS = (32, 128, 512, 1024, 1024)

Verdict = tuple[Tensor, list[Tensor]]
"""Scores [B, n], and what each layer saw."""


class WaveCritic(nn.Module):
    """Sees sound [B, 1, N] as it is."""

    def __init__(self, narrower: int) -> None:
        super().__init__()
        widths = [1, *(width // narrower for width in (16, 64, 256, 1024, 1024, 1024))]
        plan = ((15, 1, 1), (41, 4, 4), (41, 4, 16), (41, 4, 64), (41, 4, 256), (5, 1, 1))
        self.convs = nn.ModuleList(
            NormedConv1d(a, b, k, stride=s, groups=max(1, g // (narrower if g > 1 else 1)))
            for (a, b), (k, s, g) in zip(pairwise(widths), plan, strict=True)
        )
        self.conv_post = NormedConv1d(widths[-1], 1, 3)

    def forward(self, x: Tensor) -> Verdict:
        seen: list[Tensor] = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE)
            seen.append(x)
        scores = self.conv_post(x)
        return scores.flatten(1), [*seen, scores]


class ColumnConv(Normed):
    """A convolution along the rows of each column on its own.

    The weight [out, channels, kernel, 1] is that of a two-dimensional convolution. The signal is
    an image [B, channels, rows, period], or its columns, [B * period, channels, rows].
    """

    def __init__(self, channels: int, out: int, kernel: int, stride: int) -> None:
        fresh = nn.Conv2d(channels, out, (kernel, 1))
        super().__init__(fresh.weight, fresh.bias)
        self.stride, self.padding = stride, kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 4:
            how = (self.stride, 1), (self.padding, 0)
            return F.conv2d(x, self.weight, self.bias, *how)
        return F.conv1d(x, self.weight[..., 0], self.bias, self.stride, self.padding)


class PeriodCritic(nn.Module):
    """Sees sound [B, 1, N] folded into rows of `period` samples."""

    def __init__(self, period: int, narrower: int) -> None:
        super().__init__()
        self.period = period
        widths = [1, *(width // narrower for width in WIDTHS)]
        strides = (3, 3, 3, 3, 1)
        self.convs = nn.ModuleList(
            ColumnConv(a, b, 5, s) for (a, b), s in zip(pairwise(widths), strides, strict=True)
        )
        self.conv_post = ColumnConv(widths[-1], 1, 3, 1)

    def forward(self, x: Tensor) -> Verdict:
        batch = x.shape[0]
        x = F.pad(x, (0, -x.shape[2] % self.period), "reflect")
        x = x.reshape(batch, 1, -1, self.period)
        if self.period <= COLUMNS and x.device.type == "cpu":
            x = x.permute(0, 3, 1, 2).flatten(0, 1)
        seen: list[Tensor] = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE)
            seen.append(x)
        scores = self.conv_post(x)
        return scores.reshape(batch, -1), [*seen, scores]


class Critics(nn.Module):
    """All of them: 7 for v1, 9 for v2. `narrower` divides the published widths, 1 to 16."""

    def __init__(self, version: str, narrower: int = 1) -> None:
        super().__init__()
        periods = (PeriodCritic(period, narrower) for period in PERIODS[version])
        self.discriminators = nn.ModuleList([WaveCritic(narrower), *periods])

    def forward(self, real: Tensor, made: Tensor) -> list[tuple[Verdict, Verdict]]:
        """[B, 1, N] twice -> each critic's verdict of the real sound and of the made one.

        Both are seen in one pass, as one batch.
        """
        both = torch.cat((real, made))
        verdicts: list[tuple[Verdict, Verdict]] = []
        for critic in self.discriminators:
            scores, seen = critic(both)
            halves = [layer.chunk(2) for layer in (scores, *seen)]
            first, second = ([half[i] for half in halves] for i in range(2))
            verdicts.append(((first[0], first[1:]), (second[0], second[1:])))
        return verdicts
