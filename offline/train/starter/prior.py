"""The prior's training: the exact likelihood of the target's latent, given content and pitch."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from offline.train.mel import LogMel
from offline.train.starter import target
from offline.train.starter.crops import LatentBatch, LatentCrops, Lesson, normal
from offline.train.starter.distil import stretch
from offline.train.starter.run import Run, weights_of
from offline.train.starter.target import SENTENCES
from offline.train.student import AUDIO_DELAY, AUDIO_PAST, FRAME_SAMPLES, MEL_BINS, Student
from offline.train.synth import Synthesizer
from stream.audio import Audio

log = logging.getLogger(__name__)

NAME = "prior.pt"
VERSIONS = 4
"""How often each sentence is heard by the student: once as it is, then changed."""
SETTLE = 8
"""Frames at a crop's start that are not judged."""
JUDGE_EVERY = 200
BLUR = 0.06
"""Noise added to the latent, so that silence is not infinitely likely."""


@dataclass(frozen=True)
class Settings:
    """How the prior is trained."""

    batch: int = 8
    frames: int = 160
    rate: float = 1.5e-3
    keep: float = 0.997
    seed: int = 0


def hear(student: Student, sound: Audio, version: int, chance: np.random.Generator) -> Tensor:
    """16 kHz audio [320 n] -> features [n, F]; versions beyond 0 have another level and colour."""
    late = student.delay_frames * FRAME_SAMPLES
    audio = np.concatenate([sound[AUDIO_DELAY:], np.zeros(AUDIO_DELAY + late, np.float32)])
    heard = torch.from_numpy(audio)[None]
    past = torch.zeros(1, AUDIO_PAST)
    if version == 0:
        mel, _ = student.mel(heard, past)
    else:
        heard = heard * math.exp(chance.uniform(-1.0, 0.7))
        magnitude = student.mel.magnitude(torch.cat((past, heard), 1))
        factor = math.exp(chance.uniform(-1, 1) * math.log(1.18))
        mel = student.mel.compress(stretch(magnitude[0], factor)[None])
        angles = np.linspace(0, math.pi, MEL_BINS) * np.arange(6)[:, None]
        tilt = (0.22 * chance.standard_normal(6)) @ np.cos(angles)
        mel = mel + torch.from_numpy(tilt.astype(np.float32))
    return student.from_mel(mel, student.zero_state())[0][0, student.delay_frames :]


def listen(folder: Path, weights: Path) -> None:
    """Write NNNNN.features.npy, [VERSIONS, T/2, F] float16, beside the target's sentences.

    weights  of the student that listens
    """
    student = Student().eval()
    student.load_state_dict(torch.load(weights, weights_only=True))
    for utterance in target.load(folder):
        path = folder / SENTENCES / f"{utterance.name}.features.npy"
        if path.exists():
            continue
        sound = target.analysis(utterance.sound)
        chance = np.random.default_rng(int(utterance.name))
        with torch.no_grad():
            heard = [hear(student, sound, k, chance).numpy() for k in range(VERSIONS)]
        np.save(path, np.stack(heard).astype(np.float16))


def lessons(folder: Path, *, held_out: bool = False) -> list[Lesson]:
    """The sentences with features and latents, those for training or those held out."""
    utterances = target.load(folder)
    statistics, mel = normal(folder, utterances), LogMel()
    found: list[Lesson] = []
    for utterance in utterances:
        if utterance.held_out is held_out:
            path = folder / SENTENCES / f"{utterance.name}.features.npy"
            features: NDArray[np.float16] = np.load(path)
            latent = statistics(mel(torch.from_numpy(utterance.sound)[None]))[0]
            found.append(Lesson(utterance, features, latent.numpy()))
    return found


class Prior(nn.Module):
    """What of the synthesizer learns here: enc_p and the flow."""

    def __init__(self, synth: Synthesizer) -> None:
        super().__init__()
        self.enc_p, self.flow = synth.enc_p, synth.flow


def loss_of(synth: Synthesizer, batch: LatentBatch) -> Tensor:
    """Mean negative log-likelihood per value of the latent."""
    latent = batch.latent + BLUR * torch.randn_like(batch.latent)
    values = synth.nll(batch.phone, batch.pitch, latent)[:, SETTLE:]
    real = batch.real[:, SETTLE:, None]
    return (values * real).sum() / (real.sum() * values.shape[2])


def held_out_loss(synth: Synthesizer, weights: Mapping[str, Tensor], batch: LatentBatch) -> float:
    """The loss of averaged weights on a batch; `synth` is left as it was."""
    before = {name: value.clone() for name, value in synth.state_dict().items()}
    synth.load_state_dict({**before, **weights})
    synth.eval()
    with torch.no_grad():
        loss = float(loss_of(synth, batch))
    synth.train()
    synth.load_state_dict(before)
    return loss


def train(
    folder: Path,
    minutes: float,
    *,
    first: Path | None = None,
    settings: Settings | None = None,
    device: str = "cpu",
) -> None:
    """Leaves `folder`/prior.pt.

    first  the folder of a finished voice to go on from, whose statistics `folder` has too
    """
    settings = settings or (Settings() if first is None else Settings(rate=6e-4, keep=0.99))
    torch.manual_seed(settings.seed)
    synth = Synthesizer()
    if first is not None:
        synth.load_state_dict({**synth.state_dict(), **weights_of(first / NAME)})
    synth.to(device)
    crops = LatentCrops(lessons(folder), settings.batch, settings.frames, settings.seed)
    unheard = lessons(folder, held_out=True)
    judged = LatentCrops(unheard, 4 * settings.batch, settings.frames, 0)(0.0).to(device)
    run = Run(folder / NAME, {"prior": Prior(synth)}, {"prior": settings.rate}, settings.keep)
    while run.progress(minutes) < 1.0:
        loss = loss_of(synth, crops().to(device))
        run.step("prior", loss, 1.0)
        run.count(nll=float(loss.detach()))
        if run.steps % JUDGE_EVERY == 0:
            unseen = held_out_loss(synth, run.average, judged)
            log.info("prior step %d: held-out nll %.4f", run.steps, unseen)
    run.save()
