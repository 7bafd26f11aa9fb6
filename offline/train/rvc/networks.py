"""RVC's synthesizer as published, with its posterior encoder: what is trained.

enc_p makes a distribution of latents from content and pitch, enc_q one from the sound itself; the
flow maps the latter onto the former; dec makes sound of latents, with a sine at f0 as excitation.
(VITS, Kim 2021; NSF, Wang 2019.) All under the names of RVC's checkpoints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offline.train.rvc.layers import (
    SLOPE,
    Attention,
    ChannelNorm,
    FeedForward,
    NormedUpsampling,
    ResidualBlock,
    WaveNet,
)
from stream.excitation import Sine
from stream.importer.checkpoint import RvcShape

LAST_SLOPE = 0.01
PITCHES = 256
COUPLINGS = 4


def fft_size(sample_rate: int) -> int:
    """Samples of the posterior encoder's spectra, as RVC has them: 1024 at 32 kHz, else 2048."""
    return 1024 if sample_rate <= 32_000 else 2048


class Encoder(nn.Module):
    """Transformer layers that hear the whole signal."""

    def __init__(self, shape: RvcShape, dropout: float) -> None:
        super().__init__()
        channels, count = shape.hidden, range(shape.layers)
        self.drop = nn.Dropout(dropout)
        self.attn_layers = nn.ModuleList(Attention(channels, shape.heads) for _ in count)
        self.norm_layers_1 = nn.ModuleList(ChannelNorm(channels) for _ in count)
        self.ffn_layers = nn.ModuleList(
            FeedForward(channels, shape.filter, shape.kernel, dropout) for _ in count
        )
        self.norm_layers_2 = nn.ModuleList(ChannelNorm(channels) for _ in count)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        layers = (self.attn_layers, self.norm_layers_1, self.ffn_layers, self.norm_layers_2)
        x = x * mask
        for attention, first, feed_forward, second in zip(*layers, strict=True):
            x = first(x + self.drop(attention(x, mask)))
            x = second(x + self.drop(feed_forward(x, mask)))
        return x * mask


class TextEncoder(nn.Module):
    """Content [B, T, dim] and coarse pitch [B, T] -> mean and log deviation, [B, inter, T]."""

    def __init__(self, shape: RvcShape, dropout: float) -> None:
        super().__init__()
        self.scale, self.inter = math.sqrt(shape.hidden), shape.inter
        self.emb_phone = nn.Linear(shape.dim, shape.hidden)
        if shape.f0:
            self.emb_pitch = nn.Embedding(PITCHES, shape.hidden)
        self.encoder = Encoder(shape, dropout)
        self.proj = nn.Conv1d(shape.hidden, 2 * shape.inter, 1)

    def forward(self, phone: Tensor, pitch: Tensor | None, mask: Tensor) -> tuple[Tensor, Tensor]:
        x = self.emb_phone(phone)
        if pitch is not None:
            x = x + self.emb_pitch(pitch)
        x = F.leaky_relu(x * self.scale, SLOPE).transpose(1, 2)
        mean, spread = (self.proj(self.encoder(x, mask)) * mask).split(self.inter, 1)
        return mean, spread


