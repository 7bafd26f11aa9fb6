"""The content student's training: the teacher's speaker-free features, from causal audio.

The loss is the distance to the target (squared and cosine) and, through the frozen phone
classifier that comes with the first weights, the divergence between the phones heard in the target
and in the answer.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from offline.train.starter.speech import SOURCES
from offline.train.starter.teacher import TargetSpace, load_space
from offline.train.student import (
    AUDIO_DELAY,
    AUDIO_PAST,
    FRAME_SAMPLES,
    MEL_BINS,
    LogMel,
    State,
    Student,
    average,
    grow,
)

log = logging.getLogger(__name__)

CROP = 250
"""Frames of a training item (5 s)."""
SETTLE = 14
"""Frames at an item's start that are not judged: the memory is still empty there."""
HELD_OUT = tuple(s.name for s in SOURCES if s.held_out)
JUDGED_FRAMES = 3_000
"""Frames of each held-out stream that are judged (a minute)."""
REPORT, SAVE = 25, 100
"""Steps between log lines, and between checkpoints."""


@dataclass(frozen=True)
class Settings:
    """How the student is trained."""

    rate: float = 8e-4
    batch: int = 8
    squared: float = 4.0
    phones: float = 0.3
    ema: float = 0.995
    seed: int = 0


@dataclass(frozen=True)
class Speech:
    """A stream: audio [samples] int16 at 16 kHz and targets [frames, 256] float16."""

    audio: NDArray[np.int16]
    target: NDArray[np.float16]


@dataclass(frozen=True)
class Distance:
    """How far a student is from its targets on one stream."""

    cosine: float
    squared: float
    same_phone: float


def load_speech(work: Path, space: TargetSpace) -> dict[str, Speech]:
    """All streams that have teacher features."""
    found: dict[str, Speech] = {}
    for path in sorted((work / "speech").glob("*.teacher.npy")):
        name = path.name.removesuffix(".teacher.npy")
        audio = np.load(path.with_name(f"{name}.npy"))
        found[name] = Speech(audio, space(np.load(path)))
    return found


class Sampler:
    """Draws training items: [batch, samples] audio and [batch, CROP, 256] targets."""

    def __init__(self, speech: Mapping[str, Speech], settings: Settings) -> None:
        shares = {s.name: s.share for s in SOURCES}
        self._streams = [s for n, s in speech.items() if n not in HELD_OUT and len(s.target) > CROP]
        weights = [
            len(s.target) * shares.get(n, 1.0)
            for n, s in speech.items()
            if n not in HELD_OUT and len(s.target) > CROP
        ]
        self._weights = np.array(weights) / sum(weights)
        self._chance = np.random.default_rng(settings.seed)
        self._batch = settings.batch

    def __call__(self) -> tuple[Tensor, Tensor]:
        audio: list[NDArray[np.float32]] = []
        target: list[NDArray[np.float32]] = []
        for k in self._chance.choice(len(self._streams), self._batch, p=self._weights):
            stream = self._streams[k]
            start = int(self._chance.integers(0, len(stream.target) - CROP))
            # what a push holds is heard AUDIO_DELAY samples late: see LogMel
            first = start * FRAME_SAMPLES + AUDIO_DELAY
            crop = stream.audio[first : first + CROP * FRAME_SAMPLES].astype(np.float32) / 32768
            audio.append(np.pad(crop, (0, CROP * FRAME_SAMPLES - len(crop))))
            target.append(stream.target[start : start + CROP].astype(np.float32))
        return torch.from_numpy(np.stack(audio)), torch.from_numpy(np.stack(target))


