"""What the pitch detector learns from: crops of speech and of made singing, with their pitch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from offline.train.starter.speech import read_16k
from stream.audio import ANALYSIS_RATE, FRAME_HOP, Audio
from stream.models.f0 import HIGHEST_HZ, LOWEST_HZ, F0Detector

PAIRS = 40  # content frames of a crop
MARGIN = 1_024  # samples before and after them
SAMPLES = 2 * MARGIN + 2 * PAIRS * FRAME_HOP
TABLE = 2_048  # samples of one period of made singing
FASTEST, SLOWEST = 2.5, 0.5  # how a crop is played


@dataclass(frozen=True)
class Recording:
    """sound [n] at 16 kHz, f0 [n // 160] in Hz, 0 unvoiced."""

    sound: Audio
    f0: Audio


@dataclass(frozen=True)
class Crop:
    """sound [SAMPLES]; of the 2 PAIRS frames after the margin: f0 in Hz, 0 unvoiced; known [80].

    known  where what f0 says is sure
    """

    sound: Audio
    f0: Audio
    known: NDArray[np.bool_]


def load(folder: Path, work: Path, teacher: F0Detector) -> list[Recording]:
    """Every recording below `folder` with the pitch that `teacher` finds in the whole of it.

    What it found is kept in `work`, for the next time. Raises `FileNotFoundError` for a folder
    without recordings.
    """
    found: list[Recording] = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix in {".wav", ".flac", ".ogg"}):
        sound = read_16k(path).astype(np.float32)
        kept = work / f"{'-'.join(path.relative_to(folder).with_suffix('').parts)}.f0.npy"
        if not kept.exists():
            np.save(kept, teacher.detect_file(sound))
        found.append(Recording(sound, np.load(kept)))
    if not found:
        raise FileNotFoundError(f"{folder}: there is no .wav, .flac or .ogg in it")
    return found


class Crops:
    """Draws crops: of `recordings` most of the time, else made singing, or nothing but noise."""

    SUNG, NOTHING = 0.22, 0.04  # shares

    def __init__(self, recordings: Sequence[Recording], seed: int) -> None:
        wanted = math.ceil((SAMPLES + 640) * FASTEST)
        self._recordings = [r for r in recordings if len(r.sound) > wanted]
        lengths = np.array([len(r.sound) for r in self._recordings], float)
        self._shares = lengths / lengths.sum()
        self._chance = np.random.default_rng(seed)

    def __call__(self) -> Crop:
        chance = self._chance
        kind = chance.random()
        if kind < self.NOTHING:
            frames = np.zeros(2 * PAIRS, np.float32)
            level = 10.0 ** chance.uniform(-5.0, 0.0) * (chance.random() < 0.8)
            sound = level * disturbance(chance)
            return Crop(sound.astype(np.float32), frames, frames == 0.0)
        crop = sung(chance) if kind < self.NOTHING + self.SUNG else self._spoken()
        sound = crop.sound
        if chance.random() < 0.35:
            sound = coloured(sound, chance)
        if chance.random() < 0.2:
            sound = echoed(sound, chance)
        if chance.random() < 0.5:
            sound = under_noise(sound, chance)
        return Crop(sound.astype(np.float32), crop.f0, crop.known)

    def _spoken(self) -> Crop:
        """A piece of a recording, half of the time played faster or slower."""
        chance = self._chance
        taken = self._recordings[chance.choice(len(self._recordings), p=self._shares)]
        speed = 1.0
        if chance.random() < 0.6:
            speed = math.exp(chance.uniform(math.log(SLOWEST), math.log(FASTEST)))
        needed = math.ceil((SAMPLES + 320) * speed)
        first = int(chance.integers(0, len(taken.sound) - needed))
        sound = taken.sound[first : first + needed]
        if speed != 1.0:
            sound = soxr.resample(sound, ANALYSIS_RATE * speed, ANALYSIS_RATE, quality="HQ")
        sound = np.pad(sound[:SAMPLES], (0, max(0, SAMPLES - len(sound))))
        at = MARGIN + FRAME_HOP // 2 + FRAME_HOP * np.arange(2 * PAIRS)
        f0 = between(taken.f0, (first + at * speed) / FRAME_HOP - 0.5) * speed
        known = (f0 == 0.0) | ((f0 >= LOWEST_HZ) & (f0 <= HIGHEST_HZ))
        return Crop(sound, f0.astype(np.float32), known)