class PosteriorEncoder(nn.Module):
    """Spectra [B, bins, T] -> mean and log deviation of the latent, [B, inter, T]."""

    def __init__(self, shape: RvcShape) -> None:
        super().__init__()
        bins = fft_size(shape.sample_rate) // 2 + 1
        self.pre = nn.Conv1d(bins, shape.hidden, 1)
        self.enc = WaveNet(shape.hidden, 5, 16, shape.gin)
        self.proj = nn.Conv1d(shape.hidden, 2 * shape.inter, 1)

    def forward(self, spectra: Tensor, mask: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        x = self.enc(self.pre(spectra) * mask, mask, g)
        mean, spread = (self.proj(x) * mask).chunk(2, 1)
        return mean, spread


class Coupling(nn.Module):
    """A mean-only coupling: the second half moves by what the first half says."""

    def __init__(self, shape: RvcShape) -> None:
        super().__init__()
        self.width = shape.inter // 2
        self.pre = nn.Conv1d(self.width, shape.hidden, 1)
        self.enc = WaveNet(shape.hidden, 5, 3, shape.gin)
        self.post = nn.Conv1d(shape.hidden, self.width, 1)
        nn.init.zeros_(self.post.weight)
        nn.init.zeros_(self.post.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, mask: Tensor, g: Tensor, reverse: bool) -> Tensor:
        first, second = x.split(self.width, 1)
        shift = self.post(self.enc(self.pre(first) * mask, mask, g)) * mask
        moved = (second - shift) * mask if reverse else shift + second * mask
        return torch.cat((first, moved), 1)


class Flip(nn.Module):
    """Turns the channels round, so that couplings take turns."""

    def forward(self, x: Tensor, mask: Tensor, g: Tensor, reverse: bool) -> Tensor:
        return torch.flip(x, (1,))


class Flow(nn.Module):
    """Posterior's latent -> prior's space, or back with `reverse`."""

    def __init__(self, shape: RvcShape) -> None:
        super().__init__()
        self.flows = nn.ModuleList()
        for _ in range(COUPLINGS):
            self.flows.extend((Coupling(shape), Flip()))

    def forward(self, x: Tensor, mask: Tensor, g: Tensor, reverse: bool = False) -> Tensor:
        for flow in reversed(self.flows) if reverse else self.flows:
            x = flow(x, mask, g, reverse)
        return x


class Merge(nn.Module):
    """The excitation, with a level and an offset that are learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.l_linear = nn.Linear(1, 1)

    def forward(self, source: Tensor) -> Tensor:
        return torch.tanh(source * self.l_linear.weight[0, 0] + self.l_linear.bias[0])


class Decoder(nn.Module):
    """Latent [B, inter, T] and excitation [B, 1, hop T] -> sound [B, 1, hop T] (NSF-HiFi-GAN)."""

    def __init__(self, shape: RvcShape) -> None:
        super().__init__()
        first, rates = shape.upsample_initial, shape.upsample_rates
        self.blocks = len(shape.resblock_kernels)
        self.conv_pre = nn.Conv1d(shape.inter, first, 7, 1, 3)
        self.cond = nn.Conv1d(shape.gin, first, 1)
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        if shape.f0:
            self.m_source = Merge()
            self.noise_convs = nn.ModuleList()
        for i, (rate, kernel) in enumerate(zip(rates, shape.upsample_kernels, strict=True)):
            width = first >> (i + 1)
            self.ups.append(NormedUpsampling(first >> i, width, kernel, rate))
            if shape.f0:
                step = math.prod(rates[i + 1 :])
                size = (2 * step, step, step // 2) if i + 1 < len(rates) else (1, 1, 0)
                self.noise_convs.append(nn.Conv1d(1, width, *size))
            self.resblocks.extend(
                ResidualBlock(width, size, dilations)
                for size, dilations in zip(
                    shape.resblock_kernels, shape.resblock_dilations, strict=True
                )
            )
        self.conv_post = nn.Conv1d(first >> len(rates), 1, 7, 1, 3, bias=False)

    def forward(self, z: Tensor, source: Tensor | None, g: Tensor) -> Tensor:
        heard = None if source is None else self.m_source(source)
        x = self.conv_pre(z) + self.cond(g)
        for i, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, SLOPE))
            if heard is not None:
                x = x + self.noise_convs[i](heard)
            branches = self.resblocks[i * self.blocks : (i + 1) * self.blocks]
            x = torch.stack([branch(x) for branch in branches]).mean(0)
        return torch.tanh(self.conv_post(F.leaky_relu(x, LAST_SLOPE)))


@dataclass(frozen=True)
class Heard:
    """What one training pass gives: sound, and what the likelihood needs, [B, inter, T] each."""

    sound: Tensor
    moved: Tensor  # the posterior's latent in the prior's space
    mean: Tensor  # of the prior
    spread: Tensor  # its log deviation
    posterior_spread: Tensor


class RvcSynthesizer(nn.Module):
    """All of it, as `G_*.pth` files hold it."""

    def __init__(self, shape: RvcShape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.enc_p = TextEncoder(shape, dropout)
        self.dec = Decoder(shape)
        self.enc_q = PosteriorEncoder(shape)
        self.flow = Flow(shape)
        self.emb_g = nn.Embedding(shape.speakers, shape.gin)

    def learn(
        self,
        phone: Tensor,
        pitch: Tensor,
        spectra: Tensor,
        mask: Tensor,
        sid: Tensor,
        noise: Tensor,
        places: Tensor,
        source: Tensor,
    ) -> Heard:
        """One pass with the sound at hand.

        phone [B, T, dim], pitch [B, T], spectra [B, bins, T], mask [B, 1, T], sid [B]
        noise   [B, inter, T] normal numbers
        places  [B, S] frames of the segment to speak
        source  [B, 1, hop S] its excitation
        """
        g = self.emb_g(sid)[:, :, None]
        f0 = self.shape.f0
        mean, spread = self.enc_p(phone, pitch if f0 else None, mask)
        own_mean, own_spread = self.enc_q(spectra, mask, g)
        latent = (own_mean + noise * torch.exp(own_spread)) * mask
        moved = self.flow(latent, mask, g)
        row = places[:, None].expand(-1, latent.shape[1], -1)
        sound = self.dec(latent.gather(2, row), source if f0 else None, g)
        return Heard(sound, moved, mean, spread, own_spread)

    def speak(
        self, phone: Tensor, pitch: Tensor, noise: Tensor, source: Tensor, sid: Tensor
    ) -> Tensor:
        """[B, T, dim], [B, T], [B, inter, T] scaled noise, [B, 1, hop T], [B] -> [B, 1, hop T]."""
        g = self.emb_g(sid)[:, :, None]
        f0 = self.shape.f0
        mask = phone.new_ones(phone.shape[0], 1, phone.shape[1])
        mean, spread = self.enc_p(phone, pitch if f0 else None, mask)
        drawn = mean + torch.exp(spread) * noise
        latent = self.flow(drawn, mask, g, reverse=True)
        return self.dec(latent, source if f0 else None, g)


def sine(f0: Tensor, rate: int, noise: Tensor) -> Tensor:
    """RVC's excitation, as the live engine's `Sine` makes it from the stream's start.

    f0     [B, T] Hz, 0 where unvoiced, held for a frame
    noise  [B, hop T] normal numbers

    Returns [B, 1, hop T].
    """
    hop = noise.shape[1] // f0.shape[1]
    steps = f0.double().repeat_interleave(hop, 1) / rate
    wave = Sine.AMPLITUDE * torch.sin(2 * math.pi * (torch.cumsum(steps, 1) % 1.0)).float()
    voiced = steps > 0
    size = torch.where(voiced, Sine.VOICED_NOISE, Sine.AMPLITUDE / 3.0)
    return (torch.where(voiced, wave, torch.zeros_like(wave)) + size * noise)[:, None]
