"""Training of RVC's networks: VITS' losses with RVC's weights of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from offline.train.data import Clip, Crop, phones
from offline.train.recipe import Convert, Moment
from offline.train.rvc.base import check_base, fill, read_base, rvc_shape
from offline.train.rvc.discriminator import Critics
from offline.train.rvc.losses import Spectra, critics_loss, deceit, divergence, matching
from offline.train.rvc.networks import RvcSynthesizer, sine
from offline.train.settings import TrainSettings
from stream.audio import Audio
from stream.excitation import Sine
from stream.noise import frame_noise
from stream.pitch import coarse

MEL = 45.0
"""Weight of the mel distance."""
NOISE_SCALE = 0.66666
"""Spread of the prior's noise at work."""


@dataclass(frozen=True)
class Batch:
    """phone [B, T, dim], pitch [B, T] coarse, f0 [B, T], sound [B, hop T], mask [B, 1, T], sid [B],
    first [B] the frame at which the spoken segment begins."""

    phone: Tensor
    pitch: Tensor
    f0: Tensor
    sound: Tensor
    mask: Tensor
    sid: Tensor
    first: Tensor


class RvcRecipe:
    """The RVC families for `offline.train.loop`.

    The critics see real and made sound once a step, as one batch; their own gradient and the
    synthesizer's both come from that pass. RVC's training runs them twice, the second time after
    their update.
    """

    def __init__(
        self, settings: TrainSettings, speakers: int, base: Path | None, dropout: float = 0.0
    ) -> None:
        """base: a folder with a G and a D file. Raises `BadCheckpoint` when they do not fit."""
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.shape = rvc_shape(settings, speakers)
        self.generator = RvcSynthesizer(self.shape, dropout)
        self.critics = Critics(settings.version, settings.narrower)
        self.modules: Mapping[str, nn.Module] = {
            "synth": self.generator,
            "critics": self.critics,
        }
        self.rates = {"synth": settings.rate, "critics": settings.critics_rate}
        self._spectra = Spectra(settings.sample_rate)
        if base is not None:
            read = [(*read_base(base, letter), module)
                    for letter, module in (("G", self.generator), ("D", self.critics))]  # fmt: skip
            for path, given, module in read:
                check_base(path, given, module)
            for _, given, module in read:
                fill(module, given)

    @property
    def aids(self) -> Sequence[nn.Module]:
        """What has no weights to learn but must lie on the device."""
        return (self._spectra,)

    def batch(self, crops: Sequence[Crop], chance: np.random.Generator) -> Batch:
        """What a step needs, made of its crops."""
        f0 = np.stack([crop.f0 for crop in crops])
        places = np.arange(f0.shape[1])
        mask = np.stack([places < crop.real for crop in crops]).astype(np.float32)
        room = [max(0, crop.real - self.settings.segment) for crop in crops]
        return Batch(
            torch.from_numpy(np.stack([crop.phone for crop in crops])),
            torch.from_numpy(coarse(f0)),
            torch.from_numpy(f0),
            torch.from_numpy(np.stack([crop.audio for crop in crops])),
            torch.from_numpy(mask)[:, None],
            torch.tensor([crop.speaker for crop in crops]),
            torch.from_numpy(np.array([int(chance.integers(r + 1)) for r in room])),
        )

    def losses(self, batch: Batch, moment: Moment) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The loss of each module, and what to tell."""
        hop, segment = self.shape.hop, self.settings.segment
        spectra = self._spectra(batch.sound)
        places = batch.first[:, None] + torch.arange(segment, device=batch.first.device)
        size = (len(places), self.shape.inter, spectra.shape[2])
        noise = spectra.new_empty(size).normal_(generator=moment.chance)
        rough = spectra.new_empty(len(places), segment * hop).normal_(generator=moment.chance)
        source = sine(batch.f0.gather(1, places), self.shape.sample_rate, rough)
        with moment.cast():
            heard = self.generator.learn(
                batch.phone, batch.pitch, spectra, batch.mask, batch.sid, noise, places, source
            )
        made = heard.sound.float()
        samples = batch.first[:, None] * hop + torch.arange(segment * hop, device=made.device)
        real = batch.sound.gather(1, samples)[:, None]
        row = places[:, None].expand(-1, spectra.shape[1], -1)
        wanted = self._spectra.mel(spectra.gather(2, row))
        distance = (self._spectra.mel(self._spectra(made[:, 0])) - wanted).abs().mean()
        kl = divergence(heard, batch.mask)
        losses = {"synth": MEL * distance + kl}
        told = {"mel": distance.detach(), "kl": kl.detach()}
        if moment.done >= self.settings.critics_from:
            with moment.cast():
                verdicts = self.critics(real, made)
            own, trick, match = critics_loss(verdicts), deceit(verdicts), matching(verdicts)
            losses = {"critics": own, "synth": losses["synth"] + trick + match}
            told |= {"critics": own.detach(), "score": trick.detach(), "features": match.detach()}
        return losses, told

    def converter(self, weights: Mapping[str, Tensor]) -> Convert:
        """What says a clip again, from its features and pitch, with these weights."""
        synth = copy.deepcopy(self.generator).cpu().eval()
        synth.load_state_dict(weights)

        def convert(clip: Clip) -> Audio:
            example = clip.load()
            return say(synth, phones(example), example.f0, clip.speaker)

        return convert


def say(synth: RvcSynthesizer, phone: Audio, f0: Audio, speaker: int, seed: int = 0) -> Audio:
    """Features [T, dim] and pitch [T] in Hz -> [T hop] samples, as the live line says them."""
    shape = synth.shape
    noise = frame_noise(seed, 0, len(f0), shape.inter) * np.float32(NOISE_SCALE)
    source = Sine(shape.sample_rate, shape.hop, seed).step(f0, 0, len(f0))
    with torch.no_grad():
        sound = synth.speak(
            torch.from_numpy(np.ascontiguousarray(phone, np.float32))[None],
            torch.from_numpy(coarse(f0))[None],
            torch.from_numpy(noise)[None],
            torch.from_numpy(source)[None, None],
            torch.tensor([speaker]),
        )
    return sound[0, 0].numpy()
