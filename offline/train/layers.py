"""Layers in streaming form: each takes a `Memory` and works on a whole crop or block by block.

Signals are [batch, frames, channels]; the weights have the shapes and names of RVC's convolutions.

Law: feeding a signal in blocks, each call's kept tensors going into the next call, gives what one
call over the whole signal gives. Nothing looks ahead, so there is no latency to account for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.1


class Memory:
    """The past of one stream during one pass, in the order in which the layers ask for it.

    Created without tensors it stands for the start of a stream: every past is zero.
    """

    def __init__(self, past: Sequence[Tensor] | None = None) -> None:
        self._past = past
        self._asked = 0
        self._rows: dict[tuple[int, int], Tensor] = {}
        self.kept: list[Tensor] = []

    def past(self, like: Tensor, shape: Sequence[int]) -> Tensor:
        """The tensor kept at this point of the previous pass, or zeros of `shape`."""
        index = self._asked
        self._asked += 1
        if self._past is None:
            return like.new_zeros(tuple(shape))
        return self._past[index]

    def keep(self, value: Tensor) -> None:
        """Store what the next pass finds at this point."""
        self.kept.append(value)

    def extend(self, x: Tensor, frames: int) -> Tensor:
        """[B, T, C] -> [B, frames + T, C]: the last `frames` of the past, then `x`."""
        past = self.past(x, (x.shape[0], frames, x.shape[2]))
        joined = torch.cat((past, x), dim=1)
        self.keep(joined[:, -frames:])
        return joined

    def windows(self, x: Tensor, taps: int, dilation: int = 1) -> Tensor:
        """[B, T, C] and its past -> [B, T, taps, C]: what each frame sees, oldest first."""
        joined = self.extend(x, (taps - 1) * dilation)
        return joined[:, self.rows(x, taps, dilation)]

    def rows(self, x: Tensor, taps: int, dilation: int = 1) -> Tensor:
        """[T, taps]: for each frame of [B, T, C] where its `taps` are in the extended signal."""
        rows = self._rows.get((taps, dilation))
        if rows is None:  # the same for all layers of a pass: one node in the exported graph
            offsets = torch.arange(taps, device=x.device)[None] * dilation
            rows = torch.arange(x.shape[1], device=x.device)[:, None] + offsets
            self._rows[taps, dilation] = rows
        return rows


class Pointwise(nn.Conv1d):
    """A convolution with a kernel of 1: [B, T, C] -> [B, T, D]."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return F.linear(x, self.weight[:, :, 0], self.bias)


class CausalConv1d(nn.Conv1d):
    """A convolution over the past: [B, T, C] -> [B, T, D], output t sees inputs up to t.

    The weights are a Conv1d's. They are applied as one matrix product over the frames in reach:
    with a few frames a call, ONNX Runtime takes half the time that its Conv takes.
    """

    def __init__(self, channels: int, out: int, kernel: int, dilation: int = 1) -> None:
        super().__init__(channels, out, kernel, dilation=dilation)
        self.taps = kernel
        self.step = dilation

    def forward(self, x: Tensor, memory: Memory) -> Tensor:  # type: ignore[override]
        seen = memory.windows(x, self.taps, self.step)
        weight = self.weight.transpose(1, 2).reshape(self.out_channels, -1)
        return F.linear(seen.reshape(x.shape[0], -1, weight.shape[1]), weight, self.bias)


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of [B, T, C]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (self.gamma.shape[0],), self.gamma, self.beta)


