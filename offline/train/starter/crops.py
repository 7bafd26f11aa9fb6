"""What the synthesizer's training draws from the target's sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from offline.train.mel import LogMel
from offline.train.starter.target import HOP, RATE, Utterance
from stream.audio import Audio
from stream.excitation import Excitation
from stream.pitch import coarse

SPEED = 0.16
"""Log of the greatest change of playback speed."""
GAIN_DB = (-14.0, 5.0)
NORMAL = "normal.npz"


@dataclass(frozen=True)
class Normal:
    """The latent is the log-mel with these taken out: mean and deviation of each band, [80]."""

    mean: Tensor
    std: Tensor

    def to(self, device: str) -> Normal:
        """The same on another device."""
        return Normal(self.mean.to(device), self.std.to(device))

    def __call__(self, mel: Tensor) -> Tensor:
        """Log-mel [B, 80, T] -> latent [B, T, 80]."""
        return ((mel - self.mean[:, None]) / self.std[:, None]).transpose(1, 2)


def normal(folder: Path, utterances: Sequence[Utterance]) -> Normal:
    """The target's statistics, kept in `folder`/normal.npz once they are known."""
    path = folder / NORMAL
    if not path.exists():
        mel = LogMel()
        bands = torch.cat([mel(torch.from_numpy(u.sound)[None])[0] for u in utterances], 1)
        np.savez(path, mean=bands.mean(1).numpy(), std=bands.std(1).numpy())
    with np.load(path) as held:
        return Normal(torch.from_numpy(held["mean"]), torch.from_numpy(held["std"]))


def excitation(f0: NDArray[np.float32], seed: int) -> Tensor:
    """The live engine's excitation for f0 [B, T] -> [B, 1, HOP T]."""
    rows = [Excitation(RATE, HOP, seed + i).step(row, 0) for i, row in enumerate(f0)]
    return torch.from_numpy(np.stack(rows))[:, None]


@dataclass(frozen=True)
class SoundBatch:
    """sound [B, HOP T], pitch [B, T] coarse, source [B, 1, HOP T]."""

    sound: Tensor
    pitch: Tensor
    source: Tensor

    def to(self, device: str) -> SoundBatch:
        """The same on another device."""
        return SoundBatch(self.sound.to(device), self.pitch.to(device), self.source.to(device))


class SoundCrops:
    """Draws crops of `frames` frames at changed level and, half of the time, changed speed."""

    def __init__(self, utterances: Sequence[Utterance], batch: int, frames: int, seed: int) -> None:
        self._utterances = [u for u in utterances if not u.held_out]
        lengths = np.array([len(u.f0) for u in self._utterances], float)
        self._shares = lengths / lengths.sum()
        self._chance = np.random.default_rng(seed)
        self._batch, self._frames = batch, frames

    def __call__(self) -> SoundBatch:
        drawn = self._chance.choice(len(self._utterances), self._batch, p=self._shares)
        crops = [self._crop(self._utterances[k]) for k in drawn]
        f0 = np.stack([c[1] for c in crops])
        source = excitation(f0, int(self._chance.integers(1 << 30)))
        sound = torch.from_numpy(np.stack([c[0] for c in crops]))
        return SoundBatch(sound, torch.from_numpy(coarse(f0)), source)

    def _crop(self, utterance: Utterance) -> tuple[Audio, NDArray[np.float32]]:
        frames = self._frames
        speed = 1.0
        if self._chance.random() < 0.5:
            speed = math.exp(self._chance.uniform(-SPEED, SPEED))
        taken = math.ceil(frames * speed) + 2
        start = int(self._chance.integers(0, max(1, len(utterance.f0) - taken)))
        sound = utterance.sound[start * HOP : (start + taken) * HOP]
        f0 = utterance.f0[start : start + taken]
        if speed != 1.0:
            sound = soxr.resample(sound, RATE * speed, RATE)
            places = ((np.arange(len(sound) // HOP) + 0.5) * speed).astype(int)
            f0 = f0[np.minimum(places, len(f0) - 1)] * speed
        sound = _fit(sound, frames * HOP) * 10 ** (self._chance.uniform(*GAIN_DB) / 20)
        sound = sound * min(1.0, 0.98 / max(float(np.abs(sound).max()), 1e-9))
        return sound.astype(np.float32), _fit(f0, frames).astype(np.float32)


def _fit(x: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    return np.pad(x[:length], (0, length - len(x[:length])))


@dataclass(frozen=True)
class LatentBatch:
    """phone [B, T, F], pitch [B, T], latent [B, T, Z], sound [B, HOP T], f0 [B, T], real [B, T]."""

    phone: Tensor
    pitch: Tensor
    latent: Tensor
    sound: Tensor
    f0: NDArray[np.float32]
    real: Tensor

    def to(self, device: str) -> LatentBatch:
        """The same on another device, but for `f0`."""
        names = ("phone", "pitch", "latent", "sound", "real")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


@dataclass(frozen=True)
class Lesson:
    """A sentence as the prior learns it: features [V, T/2, F] of V changed versions of it."""

    utterance: Utterance
    features: NDArray[np.float16]
    latent: NDArray[np.float32]


class LatentCrops:
    """Draws crops of features and latents; the pitch shifts in half of them.

    The latent is left as it is when the pitch shifts: the pitch is to be the excitation's, and
    all entries of the pitch embedding are to be learnt.
    """

    def __init__(self, lessons: Sequence[Lesson], batch: int, frames: int, seed: int) -> None:
        self._lessons = lessons
        lengths = np.array([len(x.latent) for x in lessons], float)
        self._shares = lengths / lengths.sum()
        self._chance = np.random.default_rng(seed)
        self._batch, self._frames = batch, frames

    def __call__(self, shifting: float = 0.15) -> LatentBatch:
        drawn = self._chance.choice(len(self._lessons), self._batch, p=self._shares)
        crops = [self._crop(self._lessons[k], shifting) for k in drawn]
        phone, f0, latent, sound, real = (np.stack(part) for part in zip(*crops, strict=True))
        heard = torch.from_numpy(np.repeat(phone, 2, axis=1))
        return LatentBatch(
            heard,
            torch.from_numpy(coarse(f0)),
            torch.from_numpy(latent),
            torch.from_numpy(sound),
            f0,
            torch.from_numpy(real),
        )

    def _crop(self, lesson: Lesson, shifting: float) -> tuple[NDArray[np.float32], ...]:
        frames, chance = self._frames, self._chance
        start = int(chance.integers(0, max(1, len(lesson.latent) - frames))) // 2 * 2
        end = min(start + frames, len(lesson.latent))
        features = lesson.features[chance.integers(len(lesson.features)), start // 2 : end // 2]
        phone = np.zeros((frames // 2, features.shape[1]), np.float32)
        phone[: len(features)] = features
        noise = chance.uniform(0, 0.2) * chance.standard_normal(phone.shape)
        latent = np.zeros((frames, lesson.latent.shape[1]), np.float32)
        latent[: end - start] = lesson.latent[start:end]
        f0 = _fit(lesson.utterance.f0[start:end], frames)
        if chance.random() < 0.5:
            f0 = f0 * np.float32(math.exp(chance.normal() * shifting))
        sound = _fit(lesson.utterance.sound[start * HOP : end * HOP], frames * HOP)
        real = (np.arange(frames) < end - start).astype(np.float32)
        return phone + noise.astype(np.float32), f0, latent, sound, real
