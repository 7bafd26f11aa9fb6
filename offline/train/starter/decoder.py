"""The decoder's training: a vocoder of the target's own spectra, then of spectra from the prior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offline.mel import mel_centres, mel_filters
from offline.train.layers import Memory
from offline.train.mel import LogMel
from offline.train.starter import prior, target
from offline.train.starter.adversary import Critics
from offline.train.starter.crops import LatentCrops, Normal, SoundCrops, excitation, normal
from offline.train.starter.run import Run, modules_of, weights_of
from offline.train.starter.target import RATE
from offline.train.synth import Synthesizer

NAME = "decoder.pt"
TUNED = "tuned.pt"
SETTLE = 12
"""Frames at a crop's start that are not judged: the memory is still empty there."""
SCALES = ((2048, 128), (1024, 96), (512, 48), (256, 24))
"""Windows and mel bands of the spectral loss."""
EXCITED = 5.34
"""Minus the log-mel of the excitation itself: see `start`."""


@dataclass(frozen=True)
class Settings:
    """How the decoder is trained."""

    batch: int = 8
    frames: int = 52
    rate: float = 6e-4
    critics_rate: float = 4e-4
    critics_from: int = 700
    critics_frames: int = 24
    spectral: float = 15.0
    features: float = 2.0
    noise_scale: float = 0.4
    keep: float = 0.997
    seed: int = 0


class SpectralLoss(nn.Module):
    """Mean distance of log-mel spectra over several windows."""

    def __init__(self) -> None:
        super().__init__()
        for size, bands in SCALES:
            filters = torch.from_numpy(mel_filters(RATE, size, bands))
            self.register_buffer(f"filters{size}", filters, persistent=False)
            self.register_buffer(f"window{size}", torch.hann_window(size), persistent=False)

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        losses = [F.l1_loss(self._mel(made, n), self._mel(real, n)) for n, _ in SCALES]
        return torch.stack(losses).mean()

    def _mel(self, sound: Tensor, size: int) -> Tensor:
        window, filters = getattr(self, f"window{size}"), getattr(self, f"filters{size}")
        spectrum = torch.stft(sound, size, size // 4, window=window, return_complex=True)
        magnitude = torch.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-9)
        return torch.log(filters @ magnitude + 1e-4 * size**0.5)


def start(synth: Synthesizer, statistics: Normal) -> None:
    """Let the untrained decoder filter with the envelope that the latent itself describes.

    The filter's log-gain at a frequency is the log-mel there less that of a flat excitation of RMS
    0.1, which is `-EXCITED`: 0.1 * sqrt(sum of the squared Hann window) * sqrt(pi) / 2 over the
    window's sum. From there cepstral coefficients are a linear map.
    """
    size, taps = synth.dec.size, synth.dec.counts[0]
    bins = size // 2 + 1
    centres = mel_centres(synth.shape.latent, RATE / 2)[1:-1]
    hz = np.arange(bins) * (RATE / size)
    spread = np.stack([np.interp(hz, centres, row) for row in np.eye(len(centres))], 1)
    weight = np.full(bins, 2.0 / size)
    weight[0] = weight[-1] = 1.0 / size
    order = np.arange(taps)[:, None]
    cosines = np.cos(2 * np.pi * order * np.arange(bins) / size) * weight
    transform = cosines * np.where(order == 0, 1.0, 2.0)
    gains = torch.from_numpy(transform @ spread * statistics.std.numpy())
    offset = torch.from_numpy(transform @ (spread @ statistics.mean.numpy() + EXCITED))
    synth.dec.start_as_envelope(gains.float(), offset.float())


