"""Pitch contours as arrays: interpolation, octave errors."""

import numpy as np
from numpy.typing import NDArray

from stream.audio import Audio

NEAR_OCTAVE = 0.15  # octaves: a jump this close to an octave looks like a detector's mistake


def repair_octaves(pitch: Audio, voiced: NDArray[np.bool_]) -> Audio:
    """`pitch` [n] (log2 Hz) with short jumps of an octave undone.

    A voiced frame is moved by one octave when that brings it to the median of the voiced frames
    among the five around it, itself included (of an even number, the lower of the middle two; of
    fewer than three, nothing is said). So an error of up to two frames goes, and a leap that stays
    is kept.
    """
    if not voiced.any() or np.ptp(pitch[voiced]) < 1.0 - NEAR_OCTAVE:
        return pitch
    padded = np.full(len(pitch) + 4, np.inf)
    padded[2:-2] = np.where(voiced, pitch, np.inf)
    around = np.sort(np.stack([padded[i : i + len(pitch)] for i in range(5)]), axis=0)
    known = np.isfinite(around).sum(axis=0)
    median = around[np.maximum(known - 1, 0) // 2, np.arange(len(pitch))]
    judged = voiced & (known >= 3)
    jump = np.where(judged, pitch, 0.0) - np.where(judged, median, 0.0)
    wrong = np.abs(np.abs(jump) - 1.0) <= NEAR_OCTAVE
    return np.where(wrong, pitch - np.sign(jump), pitch)


def shares(distances: NDArray[np.int64], at: NDArray[np.int64]) -> Audio:
    """Linear interpolation as a matrix, [m, n]: how much each frame counts at each of `at` [m].

    distances [n]  where the frames lie, evenly spaced. Rows sum to 1; shares @ distances == at.
    """
    away = np.abs(at[:, np.newaxis] - distances)
    return np.maximum(0.0, 1.0 - away / abs(int(distances[0] - distances[1])))


def between(weights: Audio, pitch: Audio, confidence: Audio) -> tuple[Audio, Audio]:
    """Pitch and confidence between frames, [m] each; weights [m, n] from `shares`.

    In the pitch, a frame counts by its confidence too: next to a voiced frame, what an unvoiced
    one takes for its pitch has no say.
    """
    say = weights * (confidence + 1e-9)
    return (say @ pitch) / say.sum(axis=1), weights @ confidence