def between(f0: Audio, places: Audio) -> Audio:
    """f0 at fractions of a frame: on a line between voiced frames, else the nearer one's."""
    below = np.clip(np.floor(places).astype(int), 0, len(f0) - 1)
    above = np.minimum(below + 1, len(f0) - 1)
    share = np.clip(places - below, 0.0, 1.0)
    line = f0[below] * (1.0 - share) + f0[above] * share
    both = (f0[below] > 0.0) & (f0[above] > 0.0)
    return np.where(both, line, np.where(share < 0.5, f0[below], f0[above]))


def sung(chance: np.random.Generator) -> Crop:
    """A made voice whose pitch is known exactly: glides, vibrato, pauses, resonances, breath."""
    time = np.arange(SAMPLES) / ANALYSIS_RATE
    start = chance.uniform(math.log2(55.0), math.log2(1_050.0))
    slope = chance.normal(0.0, 0.5) if chance.random() < 0.6 else 0.0
    depth = chance.uniform(0.0, 0.08) if chance.random() < 0.6 else 0.002
    wave = np.sin(2 * np.pi * (chance.uniform(3.0, 7.5) * time + chance.random()))
    leap = chance.normal(0.0, 0.5) * (time > chance.uniform(0.0, 1.6))  # half of them later
    hz = np.exp2(np.clip(start + slope * (time - 0.45) + depth * wave + leap, 5.65, 10.1))
    phase = np.cumsum(hz) / ANALYSIS_RATE
    table = period(chance, int(7_600 / hz.max()))
    sound = np.interp((phase % 1.0) * TABLE, np.arange(TABLE + 1), np.append(table, table[0]))
    loud = loudness(chance)
    sound = resonant(sound, chance) * loud
    level = math.sqrt(float(np.mean(sound**2))) + 1e-9
    breath = 10.0 ** chance.uniform(-3.0, -0.8) * chance.standard_normal(SAMPLES)
    at = MARGIN + FRAME_HOP // 2 + FRAME_HOP * np.arange(2 * PAIRS)
    f0 = np.where(loud[at] >= 0.1, hz[at], 0.0).astype(np.float32)
    sure = ((loud[at] <= 0.0) | (loud[at] >= 0.3)) & ((f0 == 0.0) | (f0 <= HIGHEST_HZ))
    return Crop(sound / level + breath, f0, sure)