class LocalAttention(nn.Module):
    """Multi-head attention of each frame over itself and the `reach - 1` frames before it.

    Relative positions are embedded up to `window` frames back, as in RVC's encoder (whose tables
    also hold the future half, unused here). Before the stream's start keys and values are zero.
    """

    def __init__(self, channels: int, heads: int, window: int = 10, reach: int = 32) -> None:
        super().__init__()
        self.heads = heads
        self.width = channels // heads
        self.window = window
        self.reach = reach
        self.conv_q = Pointwise(channels, channels)
        self.conv_k = Pointwise(channels, channels)
        self.conv_v = Pointwise(channels, channels)
        self.conv_o = Pointwise(channels, channels)
        for conv in (self.conv_q, self.conv_k, self.conv_v):
            nn.init.xavier_uniform_(conv.weight)
        deviation = self.width**-0.5
        self.emb_rel_k = nn.Parameter(torch.randn(1, 2 * window + 1, self.width) * deviation)
        self.emb_rel_v = nn.Parameter(torch.randn(1, 2 * window + 1, self.width) * deviation)

    def _positions(self, table: Tensor) -> Tensor:
        """[1, 2w+1, D] -> [reach, D]: the past half of a table, oldest first, zero beyond it."""
        near = table[0, : self.window + 1]
        far = near.new_zeros(self.reach - self.window - 1, self.width)
        return torch.cat((far, near))

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """[B, T, C] -> [B, T, C]."""
        batch = x.shape[0]
        both = torch.cat((self.conv_k(x), self.conv_v(x)), 2)
        joined = memory.extend(both, self.reach - 1)
        parts = joined.reshape(batch, -1, 2 * self.heads, self.width).transpose(1, 2)
        keys, values = parts.split(self.heads, 1)  # [B, H, reach - 1 + T, D]
        queries = self.conv_q(x) / math.sqrt(self.width)
        queries = queries.reshape(batch, -1, self.heads, self.width).transpose(1, 2)
        near = memory.rows(x, self.reach).expand(batch, self.heads, -1, -1)
        every = queries @ keys.transpose(2, 3)
        scores = every.gather(3, near)  # [B, H, T, reach]
        scores = scores + queries @ self._positions(self.emb_rel_k).t()
        weights = torch.softmax(scores, -1)
        spread = torch.zeros_like(every).scatter(3, near, weights)
        mixed = spread @ values + weights @ self._positions(self.emb_rel_v)
        mixed = mixed.transpose(1, 2).reshape(batch, -1, self.heads * self.width)
        return self.conv_o(mixed)


class FeedForward(nn.Module):
    """Two causal convolutions with a ReLU between them."""

    def __init__(self, channels: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.conv_1 = CausalConv1d(channels, hidden, kernel)
        self.conv_2 = CausalConv1d(hidden, channels, kernel)

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        return self.conv_2(torch.relu(self.conv_1(x, memory)), memory)


class WaveNet(nn.Module):
    """Gated causal convolutions with skip connections (VITS' WN): [B, T, H] -> [B, T, H]."""

    def __init__(self, hidden: int, kernel: int, layers: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.in_layers = nn.ModuleList()
        self.res_skip_layers = nn.ModuleList()
        for i in range(layers):
            self.in_layers.append(CausalConv1d(hidden, 2 * hidden, kernel))
            out = 2 * hidden if i < layers - 1 else hidden
            self.res_skip_layers.append(Pointwise(hidden, out))

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        total = torch.zeros_like(x)
        for i, (inner, outer) in enumerate(zip(self.in_layers, self.res_skip_layers, strict=True)):
            level, gate = inner(x, memory).split(self.hidden, 2)
            update = outer(torch.tanh(level) * torch.sigmoid(gate))
            if i == len(self.in_layers) - 1:
                return total + update
            x = x + update[:, :, : self.hidden]
            total = total + update[:, :, self.hidden :]
        return total


class ResidualBlock(nn.Module):
    """x + conv(leaky(conv(leaky(x)))), the first convolution causal, the second pointwise."""

    def __init__(self, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.conv_1 = CausalConv1d(channels, channels, kernel, dilation)
        self.conv_2 = Pointwise(channels, channels)

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        y = self.conv_1(F.leaky_relu(x, SLOPE), memory)
        return x + self.conv_2(F.leaky_relu(y, SLOPE))
