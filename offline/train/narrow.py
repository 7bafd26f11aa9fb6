"""Training of the narrow family: the starter's shape, fast enough for a processor.

Three modules learn at once. The prior (enc_p and flow) learns the exact likelihood of the voice's
log-mel spectra, given content and pitch. The decoder learns to speak from such spectra, some of
them real, some drawn from the prior as at work. Critics join later. Training starts from a voice
that speaks already, so that only the timbre is to be learnt.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from offline.train.data import Clip, Crop, phones
from offline.train.layers import Memory
from offline.train.mel import LogMel
from offline.train.recipe import Convert, Moment
from offline.train.settings import TrainSettings
from offline.train.starter.adversary import Critics
from offline.train.starter.crops import Normal
from offline.train.starter.decoder import SpectralLoss, start
from offline.train.synth import Synthesizer, SynthShape
from offline.train.warm import Scale, scale_in, warm
from stream.audio import Audio
from stream.excitation import Excitation
from stream.noise import frame_noise
from stream.pitch import coarse

SETTLE = 12
"""Frames at a crop's start that are not judged: the memory is still empty there."""
BLUR = 0.06
"""Noise added to the latent, so that silence is not infinitely likely."""
SPOKEN = 0.5
"""Share of a batch that the decoder speaks; the prior learns from all of it."""
SHIFT = 0.15
"""Deviation of the log of the pitch change that half of the prior's crops get."""
NOISE_SCALE = 0.25
"""Spread of the prior's noise at work."""
SPECTRAL, FEATURES = 12.0, 2.0
"""Weights of the decoder's losses beside the critics' score."""
CRITICS_FRAMES = 24


@dataclass(frozen=True)
class Batch:
    """What a step learns from.

    phone [B, T, F], pitch [B, T], latent's sound [B, hop T], real [B, T]; and of the first S
    crops what is spoken: pitch [S, T] unchanged, source [S, 1, hop L] of `segment` frames.
    """

    phone: Tensor
    pitch: Tensor
    sound: Tensor
    real: Tensor
    true_pitch: Tensor
    source: Tensor


class _Prior(nn.Module):
    def __init__(self, synth: Synthesizer) -> None:
        super().__init__()
        self.enc_p, self.flow = synth.enc_p, synth.flow


class _Decoding(nn.Module):
    def __init__(self, synth: Synthesizer) -> None:
        super().__init__()
        self.dec, self.emb_g = synth.dec, synth.emb_g


