"""A song of our own with exact stems: a voice on a melody over a band, all of it computed.

The voice is the public-domain speech in tests/speech, its pitch moved onto the notes with WORLD
(pyworld); the band is synthesised. Nothing random is unseeded: the same arguments, the same song.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray
from scipy.signal import fftconvolve, lfilter

from stream.audio import Audio

SPEECH = sorted((Path(__file__).parent / "speech").glob("*.wav"))
SPEECH_RATE = 16_000
BEAT = 0.6  # s
CHORDS = ((48, 0), (45, 1), (41, 0), (43, 0))  # root as MIDI note, 1 for minor; a bar of 4 each
MELODY = (64, 67, 69, 67, 64, 60, 62, 64, 65, 69, 67, 65, 62, 59, 62, 67)  # a note a beat
VIBRATO_HZ, VIBRATO_SEMITONES = 5.5, 0.3


@dataclass(frozen=True)
class Song:
    """Stems float32 [n, 2] at `rate` Hz: `mix` is exactly `voice` + `band`.

    `melody_hz` is what is sung, one value every 5 ms, wherever there is a voice at all.
    """

    voice: Audio
    band: Audio
    rate: int
    melody_hz: Audio

    @property
    def mix(self) -> Audio:
        """What a listener hears."""
        return self.voice + self.band


@functools.cache
def song(seconds: float = 12.0, rate: int = 44_100, seed: int = 7) -> Song:
    """The song, that long; the voice is as loud as the band. Skips the test without pyworld."""
    n = round(seconds * rate)
    melody = melody_hz(seconds)
    sung = _sing(melody)
    voice = _hall(soxr.resample(sung, SPEECH_RATE, rate, quality="VHQ")[:n], rate)
    voice = np.pad(voice, ((0, n - len(voice)), (0, 0)))
    band = _band(seconds, rate, np.random.default_rng(seed))
    voice = voice * (np.std(band) / np.std(voice))
    loudest = np.abs(voice + band).max() / 0.8
    return Song(
        (voice / loudest).astype(np.float32), (band / loudest).astype(np.float32), rate, melody
    )


def sdr(wanted: Audio, found: Audio) -> float:
    """Signal-to-distortion ratio in dB: the energy of `wanted` over that of the error.

    The plain ratio, without any filter allowed (museval's "global" SDR; the SDR of the Music
    Demixing Challenge 2021).
    """
    error = np.sum(np.square(wanted - found), dtype=np.float64)
    return float(10 * np.log10(np.sum(np.square(wanted), dtype=np.float64) / max(error, 1e-20)))


def melody_hz(seconds: float) -> Audio:
    """The melody, one value every 5 ms, with vibrato."""
    t = np.arange(int(seconds / 0.005) + 1) * 0.005
    notes = np.array(MELODY, np.float64)[(t / BEAT).astype(int) % len(MELODY)]
    smooth = np.convolve(np.pad(notes, 6, mode="edge"), np.ones(13) / 13, mode="valid")
    wobble = VIBRATO_SEMITONES * np.sin(2 * np.pi * VIBRATO_HZ * t)
    return 440.0 * 2.0 ** ((smooth + wobble - 69) / 12)


def _sing(melody: Audio) -> Audio:
    """The speech at the pitch of `melody`, at 16 kHz; as long as that."""
    pyworld = pytest.importorskip("pyworld", reason="the extra `offline` is not installed")
    parts: list[NDArray[Any]] = []
    wanted = len(melody) * SPEECH_RATE // 200
    while sum(map(len, parts)) < wanted:
        for path in SPEECH:
            parts += [np.asarray(soundfile.read(path)[0]), np.zeros(SPEECH_RATE // 4)]
    speech = np.ascontiguousarray(np.concatenate(parts)[:wanted])
    rough, times = pyworld.dio(speech, SPEECH_RATE, frame_period=5.0)
    f0 = pyworld.stonemask(speech, rough, times, SPEECH_RATE)
    envelope = pyworld.cheaptrick(speech, f0, times, SPEECH_RATE)
    breath = pyworld.d4c(speech, f0, times, SPEECH_RATE)
    note = np.interp(times, np.arange(len(melody)) * 0.005, melody)
    sung = pyworld.synthesize(np.where(f0 > 0, note, 0.0), envelope, breath, SPEECH_RATE, 5.0)
    return np.asarray(sung[:wanted], np.float32)


def _hall(x: Audio, rate: int) -> Audio:
    """`x` [n] with a little of a room, as [n, 2]."""
    rng = np.random.default_rng(3)
    n = int(0.4 * rate)
    tail = rng.standard_normal((n, 2)) * np.exp(-np.arange(n) / (0.08 * rate))[:, None]
    tail = 0.12 * tail / np.sqrt(np.sum(tail**2, axis=0))
    wet = np.stack([fftconvolve(x, tail[:, i])[: len(x)] for i in range(2)], axis=1)
    return (x[:, None] + wet).astype(np.float32)


def _band(seconds: float, rate: int, rng: np.random.Generator) -> Audio:
    """Plucked chords, a bass and drums, [n, 2]."""
    n = round(seconds * rate)
    out = np.zeros((n + rate, 2))
    for beat in range(int(seconds / BEAT) + 1):
        root, minor = CHORDS[beat // 4 % len(CHORDS)]
        at = round(beat * BEAT * rate)
        if at >= n:
            break
        chord = (root + 12, root + 16 - minor, root + 19, root + 24)
        for i, note in enumerate(chord):
            strum = at + round((0.012 * i + 0.5 * BEAT * (i % 2)) * rate)
            _add(out, strum, _string(note, 0.9, rate, rng), 0.3, -0.6 + 0.4 * i)
        _add(out, at, _string(root - 12, 0.5, rate, rng), 0.7, 0.0)
        drum = _kick(rate) if beat % 2 == 0 else _snare(rate, rng)
        _add(out, at, drum, 0.8, 0.1)
        for half in range(2):
            _add(out, at + round(half * BEAT / 2 * rate), _hat(rate, rng), 0.15, 0.4)
    return out[:n].astype(np.float32)


def _add(out: Audio, at: int, x: Audio, level: float, pan: float) -> None:
    """Mix `x` [m] into `out` [n, 2] from `at` on; `pan` is -1 left .. 1 right."""
    m = max(0, min(len(x), len(out) - at))
    angle = (pan + 1) * np.pi / 4
    out[at : at + m] += level * x[:m, None] * np.array([np.cos(angle), np.sin(angle)])


def _string(note: int, seconds: float, rate: int, rng: np.random.Generator) -> Audio:
    """A plucked string (Karplus and Strong, 1983)."""
    period = round(rate / (440.0 * 2.0 ** ((note - 69) / 12)))
    burst = np.zeros(int(seconds * rate))
    burst[:period] = rng.uniform(-1, 1, period)
    loop = np.zeros(period + 2)
    loop[0] = 1.0
    loop[period:] = -0.498
    return np.asarray(lfilter([1.0], loop, burst))


def _kick(rate: int) -> Audio:
    t = np.arange(int(0.25 * rate)) / rate
    return np.sin(2 * np.pi * (50 * t + 6 * (1 - np.exp(-t / 0.03)))) * np.exp(-t / 0.08)


def _snare(rate: int, rng: np.random.Generator) -> Audio:
    t = np.arange(int(0.2 * rate)) / rate
    return 0.5 * (rng.standard_normal(len(t)) + np.sin(2 * np.pi * 190 * t)) * np.exp(-t / 0.05)


def _hat(rate: int, rng: np.random.Generator) -> Audio:
    t = np.arange(int(0.06 * rate)) / rate
    noise = np.asarray(lfilter([1.0, -0.95], [1.0], rng.standard_normal(len(t))))
    return noise * np.exp(-t / 0.015)
