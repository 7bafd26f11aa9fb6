"""A made-up data set: clips of hummed vowels, whose features say which vowel it is."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from stream.audio import Audio

FORMANTS = np.array([500.0, 900.0, 1500.0, 2200.0])


@dataclass(frozen=True)
class Example:
    """audio [T hop], features [T / 2, dim], f0 [T] in Hz."""

    audio: Audio
    features: Audio
    f0: Audio


@dataclass(frozen=True)
class Clip:
    """`seconds` of harmonics at a gliding pitch, the vowel changing every 0.2 s."""

    number: int
    seconds: float = 2.0
    rate: int = 24_000
    dim: int = 256
    speaker: int = 0

    def load(self) -> Example:
        """The same each time."""
        return _hummed(self)


@cache
def _hummed(clip: Clip) -> Example:
    chance = np.random.default_rng(clip.number)
    frames, hop = round(clip.seconds * 100), clip.rate // 100
    f0 = (130 * np.exp(np.linspace(-0.2, 0.2, frames))).astype(np.float32)
    f0[frames // 3 : frames // 3 + 12] = 0.0
    vowels = chance.integers(0, len(FORMANTS), frames // 20 + 1).repeat(20)[:frames]
    phase = np.cumsum(np.repeat(f0, hop)) / clip.rate
    level = 0.05 * np.repeat(f0 > 0, hop)
    formant = np.repeat(FORMANTS[vowels], hop)
    audio = 0.01 * chance.standard_normal(frames * hop)
    for k in range(1, 30):
        weight = np.exp(-(((k * 130 - formant) / 400) ** 2)) + 0.05
        audio += level * weight * np.sin(2 * np.pi * k * phase)
    told = np.random.default_rng(7).standard_normal((len(FORMANTS), clip.dim))[vowels[::2]]
    return Example(audio.astype(np.float32), told.astype(np.float32), f0)


def clips(count: int, *, seconds: float = 2.0, rate: int = 24_000, dim: int = 256) -> list[Clip]:
    """`count` clips of one speaker."""
    return [Clip(number, seconds, rate, dim) for number in range(count)]
