"""From salience, how much each of 360 pitches is there, to the pitch."""

import math
from typing import NamedTuple

import numpy as np

from stream.audio import Audio
from stream.models.f0.detector import HIGHEST_HZ, LOWEST_HZ

BINS = 360
BESIDE = 4  # bins on either side of the best one that are averaged
CREPE_CENTS = 1997.3794084376191 + 20.0 * np.arange(BINS)  # of each bin, above 10 Hz; RMVPE's too


class Pitch(NamedTuple):
    """What a salience says, frame by frame: octaves = log2 of Hz, [frames]; sure, [frames]."""

    octaves: Audio
    sure: Audio


def in_range(f0: Audio) -> Audio:
    """`f0` in Hz with what lies outside 50..1100 Hz, or is no number, as unvoiced."""
    return np.where((f0 >= LOWEST_HZ) & (f0 <= HIGHEST_HZ), f0, 0.0)


def around(salience: Audio, best: Audio, cents: Audio) -> Audio:
    """log2 of the pitch in Hz [frames]: the mean of bin `best` and four on either side, weighted.

    salience [frames, bins], best [frames] bin numbers, cents [bins] above 10 Hz
    """
    apart = np.abs(np.arange(len(cents)) - best[:, np.newaxis])
    weights = np.where(apart <= BESIDE, salience, 0.0) + 1e-12 * (apart == 0)
    return (weights @ cents) / weights.sum(axis=1) / 1200.0 + math.log2(10.0)


def strongest(salience: Audio, cents: Audio) -> Pitch:
    """The pitch around each frame's strongest bin, and that bin's salience."""
    best = np.argmax(salience, axis=1)
    return Pitch(around(salience, best, cents), salience.max(axis=1))