def augment(audio: Tensor, mel: LogMel) -> Tensor:
    """Audio [B, 320 n] -> log-mel [B, 2 n, 80] of another room, level and vocal tract."""
    batch, device = len(audio), audio.device

    def chance(*shape: int) -> Tensor:
        return torch.rand(batch, *shape, device=device)

    audio = audio * torch.exp(chance(1) * 2 - 1)
    noise = torch.randn_like(audio)
    if torch.rand(1) < 0.5:
        noise = F.avg_pool1d(noise[:, None], 5, 1, 2)[:, 0] * 2
    level = audio.pow(2).mean(1, keepdim=True).sqrt()
    noisy = (chance(1) < 0.35).float()
    audio = audio + noisy * noise * level * 10 ** (-(chance(1) * 30 + 10) / 20)
    magnitude = mel.magnitude(F.pad(audio, (AUDIO_PAST, 0)))
    for item in magnitude:
        if torch.rand(1) < 0.6:
            item.copy_(stretch(item, math.exp(float(torch.rand(1) * 2 - 1) * math.log(1.18))))
    curve = torch.randn(batch, 6, device=device) * 0.22
    places = torch.linspace(0, math.pi, MEL_BINS, device=device)
    angles = places[None] * torch.arange(6.0, device=device)[:, None]
    tilted = (chance(1, 1) < 0.6).float()
    return mel.compress(magnitude) + tilted * (curve @ angles.cos())[:, None]


def stretch(magnitude: Tensor, factor: float) -> Tensor:
    """Move a spectrum [bins, T] along the frequency axis: what was at f comes to f * factor."""
    top = magnitude.shape[0] - 1
    place = (torch.arange(top + 1.0, device=magnitude.device) / factor).clamp(max=top)
    low = place.floor().long().clamp(max=top - 1)
    part = (place - low)[:, None]
    return magnitude[low] * (1 - part) + magnitude[low + 1] * part


