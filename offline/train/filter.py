"""A source-filter decoder: a small network draws the vocal tract's filters from the latent.

Twice a frame it predicts two filters as cepstra: one for the excitation, one for noise. Windowed
pieces of both are filtered in the frequency domain and overlap-added. The pitch is the
excitation's, so it follows f0 whatever the latent says. (Neural homomorphic vocoder, Liu 2020.)
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offline.train.layers import SLOPE, CausalConv1d, Memory, Pointwise, ResidualBlock

STEPS = 2  # filters a frame
VOICE_TAPS = 120  # cepstral coefficients of the excitation's filter, beside its level
PHASE_TAPS = 24  # of its phase alone: what is not minimum-phase
NOISE_TAPS = 80
NOISE_RMS = 0.1
NOISE_FRAMES = 251  # the noise repeats after this many frames
LOG_GAIN = (-14.0, 7.0)


Complex = tuple[Tensor, Tensor]  # real and imaginary part


def _product(x: Complex, y: Complex) -> Complex:
    return x[0] * y[0] - x[1] * y[1], x[0] * y[1] + x[1] * y[0]


class FilterDecoder(nn.Module):
    """Latent [B, T, Z], coarse pitch [B, T], excitation [B, 1, hop T] -> sound [B, 1, hop T]."""

    level: Tensor
    angle: Tensor
    analysis: Tensor
    synthesis: Tensor
    noise: Tensor

    def __init__(
        self, rate: int, hop: int, latent: int, channels: int, layers: int, embedding: int
    ) -> None:
        super().__init__()
        self.rate = rate
        self.hop = hop
        self.step = hop // STEPS
        self.size = 640  # of the transform: window and response together, in samples
        self.tail = self.size - self.step
        self.counts = (1 + VOICE_TAPS, PHASE_TAPS, 1 + NOISE_TAPS)
        out = STEPS * sum(self.counts)
        self.conv_pre = CausalConv1d(latent + 2, channels, 5)
        self.cond = Pointwise(embedding, channels)
        self.blocks = nn.ModuleList(ResidualBlock(channels, 3, 1) for _ in range(layers))
        self.conv_post = Pointwise(channels, out)
        self.direct = Pointwise(latent + 2, out)
        nn.init.zeros_(self.conv_post.weight)
        nn.init.zeros_(self.conv_post.bias)  # type: ignore[arg-type]
        self._register_transforms()

    def _register_transforms(self) -> None:
        bins = self.size // 2 + 1
        omega = torch.arange(bins, dtype=torch.float64) * (2 * math.pi / self.size)
        taps = torch.arange(1 + VOICE_TAPS, dtype=torch.float64)[:, None]
        cosines, sines = torch.cos(taps * omega), -torch.sin(taps * omega)
        self._constant("level", cosines)
        self._constant("angle", sines)
        window = torch.hann_window(2 * self.step, dtype=torch.float64)
        n = torch.arange(self.size, dtype=torch.float64)[:, None]
        forward = torch.cat((torch.cos(n * omega), -torch.sin(n * omega)), 1)
        self._constant("analysis", forward[: 2 * self.step] * window[:, None])
        weight = torch.full((bins,), 2.0 / self.size, dtype=torch.float64)
        weight[0] = weight[-1] = 1.0 / self.size
        self._constant("synthesis", (forward * weight.repeat(2)).t()[:, None])
        draw = torch.Generator().manual_seed(0)
        noise = NOISE_RMS * torch.randn(NOISE_FRAMES, self.hop, generator=draw)
        self.register_buffer("noise", noise, persistent=False)

    def _constant(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value.float().contiguous(), persistent=False)

    def _cepstra(self, latent: Tensor, pitch: Tensor, g: Tensor, memory: Memory) -> list[Tensor]:
        """The three groups of coefficients, each [B, STEPS T, taps]."""
        height = pitch.to(latent.dtype)[:, :, None]
        voiced = (height > 1.5).to(latent.dtype)
        x = torch.cat((latent, voiced, voiced * (height / 128.0 - 1.0)), 2)
        y = self.conv_pre(x, memory) + self.cond(g)
        for block in self.blocks:
            y = block(y, memory)
        out = self.conv_post(F.leaky_relu(y, SLOPE)) + self.direct(x)
        return list(out.reshape(x.shape[0], -1, sum(self.counts)).split(self.counts, 2))

    def _filter(self, cepstrum: Tensor, phase: Tensor | None) -> Complex:
        """Coefficients [B, N, taps] -> real and imaginary part of the response, [B, N, bins]."""
        count = cepstrum.shape[2]
        gain = torch.exp((cepstrum @ self.level[:count]).clamp(*LOG_GAIN))
        angle = cepstrum @ self.angle[:count]
        if phase is not None:
            angle = angle + phase @ self.angle[1 : 1 + PHASE_TAPS]
        return gain * torch.cos(angle), gain * torch.sin(angle)

    def _noise(self, source: Tensor, frames: int, memory: Memory) -> Tensor:
        """[B, STEPS T, step] of the stored noise, from where the stream stands in it."""
        place = memory.past(source, (source.shape[0], 1))
        memory.keep(torch.remainder(place + frames, NOISE_FRAMES))
        rows = torch.arange(frames, device=source.device) + place.long()
        part = self.noise[torch.remainder(rows, NOISE_FRAMES)]
        return part.reshape(source.shape[0], -1, self.step)

    def _spectra(self, pieces: Tensor, memory: Memory) -> Complex:
        """[B, STEPS T, step] -> spectra of overlapping pieces of two steps, [B, STEPS T, bins]."""
        joined = memory.extend(pieces, 1)
        pairs = torch.cat((joined[:, :-1], pieces), 2)
        real, imaginary = (pairs @ self.analysis).chunk(2, 2)
        return real, imaginary

    def forward(
        self, latent: Tensor, pitch: Tensor, source: Tensor, g: Tensor, memory: Memory
    ) -> Tensor:
        voice, phase, breath = self._cepstra(latent, pitch, g, memory)
        pieces = source.reshape(source.shape[0], -1, self.step)
        noise = self._noise(source, latent.shape[1], memory)
        real, imaginary = _product(self._spectra(pieces, memory), self._filter(voice, phase))
        more, mixed = _product(self._spectra(noise, memory), self._filter(breath, None))
        spectra = torch.cat((real + more, imaginary + mixed), 2)
        sound = F.conv_transpose1d(spectra.transpose(1, 2), self.synthesis, stride=self.step)
        return self._overlap(sound, source, memory)

    def _overlap(self, sound: Tensor, source: Tensor, memory: Memory) -> Tensor:
        """Add what earlier responses still ring, keep what these ring after the block."""
        ringing = memory.past(source, (source.shape[0], 1, self.tail))
        joined = sound + torch.cat((ringing, torch.zeros_like(source)), 2)
        memory.keep(joined[:, :, -self.tail :])
        return joined[:, :, : source.shape[2]]

    def start_as_envelope(self, mel_to_log_gain: Tensor, bias: Tensor) -> None:
        """Make the direct path the spectral envelope itself, before any training.

        mel_to_log_gain  [taps, Z]: the latent's envelope as cepstral coefficients
        bias             [taps]: the coefficients of latent zero
        """
        with torch.no_grad():
            self.direct.weight.zero_()
            weight = self.direct.weight[:, :, 0].view(STEPS, sum(self.counts), -1)
            offset = self.direct.bias.view(STEPS, sum(self.counts))  # type: ignore[union-attr]
            offset.zero_()
            breath = self.counts[0] + self.counts[1]
            for start, count in ((0, self.counts[0]), (breath, self.counts[2])):
                weight[:, start : start + count, :-2] = mel_to_log_gain[:count]
                offset[:, start : start + count] = bias[:count]
            weight[:, breath, -2] = -2.5  # voiced frames: 22 dB less noise
