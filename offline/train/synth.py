"""The synthesizer in RVC's layout (enc_p, flow, dec, emb_g), causal, with a source-filter decoder.

The latent is the target's normalised log-mel spectrogram, so the decoder is a vocoder and the
prior (enc_p and flow) learns by exact likelihood, with no posterior encoder between them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offline.train.filter import FilterDecoder
from offline.train.layers import (
    SLOPE,
    ChannelNorm,
    FeedForward,
    LocalAttention,
    Memory,
    Pointwise,
    WaveNet,
)

PITCHES = 256
LOG_SPREAD = (-4.0, 2.0)
"""The prior's log standard deviation stays between these."""


@dataclass(frozen=True, kw_only=True)
class SynthShape:
    """The sizes of a synthesizer."""

    sample_rate: int = 24_000
    hop: int = 240
    features: int = 256
    latent: int = 80
    hidden: int = 128
    filter: int = 256
    heads: int = 2
    layers: int = 3
    kernel: int = 3
    flow_hidden: int = 96
    flow_layers: int = 2
    decoder: int = 192
    decoder_layers: int = 4
    speakers: int = 1
    embedding: int = 16
    dropout: float = 0.1


class Encoder(nn.Module):
    """Transformer layers with local causal attention: [B, T, C] -> [B, T, C]."""

    def __init__(self, shape: SynthShape) -> None:
        super().__init__()
        channels, count = shape.hidden, range(shape.layers)
        self.drop = nn.Dropout(shape.dropout)
        self.attn_layers = nn.ModuleList(LocalAttention(channels, shape.heads) for _ in count)
        self.norm_layers_1 = nn.ModuleList(ChannelNorm(channels) for _ in count)
        self.ffn_layers = nn.ModuleList(
            FeedForward(channels, shape.filter, shape.kernel) for _ in count
        )
        self.norm_layers_2 = nn.ModuleList(ChannelNorm(channels) for _ in count)

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        layers = (self.attn_layers, self.norm_layers_1, self.ffn_layers, self.norm_layers_2)
        for attention, first, feed_forward, second in zip(*layers, strict=True):
            x = first(x + self.drop(attention(x, memory)))
            x = second(x + self.drop(feed_forward(x, memory)))
        return x


class TextEncoder(nn.Module):
    """Features [B, T, F] and coarse pitch [B, T] -> mean and log spread, [B, T, Z]."""

    def __init__(self, shape: SynthShape) -> None:
        super().__init__()
        self.scale = math.sqrt(shape.hidden)
        self.latent = shape.latent
        self.emb_phone = nn.Linear(shape.features, shape.hidden)
        self.emb_pitch = nn.Embedding(PITCHES, shape.hidden)
        self.encoder = Encoder(shape)
        self.proj = Pointwise(shape.hidden, 2 * shape.latent)
        nn.init.normal_(self.emb_pitch.weight, 0.0, 0.1)
        nn.init.zeros_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)  # type: ignore[arg-type]

    def forward(self, phone: Tensor, pitch: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        x = (self.emb_phone(phone) + self.emb_pitch(pitch)) * self.scale
        x = self.encoder(F.leaky_relu(x, SLOPE), memory)
        mean, spread = self.proj(x).split(self.latent, 2)
        return mean, spread.clamp(*LOG_SPREAD)


class Coupling(nn.Module):
    """A mean-only coupling: the second half moves by what the first half says."""

    def __init__(self, shape: SynthShape) -> None:
        super().__init__()
        self.width = shape.latent // 2
        self.pre = Pointwise(self.width, shape.flow_hidden)
        self.enc = WaveNet(shape.flow_hidden, 5, shape.flow_layers)
        self.post = Pointwise(shape.flow_hidden, self.width)
        nn.init.zeros_(self.post.weight)
        nn.init.zeros_(self.post.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, memory: Memory, reverse: bool) -> Tensor:
        first, second = x.split(self.width, 2)
        shift = self.post(self.enc(self.pre(first), memory))
        return torch.cat((first, second - shift if reverse else second + shift), 2)


class Flip(nn.Module):
    """Reverses the channels, so that couplings take turns."""

    def forward(self, x: Tensor, memory: Memory, reverse: bool) -> Tensor:
        return torch.flip(x, (2,))


class Flow(nn.Module):
    """Volume-preserving: latent -> prior's space, or back with `reverse`. [B, T, Z] both ways."""

    def __init__(self, shape: SynthShape) -> None:
        super().__init__()
        self.flows = nn.ModuleList()
        for _ in range(4):
            self.flows.extend((Coupling(shape), Flip()))

    def forward(self, x: Tensor, memory: Memory, reverse: bool = False) -> Tensor:
        for flow in reversed(self.flows) if reverse else self.flows:
            x = flow(x, memory, reverse)
        return x


class Synthesizer(nn.Module):
    """Features, pitch, noise and excitation -> sound, with one `Memory` for all of it."""

    def __init__(self, shape: SynthShape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or SynthShape()
        self.enc_p = TextEncoder(shape)
        self.flow = Flow(shape)
        self.dec = FilterDecoder(
            shape.sample_rate,
            shape.hop,
            shape.latent,
            shape.decoder,
            shape.decoder_layers,
            shape.embedding,
        )
        self.emb_g = nn.Embedding(shape.speakers, shape.embedding)

    def prior(self, phone: Tensor, pitch: Tensor, noise: Tensor, memory: Memory) -> Tensor:
        """A latent [B, T, Z] drawn with `noise` [B, Z, T], normal numbers times the noise scale."""
        mean, spread = self.enc_p(phone, pitch, memory)
        drawn = mean + torch.exp(spread) * noise.transpose(1, 2)
        return self.flow(drawn, memory, reverse=True)

    def nll(self, phone: Tensor, pitch: Tensor, latent: Tensor) -> Tensor:
        """The negative log-likelihood of `latent` [B, T, Z], up to a constant: [B, T, Z]."""
        mean, spread = self.enc_p(phone, pitch, Memory())
        moved = self.flow(latent, Memory())
        return 0.5 * ((moved - mean) * torch.exp(-spread)) ** 2 + spread

    def decode(
        self, latent: Tensor, pitch: Tensor, source: Tensor, sid: Tensor, memory: Memory
    ) -> Tensor:
        """[B, T, Z], [B, T], [B, 1, hop T], [B] -> [B, 1, hop T]."""
        return self.dec(latent, pitch, source, self.emb_g(sid)[:, None], memory)

    def forward(self, inputs: Mapping[str, Tensor], memory: Memory) -> Tensor:
        """What the exported graph does: `phone pitch noise source sid` -> sound."""
        latent = self.prior(inputs["phone"], inputs["pitch"], inputs["noise"], memory)
        return self.decode(latent, inputs["pitch"], inputs["source"], inputs["sid"], memory)
