"""How well a melody is kept."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from stream.audio import Audio

FEWEST: Final = 10  # frames voiced in both, below which nothing is said of the pitch


@dataclass(frozen=True)
class Kept:
    """Two pitches [T] of 10 ms frames compared.

    correlation    of log f0 where both are voiced, -1..1; NaN where too few frames are
    voicing_error  share of frames that are voiced in one and not in the other, 0..1
    cents          median distance from the constant shift between the two; NaN likewise
    both           frames that are voiced in both
    """

    correlation: float
    voicing_error: float
    cents: float
    both: int


def compare_melodies(one: Audio, other: Audio) -> Kept:
    """Compare f0 in Hz, 0 where unvoiced; what is longer is cut.

    Law: a transposition by a constant factor changes nothing but rounding.
    """
    n = min(len(one), len(other))
    a, b = one[:n].astype(np.float64), other[:n].astype(np.float64)
    both = (a > 0.0) & (b > 0.0)
    error = float(np.mean((a > 0.0) != (b > 0.0))) if n else 0.0
    if both.sum() < FEWEST:
        return Kept(float("nan"), error, float("nan"), int(both.sum()))
    a, b = np.log2(a[both]), np.log2(b[both])
    apart = b - a
    cents = 1200.0 * float(np.median(np.abs(apart - np.median(apart))))
    moved = min(float(np.std(a)), float(np.std(b))) > 1e-9
    correlation = float(np.corrcoef(a, b)[0, 1]) if moved else float("nan")
    return Kept(correlation, error, cents, int(both.sum()))