class Decoding(nn.Module):
    """What of the synthesizer learns here: the decoder and the speaker embedding."""

    def __init__(self, synth: Synthesizer) -> None:
        super().__init__()
        self.dec = synth.dec
        self.emb_g = synth.emb_g


Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""latent [B, T, Z], pitch [B, T], source [B, 1, hop T], sound [B, hop T]."""


def train(
    folder: Path, minutes: float, settings: Settings | None = None, device: str = "cpu"
) -> None:
    """Train on the target's own spectra; leaves `folder`/decoder.pt."""
    settings = settings or Settings()
    utterances = target.load(folder)
    statistics = normal(folder, utterances)
    synth = Synthesizer()
    start(synth, statistics)
    crops = SoundCrops(utterances, settings.batch, settings.frames, settings.seed)
    mel, scaled = LogMel().to(device), statistics.to(device)

    def draw() -> Batch:
        batch = crops().to(device)
        latent = scaled(mel(batch.sound))
        blur = torch.rand(len(latent), 1, 1, device=device) * 0.15
        return latent + blur * torch.randn_like(latent), batch.pitch, batch.source, batch.sound

    _run(folder / NAME, synth.to(device), draw, minutes, settings)


def tune(
    folder: Path,
    minutes: float,
    *,
    first: Path | None = None,
    settings: Settings | None = None,
    device: str = "cpu",
) -> None:
    """Go on with latents drawn from the prior, as at work; leaves `folder`/tuned.pt.

    first  the folder of a finished voice whose decoder and critics go on here; without it
           `folder`/decoder.pt does
    """
    settings = settings or Settings(
        rate=3e-4, frames=64, batch=6, critics_from=0, spectral=12.0, keep=0.99
    )
    begun = folder / NAME if first is None else first / TUNED
    synth, critics = Synthesizer().eval(), Critics()
    held = {**synth.state_dict(), **weights_of(folder / prior.NAME), **weights_of(begun)}
    synth.load_state_dict(held)
    critics.load_state_dict(modules_of(begun)["critics"])
    synth.to(device)
    crops = LatentCrops(prior.lessons(folder), settings.batch, settings.frames, settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)

    def draw() -> Batch:
        batch = crops(shifting=0.0)
        noise = torch.randn(batch.latent.transpose(1, 2).shape, generator=generator)
        source = excitation(batch.f0, int(torch.randint(1 << 30, ()))).to(device)
        batch = batch.to(device)
        scaled = noise.to(device) * settings.noise_scale
        drawn = synth.prior(batch.phone, batch.pitch, scaled, Memory())
        given = (torch.rand(len(drawn), 1, 1, device=device) < 0.3).float()
        latent = given * batch.latent + (1 - given) * drawn
        return latent, batch.pitch, source, batch.sound

    _run(folder / TUNED, synth, draw, minutes, settings, critics)


def _run(
    path: Path,
    synth: Synthesizer,
    draw: Callable[[], Batch],
    minutes: float,
    settings: Settings,
    critics: Critics | None = None,
) -> None:
    device = next(synth.parameters()).device
    critics = (critics or Critics()).to(device)
    rates = {"decoder": settings.rate, "critics": settings.critics_rate}
    run = Run(path, {"decoder": Decoding(synth), "critics": critics}, rates, settings.keep)
    spectral = SpectralLoss().to(device)
    while run.progress(minutes) < 1.0:
        with torch.no_grad():
            latent, pitch, source, real = draw()
        sid = torch.zeros(len(latent), dtype=torch.long, device=device)
        hop = synth.shape.hop
        made = synth.decode(latent, pitch, source, sid, Memory())[:, 0, SETTLE * hop :]
        real = real[:, SETTLE * hop :]
        distance = spectral(made, real)
        loss = settings.spectral * distance
        told = {"mel": float(distance.detach())}
        if run.steps >= settings.critics_from:
            shown = settings.critics_frames * hop
            first = int(torch.randint(real.shape[1] - shown + 1, ()))
            pair = real[:, first : first + shown], made[:, first : first + shown]
            own = critics.own_loss(pair[0], pair[1].detach())
            run.step("critics", own, 5.0)
            score, features = critics.judge(*pair)
            loss = loss + score + settings.features * features
            told |= {"critics": float(own.detach()), "features": float(features.detach())}
        run.step("decoder", loss, 20.0)
        run.count(**told)
    run.save()
