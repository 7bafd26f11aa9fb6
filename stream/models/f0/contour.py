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


def within(f0: Audio, low: float, high: float) -> Audio:
    """`f0` in Hz with what lies outside `low`..`high` as unvoiced.

    >>> within(np.array([0.0, 80.0, 300.0], np.float32), 100.0, 400.0).tolist()
    [0.0, 0.0, 300.0]
    """
    return np.where((f0 >= low) & (f0 <= high), f0, np.zeros_like(f0))


def interpolated(f0: Audio) -> Audio:
    """`f0` in Hz with unvoiced frames on straight lines between their voiced neighbours.

    Before the first and after the last voiced frame its pitch is held. Voiced frames stay as they
    are; where nothing is voiced, nothing changes. For whole recordings.

    >>> interpolated(np.array([0.0, 100.0, 0.0, 0.0, 130.0, 0.0], np.float32)).tolist()
    [100.0, 100.0, 110.0, 120.0, 130.0, 130.0]
    """
    voiced = np.flatnonzero(f0 > 0.0)
    if not len(voiced):
        return f0.copy()
    return np.interp(np.arange(len(f0)), voiced, f0[voiced]).astype(f0.dtype)


def held(f0: Audio, last: float) -> Audio:
    """`f0` in Hz with unvoiced frames at the last pitch before them; live, no later one is known.

    last  the pitch held at the end of what came before, 0 when there was none. What `held` gives
          for a stream does not depend on how it is cut, when each piece gets the last value
          before it.

    >>> held(np.array([0.0, 100.0, 0.0], np.float32), 90.0).tolist()
    [90.0, 100.0, 100.0]
    """
    voiced = f0 > 0.0
    newest = np.maximum.accumulate(np.where(voiced, np.arange(len(f0)), -1))
    return np.where(newest >= 0, f0[newest], np.float32(last)).astype(np.float32)
