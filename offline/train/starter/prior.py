"""The prior's training: the exact likelihood of the target's latent, given content and pitch."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from offline.train.mel import LogMel
from offline.train.starter import target
from offline.train.starter.crops import LatentBatch, LatentCrops, Lesson, normal
from offline.train.starter.distil import stretch
from offline.train.starter.run import Run
from offline.train.student import AUDIO_DELAY, AUDIO_PAST, FRAME_SAMPLES, MEL_BINS, Student
from offline.train.synth import Synthesizer
from stream.audio import Audio

NAME = "prior.pt"
VERSIONS = 4
"""How often each sentence is heard by the student: once as it is, then changed."""
SETTLE = 8
"""Frames at a crop's start that are not judged."""
BLUR = 0.06
"""Noise added to the latent, so that silence is not infinitely likely."""


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


def listen(work: Path) -> None:
    """Write `work`/target/NNNNN.features.npy, [VERSIONS, T/2, F] float16, where it is missing."""
    student = Student().eval()
    student.load_state_dict(torch.load(work / "student.pt", weights_only=True))
    for utterance in target.load(work):
        path = work / "target" / f"{utterance.name}.features.npy"
        if path.exists():
            continue
        sound = target.analysis(utterance.sound)
        chance = np.random.default_rng(int(utterance.name))
        with torch.no_grad():
            heard = [hear(student, sound, k, chance).numpy() for k in range(VERSIONS)]
        np.save(path, np.stack(heard).astype(np.float16))


def lessons(work: Path, *, held_out: bool = False) -> list[Lesson]:
    """The sentences with features and latents, those for training or those held out."""
    utterances = target.load(work)
    statistics, mel = normal(work, utterances), LogMel()
    found: list[Lesson] = []
    for utterance in utterances:
        if utterance.held_out is held_out:
            features: NDArray[np.float16] = np.load(
                work / "target" / f"{utterance.name}.features.npy"
            )
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


def train(work: Path, minutes: float, batch: int = 8, frames: int = 160, seed: int = 0) -> None:
    """Leaves `work`/prior.pt."""
    listen(work)
    synth = Synthesizer()
    crops = LatentCrops(lessons(work), batch, frames, seed)
    run = Run(work / NAME, {"prior": Prior(synth)}, {"prior": 1.5e-3}, 0.997)
    while run.progress(minutes) < 1.0:
        loss = loss_of(synth, crops())
        run.step("prior", loss, 1.0)
        run.count(nll=float(loss.detach()))
    run.save()
