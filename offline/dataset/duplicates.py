"""The same sound under two names, also when it was encoded again, cut or made louder.

Fingerprints after Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System" (ISMIR 2002):
whether the energy differences of 33 bands rise or fall from frame to frame, 32 bits a frame.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.audio import ANALYSIS_RATE, Audio

Print = NDArray[np.uint32]

WINDOW, SIZE, HOP = 6_144, 8_192, 256  # samples at 16 kHz: 384 ms, its transform, 16 ms
BANDS, LOWEST_HZ, HIGHEST_HZ = 33, 300.0, 2_000.0
FAINT = 1e-8  # mean square below which a frame says nothing; its print is 0
MOST_ALIKE = 12  # frames with one print: more are a hum, and prove nothing
STRETCH = 192  # frames, 3 s: the least that is called the same
SAME = 0.35  # share of bits that may differ in a stretch; of unrelated sounds it is one half
MOSTLY = 0.7  # share of a stretch in which there must be sound
TRIED = 8  # offsets looked at for a pair


@dataclass(frozen=True)
class Shared:
    """Sound that two recordings have in common.

    first, second  numbers of the recordings
    seconds        how much
    share          of the shorter of the two
    """

    first: int
    second: int
    seconds: float
    share: float


def fingerprint(heard: Audio) -> Print:
    """Of 16 kHz audio [n]: one print a hop of 16 ms. It does not depend on the level."""
    if len(heard) < WINDOW + HOP:
        return np.zeros(0, np.uint32)
    frames = np.lib.stride_tricks.sliding_window_view(heard, WINDOW)[::HOP]
    edges = np.geomspace(LOWEST_HZ, HIGHEST_HZ, BANDS + 1) * SIZE / ANALYSIS_RATE
    bounds = np.rint(edges).astype(np.int64)
    window = np.hanning(WINDOW).astype(np.float32)
    parts: list[NDArray[np.float64]] = []
    loud: list[NDArray[np.bool_]] = []
    for at in range(0, len(frames), 256):
        some = frames[at : at + 256]
        power = np.square(np.abs(np.fft.rfft(some * window, SIZE)))
        parts.append(np.add.reduceat(power, bounds, axis=1)[:, :BANDS])
        loud.append(np.mean(np.square(some), axis=1) > FAINT)
    energy = np.concatenate(parts)
    slope = np.diff(energy, axis=1)
    bits = (slope[1:] - slope[:-1]) > 0.0
    words = bits @ (np.uint64(1) << np.arange(32, dtype=np.uint64))
    return np.where(np.concatenate(loud)[1:], words, 0).astype(np.uint32)


def shared(prints: Sequence[Print]) -> list[Shared]:
    """All pairs of recordings with at least 3 s in common, the most alike first."""
    found: list[Shared] = []
    for (one, two), offsets in _candidates(prints).items():
        same = [_same(prints[one], prints[two], offset) for offset, _ in offsets.most_common(TRIED)]
        seconds = max(same, default=0) * HOP / ANALYSIS_RATE
        if seconds > 0.0:
            shorter = min(len(prints[one]), len(prints[two])) * HOP / ANALYSIS_RATE
            found.append(Shared(one, two, seconds, min(1.0, seconds / shorter)))
    return sorted(found, key=lambda pair: (-pair.share, pair.first, pair.second))


def _candidates(prints: Sequence[Print]) -> dict[tuple[int, int], Counter[int]]:
    """For each pair, how often an equal print lies so many frames later in the first one."""
    words = np.concatenate([np.zeros(0, np.uint32), *prints])
    owner = np.repeat(np.arange(len(prints)), [len(each) for each in prints])
    place = np.concatenate([np.zeros(0, np.int64), *(np.arange(len(each)) for each in prints)])
    order = np.argsort(words, kind="stable")
    order = order[words[order] != 0]
    ends = np.flatnonzero(np.diff(words[order])) + 1
    found: dict[tuple[int, int], Counter[int]] = {}
    for group in np.split(order, ends):
        if not 1 < len(group) <= MOST_ALIKE:
            continue
        for i, a in enumerate(group):
            for b in group[i + 1 :]:
                if owner[a] != owner[b]:
                    one, two = (a, b) if owner[a] < owner[b] else (b, a)
                    pair = (int(owner[one]), int(owner[two]))
                    found.setdefault(pair, Counter())[int(place[one] - place[two])] += 1
    return found


def _same(one: Print, two: Print, offset: int) -> int:
    """Frames of `one` in stretches that `two`, `offset` frames earlier, has as well."""
    begin = max(0, offset)
    a = one[begin : begin + min(len(one) - begin, len(two) - (begin - offset))]
    b = two[begin - offset :][: len(a)]
    if len(a) < STRETCH:
        return 0
    differ = np.unpackbits((a ^ b).view(np.uint8).reshape(-1, 4), axis=1).sum(axis=1) / 32.0
    told = (a != 0) | (b != 0)  # silence is like silence, and says nothing
    errors, heard = (
        sums[STRETCH:] - sums[:-STRETCH]
        for sums in (np.cumsum(np.pad(x, (1, 0))) for x in (differ * told, told.astype(float)))
    )
    alike = (errors < SAME * heard) & (heard >= MOSTLY * STRETCH)
    covered = np.zeros(len(a) + 1, np.int64)
    starts = np.flatnonzero(alike)
    np.add.at(covered, starts, 1)
    np.add.at(covered, starts + STRETCH, -1)
    return int(((np.cumsum(covered)[:-1] > 0) & told).sum())