def period(chance: np.random.Generator, most: int) -> Audio:
    """One period, [TABLE], of up to `most` partials that fall off more or less steeply."""
    count = max(1, most) if chance.random() < 0.93 else int(chance.integers(1, 4))
    number = np.arange(1, min(max(1, most), count) + 1)
    steps = chance.normal(0.0, 0.35, len(number))  # nepers
    heights = number ** -chance.uniform(0.2, 2.0) * np.exp(steps)
    if chance.random() < 0.15 and len(number) > 3:
        heights[0] *= chance.random() ** 2
    spectrum = np.zeros(TABLE // 2 + 1, complex)
    spectrum[number] = heights * np.exp(2j * np.pi * chance.random(len(number)))
    return np.fft.irfft(spectrum, TABLE) * TABLE


def loudness(chance: np.random.Generator) -> Audio:
    """How loud a made voice is, [SAMPLES], 0..1: it comes and goes."""
    edges = np.cumsum(chance.exponential(0.35 * ANALYSIS_RATE, 12)).astype(int)
    on = np.zeros(SAMPLES)
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        on[min(begin, SAMPLES) : end] = 10.0 ** chance.uniform(-0.6, 0.0)
    if chance.random() < 0.5:
        on = np.ones(SAMPLES)
    rise = int(chance.uniform(0.005, 0.04) * ANALYSIS_RATE)
    smooth = np.hanning(rise + 2)
    return np.asarray(np.convolve(on, smooth / smooth.sum(), "same"), np.float64)


def resonant(sound: Audio, chance: np.random.Generator) -> Audio:
    """`sound` through three to five formants of a voice, nobody's in particular."""
    hz = np.fft.rfftfreq(len(sound), 1.0 / ANALYSIS_RATE)
    scale = chance.uniform(0.8, 1.4)
    shape = np.full(len(hz), chance.uniform(0.02, 0.5))
    for low, high in ((250, 900), (800, 2_400), (2_000, 3_400), (3_000, 4_500)):
        middle = scale * chance.uniform(low, high)
        width = chance.uniform(50.0, 250.0)
        shape += chance.uniform(0.3, 1.0) / (1.0 + np.square((hz - middle) / width))
    return np.fft.irfft(np.fft.rfft(sound) * shape, len(sound))


def coloured(sound: Audio, chance: np.random.Generator) -> Audio:
    """`sound` through a telephone, a dull or a shrill room: two slopes and a tilt."""
    hz = np.fft.rfftfreq(len(sound), 1.0 / ANALYSIS_RATE)
    low = math.exp(chance.uniform(math.log(20.0), math.log(400.0)))
    high = math.exp(chance.uniform(math.log(1_500.0), math.log(9_000.0)))
    shape = 1.0 / np.sqrt(1.0 + (low / (hz + 1.0)) ** 6) / np.sqrt(1.0 + (hz / high) ** 6)
    shape *= ((hz + 100.0) / 1_000.0) ** chance.normal(0.0, 0.3)
    return np.fft.irfft(np.fft.rfft(sound) * shape, len(sound))


def echoed(sound: Audio, chance: np.random.Generator) -> Audio:
    """`sound` in a small room: its reflections die away within a tenth to half of a second."""
    time = np.arange(SAMPLES // 2) / ANALYSIS_RATE
    fading = 10.0 ** (-3.0 * time / chance.uniform(0.08, 0.5)) * (time > 0.002)
    room = chance.standard_normal(len(time)) * fading
    room *= chance.uniform(0.05, 0.5) / math.sqrt(float(np.sum(room**2)))
    room[0] = 1.0
    size = len(sound) + len(room)
    return np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(room, size), size)[: len(sound)]


def disturbance(chance: np.random.Generator) -> Audio:
    """Noise of any colour, or the hum of the mains, [SAMPLES], of level 1."""
    time = np.arange(SAMPLES) / ANALYSIS_RATE
    if chance.random() < 0.15:
        mains = chance.choice([50.0, 60.0]) * np.arange(1, 9)[:, np.newaxis]
        heights = chance.random(8) ** 2 / np.arange(1, 9)
        sound = heights @ np.sin(2 * np.pi * (mains * time + chance.random((8, 1))))
        sound = sound + 0.02 * chance.standard_normal(SAMPLES)
    else:
        hz = np.fft.rfftfreq(SAMPLES, 1.0 / ANALYSIS_RATE)
        shape = ((hz + 20.0) / 1_000.0) ** chance.uniform(-1.2, 0.2)
        sound = np.fft.irfft(np.fft.rfft(chance.standard_normal(SAMPLES)) * shape, SAMPLES)
    return sound / (math.sqrt(float(np.mean(sound**2))) + 1e-9)


def under_noise(sound: Audio, chance: np.random.Generator) -> Audio:
    """`sound` with noise 0 to 45 dB below it, sometimes with a few steady tones."""
    level = math.sqrt(float(np.mean(sound**2)))
    noise = disturbance(chance)
    if chance.random() < 0.1:
        time = np.arange(SAMPLES) / ANALYSIS_RATE
        tones = np.exp2(chance.uniform(7.0, 12.0, (4, 1)))
        noise = noise + np.sin(2 * np.pi * (tones * time + chance.random((4, 1)))).sum(0)
        level *= 0.3
    return sound + level * 10.0 ** (-chance.uniform(0.0, 45.0) / 20.0) * noise
