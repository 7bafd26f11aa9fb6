"""Layers of RVC's networks, under the names that published checkpoints use.

Signals are [batch, channels, frames]; a mask [batch, 1, frames] is 1 where a frame is real.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offline.train import layers

SLOPE = 0.1
NEAR = 10
"""Frames to either side that attention knows the distance to."""


class Normed(nn.Module):
    """A weight as length times direction, w = g v / |v|, the norm over all but the first axis.

    The two are `weight_g` and `weight_v`, as torch's weight norm called them when RVC's
    checkpoints were published. (Salimans and Kingma 2016.)
    """

    weight_g: nn.Parameter
    weight_v: nn.Parameter

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        length = weight.flatten(1).norm(dim=1)
        self.weight_g = nn.Parameter(length.reshape(-1, *[1] * (weight.ndim - 1)))
        self.weight_v = nn.Parameter(weight.detach().clone())
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())

    @property
    def weight(self) -> Tensor:
        """The product."""
        length = torch.linalg.vector_norm(self.weight_v.flatten(1), dim=1)
        return self.weight_v * (self.weight_g / length.reshape(self.weight_g.shape))


class NormedConv1d(Normed):
    """A convolution with a normed weight."""

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        padding: int | None = None,
        spread: float | None = None,
    ) -> None:
        fresh = nn.Conv1d(channels, out, kernel, groups=groups)
        if spread is not None:
            nn.init.normal_(fresh.weight, 0.0, spread)
        super().__init__(fresh.weight, fresh.bias)
        self.how = (stride, (kernel - 1) * dilation // 2 if padding is None else padding)
        self.dilation, self.groups = dilation, groups

    def forward(self, x: Tensor) -> Tensor:
        stride, padding = self.how
        return F.conv1d(x, self.weight, self.bias, stride, padding, self.dilation, self.groups)


class NormedUpsampling(Normed):
    """A transposed convolution with a normed weight [channels, out, kernel]."""

    def __init__(self, channels: int, out: int, kernel: int, rate: int) -> None:
        fresh = nn.ConvTranspose1d(channels, out, kernel, rate)
        nn.init.normal_(fresh.weight, 0.0, 0.01)
        super().__init__(fresh.weight, fresh.bias)
        self.rate, self.padding = rate, (kernel - rate) // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose1d(x, self.weight, self.bias, self.rate, self.padding)


class ChannelNorm(layers.ChannelNorm):
    """Layer normalisation over the channels of [B, C, T]."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class Attention(nn.Module):
    """Self-attention over the whole signal, aware of distances of up to `NEAR` frames."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width = heads, channels // heads
        self.conv_q = nn.Conv1d(channels, channels, 1)
        self.conv_k = nn.Conv1d(channels, channels, 1)
        self.conv_v = nn.Conv1d(channels, channels, 1)
        self.conv_o = nn.Conv1d(channels, channels, 1)
        for conv in (self.conv_q, self.conv_k, self.conv_v):
            nn.init.xavier_uniform_(conv.weight)
        spread = self.width**-0.5
        self.emb_rel_k = nn.Parameter(torch.randn(1, 2 * NEAR + 1, self.width) * spread)
        self.emb_rel_v = nn.Parameter(torch.randn(1, 2 * NEAR + 1, self.width) * spread)

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], self.heads, self.width, -1).transpose(2, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        frames = x.shape[2]
        queries = self._split(self.conv_q(x)) / math.sqrt(self.width)
        keys, values = self._split(self.conv_k(x)), self._split(self.conv_v(x))
        place = torch.arange(frames, device=x.device)
        apart = place[None] - place[:, None]  # [query, key]
        near = (apart.abs() <= NEAR).to(x.dtype)
        row = (apart.clamp(-NEAR, NEAR) + NEAR).expand(x.shape[0], self.heads, -1, -1)
        known = (queries @ self.emb_rel_k[0].t()).gather(3, row) * near
        both = mask[:, :, :, None] * mask[:, :, None]  # [B, 1, T, T]
        scores = (queries @ keys.transpose(2, 3) + known).masked_fill(both == 0, -1e4)
        weights = torch.softmax(scores, 3)
        shares = weights.new_zeros(*weights.shape[:3], 2 * NEAR + 1)
        shares = shares.scatter_add(3, row, weights * near)
        mixed = weights @ values + shares @ self.emb_rel_v[0]
        return self.conv_o(mixed.transpose(2, 3).reshape(x.shape))


class FeedForward(nn.Module):
    """Two convolutions with a ReLU between them."""

    def __init__(self, channels: int, hidden: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.kernel = kernel
        self.conv_1 = nn.Conv1d(channels, hidden, kernel)
        self.conv_2 = nn.Conv1d(hidden, channels, kernel)
        self.drop = nn.Dropout(dropout)

    def _padded(self, x: Tensor) -> Tensor:
        return F.pad(x, ((self.kernel - 1) // 2, self.kernel // 2))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.drop(torch.relu(self.conv_1(self._padded(x * mask))))
        return self.conv_2(self._padded(x * mask)) * mask


class WaveNet(nn.Module):
    """Gated convolutions with skip connections, steered by an embedding (VITS' WN)."""

    def __init__(self, hidden: int, kernel: int, layers: int, gin: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.in_layers = nn.ModuleList()
        self.res_skip_layers = nn.ModuleList()
        self.cond_layer = NormedConv1d(gin, 2 * hidden * layers, 1)
        for i in range(layers):
            self.in_layers.append(NormedConv1d(hidden, 2 * hidden, kernel))
            out = 2 * hidden if i < layers - 1 else hidden
            self.res_skip_layers.append(NormedConv1d(hidden, out, 1))

    def forward(self, x: Tensor, mask: Tensor, g: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        steered = self.cond_layer(g).split(2 * self.hidden, 1)
        layers = zip(self.in_layers, self.res_skip_layers, steered, strict=True)
        for inner, outer, offset in layers:
            level, gate = (inner(x) + offset).split(self.hidden, 1)
            update = outer(torch.tanh(level) * torch.sigmoid(gate))
            if update.shape[1] == self.hidden:
                return (total + update) * mask
            x = (x + update[:, : self.hidden]) * mask
            total = total + update[:, self.hidden :]
        return total * mask


class ResidualBlock(nn.Module):
    """HiFi-GAN's first kind: pairs of convolutions, the first of each dilated."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(
            NormedConv1d(channels, channels, kernel, dilation=d, spread=0.01) for d in dilations
        )
        self.convs2 = nn.ModuleList(
            NormedConv1d(channels, channels, kernel, spread=0.01) for _ in dilations
        )

    def forward(self, x: Tensor) -> Tensor:
        for first, second in zip(self.convs1, self.convs2, strict=True):
            x = x + second(F.leaky_relu(first(F.leaky_relu(x, SLOPE)), SLOPE))
        return x
