"""Where to cut recordings: at silence, and where there is none at the quietest moment."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from offline.dataset.settings import DatasetSettings
from stream.audio import Audio
from stream.line import runs

FRAMES_A_SECOND = 50
MARGIN = 8  # frames, 160 ms, of what surrounds speech: onsets and endings are soft
LEAST_SPEECH = 10  # frames, 200 ms: less is a click or a cough
SMOOTH = 5  # frames over which "quiet" is meant

Slice = tuple[int, int]
"""Content frames of 20 ms: the first, and the first one after."""


def slices(levels: Audio, threshold_db: float, settings: DatasetSettings) -> list[Slice]:
    """The stretches of speech in a recording with these levels [frames of 20 ms], in order.

    Laws: slices do not overlap; each is between `shortest_s` and `longest_s` long; no pause in
    one is longer than `pause_s` but for what fills it up to `shortest_s`; every frame of speech is
    in a slice, unless it belongs to less than 200 ms of it between two such pauses, or there is no
    room around it for `shortest_s`.
    """
    shortest = round(settings.shortest_s * FRAMES_A_SECOND)
    longest = round(settings.longest_s * FRAMES_A_SECOND)
    speaks = levels > threshold_db
    joined = _joined(speaks, round(settings.pause_s * FRAMES_A_SECOND))
    joined = [(a, b) for a, b in joined if speaks[a:b].sum() >= LEAST_SPEECH]
    found: list[Slice] = []
    for place, (begin, end) in enumerate(joined):
        after = joined[place + 1][0] if place + 1 < len(joined) else len(levels)
        before = found[-1][1] if found else 0
        wide = max(before, begin - MARGIN), min(after, end + MARGIN)
        wide = _filled(wide, shortest, before, after)
        if wide[1] - wide[0] >= shortest:
            found.extend(_cut(levels, wide, shortest, longest))
    return found


def _joined(speaks: NDArray[np.bool_], pause: int) -> list[Slice]:
    """Runs of speech, those with at most `pause` frames between them as one."""
    found: list[Slice] = []
    for begin, end in runs(speaks):
        if found and begin - found[-1][1] <= pause:
            found[-1] = (found[-1][0], end)
        else:
            found.append((begin, end))
    return found


def _filled(wide: Slice, shortest: int, before: int, after: int) -> Slice:
    """`wide` with silence on both sides until it is long enough, as far as there is room."""
    begin, end = wide
    missing = max(0, shortest - (end - begin))
    begin = max(before, begin - missing // 2)
    end = min(after, max(end, begin + shortest))
    return max(before, min(begin, end - shortest)), end


def _cut(levels: Audio, piece: Slice, shortest: int, longest: int) -> Iterator[Slice]:
    begin, end = piece
    size = end - begin
    if size <= longest:
        yield piece
        return
    low = begin + max(shortest, size // 4)
    high = end - max(shortest, size // 4)
    around = np.convolve(levels, np.ones(SMOOTH) / SMOOTH, mode="same")[low : high + 1]
    middle = np.abs(np.arange(low, high + 1) - (begin + end) / 2.0)
    at = low + int(np.lexsort((middle, np.round(around, 3)))[0])
    yield from _cut(levels, (begin, at), shortest, longest)
    yield from _cut(levels, (at, end), shortest, longest)
