"""Sound as arrays: the `Audio` alias, the engine's constants, and pure functions.

No state, no I/O, no logging. Mono, float32 at run time, -1..1.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.floating[Any]]
"""Samples in -1..1, float32 at run time (numpy's stubs widen products of float32 arrays)."""

ANALYSIS_RATE = 16_000  # Hz, what content encoders and f0 detectors hear
CONTENT_HOP = 320  # analysis samples a content frame: 20 ms, 50 frames/s
FRAME_HOP = 160  # analysis samples an f0 and synthesizer frame: 10 ms, 100 frames/s
FRAMES_PER_CONTENT = CONTENT_HOP // FRAME_HOP
RATES = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)  # Hz, what a client may send

SILENCE_DB = -120.0  # dBFS, the level given to digital silence


def rms_db(x: Audio) -> float:
    """Level of `x` in dBFS: a full-scale square wave is 0, nothing and silence are -120.

    >>> rms_db(np.ones(8, np.float32))
    0.0
    >>> rms_db(np.zeros(0, np.float32))
    -120.0
    """
    return float(frame_levels(x, len(x))[0]) if len(x) else SILENCE_DB


def frame_levels(x: Audio, size: int) -> Audio:
    """Levels in dBFS, [n], of the frames of `size` samples in `x` [n * size].

    A frame's level depends on its own samples only, bit for bit.
    """
    frames = x.reshape(-1, size).astype(np.float64)  # a square of 1e-30 must not vanish
    power = np.mean(frames * frames, axis=1)
    return np.maximum(10.0 * np.log10(power + 1e-30), SILENCE_DB).astype(np.float32)


def gain(db: float) -> float:
    """The factor that changes a level by `db`.

    >>> gain(-20.0)
    0.1
    """
    return 10.0 ** (db / 20.0)


def sin2_rise(n: int) -> Audio:
    """Rising sin² curve, [n], for fading one sound; with its mirror image it sums to 1.

    It keeps the sum of two copies of the *same* sound.
    """
    return np.square(equal_power_rise(n))


def equal_power_rise(n: int) -> Audio:
    """Rising quarter sine, [n], for fading from one sound to another.

    Its square and its mirror image's square sum to 1: two *different* sounds keep their power.
    """
    return np.sin(0.5 * np.pi * (np.arange(n) + 0.5) / max(n, 1)).astype(np.float32)


def crossfade(old: Audio, new: Audio, rise: Audio) -> Audio:
    """Fade from `old` to `new` along `rise` and its mirror image; all are [n]."""
    return old * rise[::-1] + new * rise


LIMIT_KNEE = 0.9  # full scale 1; below it the limiter changes nothing


def soft_limit(x: Audio) -> Audio:
    """`x` bent so that it stays within -1..1; below 0.9 it is `x` itself, bit for bit.

    Monotonic and smooth (the slope is continuous at the knee), so a loud passage is rounded where
    a plain clip would crackle. What is no number becomes silence.
    """
    size = np.abs(x)
    if not (size > LIMIT_KNEE).any() and np.isfinite(x).all():
        return x.copy()
    room = 1.0 - LIMIT_KNEE
    bent = LIMIT_KNEE + room * np.tanh((size - LIMIT_KNEE) / room)
    out = np.where(size > LIMIT_KNEE, np.copysign(bent, x), x)
    return np.where(np.isnan(x), 0.0, out).astype(np.float32)


def float_from_s16(x: NDArray[np.int16]) -> Audio:
    """16-bit samples as float32: -32768 is -1.0. `s16_from_float` undoes it exactly."""
    return x.astype(np.float32) / np.float32(32768)


def s16_from_float(x: Audio) -> NDArray[np.int16]:
    """Samples rounded to 16 bits; what lies outside -1..1 is clipped, NaN is silence.

    >>> s16_from_float(np.array([-2.0, -1.0, 0.5, 1.0], np.float32)).tolist()
    [-32768, -32768, 16384, 32767]
    """
    bounded = np.clip(np.where(np.isnan(x), 0.0, x), -1.0, 1.0)
    return np.minimum(np.rint(bounded * 32768.0), 32767.0).astype(np.int16)
