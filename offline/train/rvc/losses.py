"""What RVC's training minimises."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from offline.mel import mel_filters
from offline.train.rvc.discriminator import Verdict
from offline.train.rvc.networks import Heard, fft_size

Verdicts = Sequence[tuple[Verdict, Verdict]]

MELS = {32_000: 80, 40_000: 125, 48_000: 128}
QUIET = 1e-5


class Spectra(nn.Module):
    """Sound [B, hop T] -> magnitudes [B, bins, T], and those as log-mel bands.

    Frame i is centred on sample (i + 1/2) hop; at the ends the sound is reflected.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, rate: int) -> None:
        super().__init__()
        self.size, self.hop = fft_size(rate), rate // 100
        bands = MELS.get(rate, 80)
        filters = torch.from_numpy(mel_filters(rate, self.size, bands)) * (self.size / rate)
        self.register_buffer("window", torch.hann_window(self.size), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, sound: Tensor) -> Tensor:
        """The magnitudes, sqrt(re^2 + im^2 + 1e-6)."""
        side = (self.size - self.hop) // 2
        padded = nn.functional.pad(sound[:, None], (side, side), "reflect")[:, 0]
        spectrum = torch.stft(
            padded.float(), self.size, self.hop, window=self.window, center=False,
            return_complex=True,
        )  # fmt: skip
        return torch.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-6)

    def mel(self, magnitudes: Tensor) -> Tensor:
        """[B, bins, T] -> [B, bands, T], natural logarithm."""
        return torch.log((self.filters @ magnitudes).clamp(min=QUIET))


def divergence(heard: Heard, mask: Tensor) -> Tensor:
    """The posterior's divergence from the prior, sampled, per real frame.

    KL = log s_p - log s_q - 1/2 + (z - m_p)^2 / (2 s_p^2), summed over channels. (VITS, eq. 4.)
    """
    moved, mean, spread = heard.moved.float(), heard.mean.float(), heard.spread.float()
    kl = spread - heard.posterior_spread.float() - 0.5
    kl = kl + 0.5 * (moved - mean) ** 2 * torch.exp(-2.0 * spread)
    return (kl * mask).sum() / mask.sum()


def critics_loss(verdicts: Verdicts) -> Tensor:
    """What the critics minimise: real sound scores 1, made sound 0 (least squares, Mao 2016)."""
    parts = [
        ((1 - real[0].float()) ** 2).mean() + (made[0].float() ** 2).mean()
        for real, made in verdicts
    ]
    return torch.stack(parts).sum()


def deceit(verdicts: Verdicts) -> Tensor:
    """What the synthesizer minimises: its sound is to score 1."""
    return torch.stack([((1 - made[0].float()) ** 2).mean() for _, made in verdicts]).sum()


def matching(verdicts: Verdicts) -> Tensor:
    """Twice the mean distances of what the critics' layers see in real and in made sound."""
    parts = [
        (wanted.detach().float() - seen.float()).abs().mean()
        for real, made in verdicts
        for wanted, seen in zip(real[1], made[1], strict=True)
    ]
    return 2.0 * torch.stack(parts).sum()
