"""A made-up data set: clips of a hummed vowel, whose features say which vowel it is."""

from dataclasses import dataclass

import numpy as np

from stream.audio import Audio


@dataclass(frozen=True)
class Example:
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
        chance = np.random.default_rng(self.number)
        frames = round(self.seconds * 100)
        hop = self.rate // 100
        f0 = (130 * np.exp(np.linspace(-0.2, 0.2, frames))).astype(np.float32)
        f0[frames // 3 : frames // 3 + 12] = 0.0
        vowels = chance.integers(0, 4, frames // 20 + 1).repeat(20)[:frames]
        phase = np.cumsum(np.repeat(f0, hop)) / self.rate
        level = np.repeat(f0 > 0, hop)
        formant = np.repeat(np.array([500.0, 900.0, 1500.0, 2200.0])[vowels], hop)
        audio = 0.01 * chance.standard_normal(frames * hop)
        for k in range(1, 30):
            weight = np.exp(-(((k * 130 - formant) / 400) ** 2)) + 0.05
            audio += 0.05 * level * weight * np.sin(2 * np.pi * k * phase)
        told = np.random.default_rng(7).standard_normal((4, self.dim))[vowels[::2]]
        return Example(audio.astype(np.float32), told.astype(np.float32), f0)


def clips(count: int = 6, **how: float) -> tuple[Clip, ...]:
    """`count` clips; `rate`, `dim` and `seconds` as `Clip` has them."""
    return tuple(Clip(number, **how) for number in range(count))  # type: ignore[arg-type]