class Phones:
    """The frozen phone classifier over the target space."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weight = weights["ph.weight"].clone()
        self._bias = weights["ph.bias"].clone()

    def __call__(self, features: Tensor) -> Tensor:
        """[..., 256] -> logits [..., phones]."""
        return features @ self._weight.T + self._bias


def distances(answer: Tensor, target: Tensor, phones: Phones) -> tuple[Tensor, Tensor, Tensor]:
    """Squared and cosine distance, and the divergence of the phones; each a mean over frames."""
    squared = ((answer - target) ** 2).clamp(max=9).mean()
    cosine = (1 - F.cosine_similarity(answer, target, dim=-1)).mean()
    heard, meant = phones(answer).log_softmax(-1), phones(target).softmax(-1)
    return squared, cosine, F.kl_div(heard, meant, reduction="none").sum(-1).mean()


def judge(student: Student, stream: Speech, phones: Phones) -> Distance:
    """The distance on the first minute of a stream, without augmentation."""
    frames = min(JUDGED_FRAMES, len(stream.target) - 1)
    late = student.delay_frames
    audio = stream.audio[AUDIO_DELAY:][: frames * FRAME_SAMPLES].astype(np.float32) / 32768
    audio = np.pad(audio, (0, (frames + late) * FRAME_SAMPLES - len(audio)))
    with torch.no_grad():
        answer = student(torch.from_numpy(audio)[None], student.zero_state())[0][0, late:]
        target = torch.from_numpy(stream.target[:frames].astype(np.float32))
        same = phones(answer).argmax(-1) == phones(target).argmax(-1)
        return Distance(
            float((1 - F.cosine_similarity(answer, target, dim=-1)).mean()),
            float(((answer - target) ** 2).mean()),
            float(same.float().mean()),
        )


class Training:
    """A run that can be stopped and resumed: weights, their moving average, optimiser, clock."""

    def __init__(self, student: Student, settings: Settings) -> None:
        self.student = student
        self.settings = settings
        self.phones = Phones(student.state_dict())
        self.average: State = {k: v.clone() for k, v in student.state_dict().items()}
        trained = [p for n, p in student.named_parameters() if not n.startswith("ph.")]
        self._trained = trained
        self._optimiser = torch.optim.AdamW(
            trained, lr=settings.rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        self.steps = 0
        self.seconds = 0.0

    def step(self, audio: Tensor, target: Tensor, progress: float) -> tuple[float, float, float]:
        """One update; `progress` 0..1 through the run sets the learning rate."""
        self._set_rate(progress)
        late = self.student.delay_frames
        with torch.no_grad():
            mel = augment(audio, self.student.mel)
        answer, _ = self.student.from_mel(mel, self.student.zero_state(len(audio), audio.device))
        squared, cosine, phones = distances(
            answer[:, late + SETTLE :], target[:, SETTLE:-late], self.phones
        )
        loss = self.settings.squared * squared + cosine + self.settings.phones * phones
        self._optimiser.zero_grad()
        loss.backward()  # pyright: ignore[reportUnknownMemberType]
        torch.nn.utils.clip_grad_norm_(self._trained, 1.0)
        self._optimiser.step()
        self.steps += 1
        self._follow()
        return squared.item(), cosine.item(), phones.item()

    def _set_rate(self, progress: float) -> None:
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        rate = self.settings.rate * min(1, (self.steps + 1) / 60) * (0.97 * cosine + 0.03)
        for group in self._optimiser.param_groups:
            group["lr"] = rate

    def _follow(self) -> None:
        keep = min(self.settings.ema, self.steps / (self.steps + 20))
        with torch.no_grad():
            for name, value in self.student.state_dict().items():
                self.average[name].lerp_(value, 1 - keep)

    def save(self, path: Path) -> None:
        """Write everything needed to go on, replacing the file in one go."""
        held: dict[str, Any] = {
            "student": self.student.state_dict(),
            "average": self.average,
            "optimiser": self._optimiser.state_dict(),
            "steps": self.steps,
            "seconds": self.seconds,
        }
        draft = path.with_suffix(".draft")
        torch.save(held, draft)
        os.replace(draft, path)

    def resume(self, path: Path) -> None:
        """Go on from what `save` wrote."""
        where = self._trained[0].device
        held: dict[str, Any] = torch.load(path, map_location=where, weights_only=True)
        self.student.load_state_dict(held["student"])
        self.average = held["average"]
        self._optimiser.load_state_dict(held["optimiser"])
        self.steps, self.seconds = held["steps"], held["seconds"]


def first_student(start: Path) -> Student:
    """The student before training: grown from the mean of the checkpoints in `start`, or new."""
    found = [torch.load(p, weights_only=True) for p in sorted(start.glob("student*.pt"))]
    return grow(average(*found)) if found else Student()


def distil(
    work: Path, minutes: float, settings: Settings | None = None, device: str = "cpu"
) -> Path:
    """Train the student for `minutes` of this machine's time; returns the averaged weights' path.

    Resumes where an earlier run stopped. Of the start and the end, the one nearer to its targets
    on the held-out people is kept.
    """
    final, checkpoint = work / "student.pt", work / "student.training.pt"
    if final.exists():
        return final
    settings = settings or Settings()
    torch.manual_seed(settings.seed)
    speech = load_speech(work, load_space(work / "start", work))
    training = Training(first_student(work / "start").to(device), settings)
    before = {k: v.clone() for k, v in training.average.items()}
    if checkpoint.exists():
        training.resume(checkpoint)
    sampler = Sampler(speech, settings)
    recent: list[tuple[float, float, float]] = []
    while training.seconds < minutes * 60:
        began = time.monotonic()
        audio, wanted = (part.to(device) for part in sampler())
        recent.append(training.step(audio, wanted, training.seconds / (minutes * 60)))
        training.seconds += time.monotonic() - began
        if training.steps % REPORT == 0:
            means = np.mean(recent[-REPORT:], axis=0)
            log.info("step %d: squared %.4f cosine %.4f phones %.3f", training.steps, *means)
        if training.steps % SAVE == 0:
            training.save(checkpoint)
            unseen = held_out_cosine(training.average, speech)
            log.info("step %d: held-out cosine %.4f", training.steps, unseen)
    training.save(checkpoint)
    best = min((before, training.average), key=lambda w: held_out_cosine(w, speech))
    torch.save({name: value.cpu() for name, value in best.items()}, final)
    return final


def held_out_cosine(weights: State, speech: Mapping[str, Speech]) -> float:
    """Mean cosine distance to the targets over the held-out people."""
    student = Student()
    student.load_state_dict(weights)
    student.eval()
    streams = [speech[name] for name in HELD_OUT if name in speech]
    found = [judge(student, s, Phones(weights)).cosine for s in streams]
    return sum(found) / max(1, len(found))