class _Scale(nn.Module):
    """Log-mel [B, Z, T] -> latent [B, T, Z]."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean[:, None], persistent=False)
        self.register_buffer("deviation", deviation[:, None], persistent=False)

    def forward(self, mel: Tensor) -> Tensor:
        return ((mel - self.mean) / self.deviation).transpose(1, 2)


class NarrowRecipe:
    """The narrow family for `offline.train.loop`."""

    def __init__(self, settings: TrainSettings, clips: Sequence[Clip], base: Path | None) -> None:
        """base: the graph of the voice to start from; None starts from nothing."""
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.generator = synth = Synthesizer(SynthShape(sample_rate=settings.sample_rate))
        held = None if base is None else scale_in(base)
        self.scale = held or measured(clips)
        mean, deviation = map(torch.from_numpy, self.scale)
        self._scale = _Scale(mean, deviation)
        if base is not None and held is not None:
            warm(synth, base)
        else:
            start(synth, Normal(mean, deviation))
        self.critics = Critics()
        self.modules: Mapping[str, nn.Module] = {
            "prior": _Prior(synth),
            "decoder": _Decoding(synth),
            "critics": self.critics,
        }
        self.rates = {
            "prior": settings.rate,
            "decoder": settings.rate / 2,
            "critics": settings.critics_rate,
        }
        self._mel, self._spectral = LogMel(), SpectralLoss()

    @property
    def aids(self) -> Sequence[nn.Module]:
        """What has no weights to learn but must lie on the device."""
        return (self._mel, self._spectral, self._scale)

    def batch(self, crops: Sequence[Crop], chance: np.random.Generator) -> Batch:
        """What a step needs, made of its crops."""
        f0 = np.stack([crop.f0 for crop in crops])
        phone = np.stack([crop.phone for crop in crops])
        blur = chance.uniform(0.0, 0.2, (len(crops), 1, 1)).astype(np.float32)
        half = chance.standard_normal((len(crops), phone.shape[1] // 2, phone.shape[2]))
        phone = phone + blur * np.repeat(half.astype(np.float32), 2, axis=1)
        moved = (chance.random(len(crops)) < 0.5) * chance.standard_normal(len(crops)) * SHIFT
        shifted = f0 * np.exp(moved)[:, np.newaxis].astype(np.float32)
        spoken = max(1, round(len(crops) * SPOKEN))
        first = self._first(f0.shape[1])
        seed = int(chance.integers(1 << 30))
        sources = [
            Excitation(self.settings.sample_rate, self.generator.shape.hop, seed + i).step(
                row[first : first + self.settings.segment], 0
            )
            for i, row in enumerate(f0[:spoken])
        ]
        places = np.arange(f0.shape[1])
        return Batch(
            torch.from_numpy(phone),
            torch.from_numpy(coarse(shifted)),
            torch.from_numpy(np.stack([crop.audio for crop in crops])),
            torch.from_numpy(np.stack([places < crop.real for crop in crops]).astype(np.float32)),
            torch.from_numpy(coarse(f0[:spoken])),
            torch.from_numpy(np.stack(sources))[:, None],
        )

    def _first(self, frames: int) -> int:
        """The first frame that is spoken: where the prior has heard enough."""
        return min(frames - self.settings.segment, frames // 3) // 2 * 2

    def losses(self, batch: Batch, moment: Moment) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The loss of each module, and what to tell."""
        latent = self._scale(self._mel(batch.sound))
        likely = self._likelihood(batch, latent, moment)
        losses, told = {"prior": likely}, {"nll": likely.detach()}
        spoken, wanted = self._speak(batch, latent, moment)
        distance = self._spectral(spoken, wanted)
        losses["decoder"] = SPECTRAL * distance
        told["mel"] = distance.detach()
        if moment.done >= self.settings.critics_from:
            self._judge(spoken, wanted, losses, told, moment)
        return losses, told

    def _likelihood(self, batch: Batch, latent: Tensor, moment: Moment) -> Tensor:
        noise = torch.empty_like(latent).normal_(generator=moment.chance)
        with moment.cast():
            values = self.generator.nll(batch.phone, batch.pitch, latent + BLUR * noise)
        real = batch.real[:, SETTLE:, None]
        return (values.float()[:, SETTLE:] * real).sum() / (real.sum() * values.shape[2])

    def _speak(self, batch: Batch, latent: Tensor, moment: Moment) -> tuple[Tensor, Tensor]:
        """Sound made and sound wanted, [S, hop (segment - SETTLE)]."""
        synth, spoken = self.generator, len(batch.source)
        first, segment = self._first(latent.shape[1]), self.settings.segment
        until, chance = first + segment, moment.chance
        with torch.no_grad(), moment.cast():
            shape = (spoken, latent.shape[2], until)
            noise = latent.new_empty(shape).normal_(generator=chance) * NOISE_SCALE
            drawn = synth.prior(
                batch.phone[:spoken, :until], batch.true_pitch[:, :until], noise, Memory()
            )[:, first:]
            given = latent[:spoken, first:until]
            mixed = latent.new_empty(spoken, 1, 1).uniform_(generator=chance) < 0.3
            heard = torch.where(mixed, given, drawn.to(given.dtype))
        sid = torch.zeros(spoken, dtype=torch.long, device=latent.device)
        pitch = batch.true_pitch[:, first:until]
        hop = synth.shape.hop
        with moment.cast():
            made = synth.decode(heard, pitch, batch.source, sid, Memory())[:, 0, SETTLE * hop :]
        real = batch.sound[:spoken, (first + SETTLE) * hop : until * hop]
        return made.float(), real

    def _judge(
        self,
        made: Tensor,
        real: Tensor,
        losses: dict[str, Tensor],
        told: dict[str, Tensor],
        moment: Moment,
    ) -> None:
        shown = min(CRITICS_FRAMES * self.generator.shape.hop, real.shape[1])
        place = made.new_empty(()).uniform_(generator=moment.chance)
        first = int(place * (real.shape[1] - shown + 1))
        pair = real[:, first : first + shown], made[:, first : first + shown]
        with moment.cast():
            losses["critics"] = self.critics.own_loss(pair[0], pair[1].detach())
            score, features = self.critics.judge(*pair)
        losses["decoder"] = losses["decoder"] + score + FEATURES * features
        told |= {"critics": losses["critics"].detach(), "features": features.detach()}

    def converter(self, weights: Mapping[str, Tensor]) -> Convert:
        """What says a clip again, from its features and pitch, with these weights."""
        synth = copy.deepcopy(self.generator).cpu().eval()
        synth.load_state_dict(weights)

        def convert(clip: Clip) -> Audio:
            example = clip.load()
            return speak(synth, phones(example), example.f0)

        return convert


def speak(synth: Synthesizer, phone: Audio, f0: Audio, seed: int = 0) -> Audio:
    """Features [T, F] and pitch [T] in Hz -> [T hop] samples, as the live line says them."""
    shape = synth.shape
    noise = frame_noise(seed, 0, len(f0), shape.latent) * np.float32(NOISE_SCALE)
    source = Excitation(shape.sample_rate, shape.hop, seed).step(f0, 0)
    inputs = {
        "phone": torch.from_numpy(np.ascontiguousarray(phone, np.float32))[None],
        "pitch": torch.from_numpy(coarse(f0))[None],
        "noise": torch.from_numpy(noise)[None],
        "source": torch.from_numpy(source)[None, None],
        "sid": torch.zeros(1, dtype=torch.long),
    }
    with torch.no_grad():
        return synth(inputs, Memory())[0, 0].numpy()


def measured(clips: Sequence[Clip]) -> Scale:
    """Mean and deviation of each log-mel band over the clips, [80] each; none of them flat."""
    mel = LogMel()
    count, total, squares = 0, np.zeros(80), np.zeros(80)
    for clip in clips:
        bands = mel(torch.from_numpy(clip.load().audio)[None])[0].double().numpy()
        count += bands.shape[1]
        total += bands.sum(1)
        squares += (bands**2).sum(1)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    return mean.astype(np.float32), np.maximum(deviation, math.exp(-3)).astype(np.float32)
