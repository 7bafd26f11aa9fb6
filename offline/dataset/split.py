"""What is kept from training, to judge by: whole recordings, never slices of ones trained on."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from offline.dataset.duplicates import Shared
from offline.dataset.settings import DatasetSettings
from offline.dataset.slices import FRAMES_A_SECOND, Slice

LEAST_S, MOST_S = 10.0, 180.0  # of speech that is held out for a speaker
MOST_SHARE = 0.25  # of a speaker's speech; larger recordings are not held out whole
GAP_S = 2.0  # between what is trained on and a held-out end of the same recording
ALIKE = 0.2  # share of a recording that another has too: they stay on one side

Side = Literal["training", "held out", "neither"]


@dataclass(frozen=True)
class Material:
    """The slices of one recording."""

    sha256: str
    speaker: int
    slices: tuple[Slice, ...]

    @property
    def frames(self) -> int:
        """Content frames in slices."""
        return sum(end - begin for begin, end in self.slices)


@dataclass(frozen=True)
class Split:
    """Which slice goes where.

    sides  for each recording, one side for each of its slices
    ends   the recordings of which only the end is held out, for want of others
    """

    sides: tuple[tuple[Side, ...], ...]
    ends: tuple[int, ...]


def split(
    material: Sequence[Material], alike: Sequence[Shared], settings: DatasetSettings
) -> Split:
    """Hold out about `settings.held_out` of each speaker's speech, 10 s to 3 minutes of it.

    Laws: no recording has slices on both sides, and neither have two recordings with the same
    sound in them; a speaker with one recording only, or a few very unequal ones, has the end of
    the longest held out instead, 2 s of sound away from what is trained on; at most a quarter of
    anybody's speech is held out. The choice follows from the seed and what is in the files, not
    from their names or order.
    """
    groups = _groups(len(material), alike)
    sides: list[list[Side]] = [["training"] * len(each.slices) for each in material]
    ends: list[int] = []
    for speaker in sorted({each.speaker for each in material}):
        own = [k for k, each in enumerate(material) if each.speaker == speaker and each.slices]
        if not own:
            continue
        total = sum(material[k].frames for k in own)
        wanted = _wanted(total, settings.held_out)
        chosen = _chosen(material, groups, own, total, wanted, settings.seed)
        for k in chosen:
            sides[k] = ["held out"] * len(sides[k])
        if not chosen:
            longest = max(own, key=lambda k: (material[k].frames, material[k].sha256))
            sides[longest] = _end(material[longest].slices, wanted)
            ends.append(longest)
            for k in own:
                if groups[k] == groups[longest] and k != longest:
                    sides[k] = ["neither"] * len(sides[k])
    return Split(tuple(tuple(each) for each in sides), tuple(ends))


def _wanted(total: int, share: float) -> int:
    """Content frames to hold out of `total`."""
    least, most = LEAST_S * FRAMES_A_SECOND, MOST_S * FRAMES_A_SECOND
    return int(min(max(share * total, least), most, MOST_SHARE * total))


def _groups(count: int, alike: Sequence[Shared]) -> list[int]:
    """For each recording the lowest number among those that share sound with it."""
    group = list(range(count))
    for pair in alike:
        if pair.share < ALIKE:
            continue
        one, two = sorted((group[pair.first], group[pair.second]))
        group = [one if each == two else each for each in group]
    return group


def _chosen(
    material: Sequence[Material],
    groups: list[int],
    own: list[int],
    total: int,
    wanted: int,
    seed: int,
) -> list[int]:
    """Recordings to hold out whole; none when all are too large for it."""

    def drawn(members: list[int]) -> str:
        least = min(material[k].sha256 for k in members)
        return hashlib.sha256(f"{seed} {least}".encode()).hexdigest()

    sets = [[k for k in own if groups[k] == group] for group in sorted({groups[k] for k in own})]
    chosen: list[int] = []
    held = 0
    for members in sorted(sets, key=drawn):
        size = sum(material[k].frames for k in members)
        if held + size <= MOST_SHARE * total and held < wanted:
            chosen += members
            held += size
    return chosen


def _end(slices: Sequence[Slice], wanted: int) -> list[Side]:
    """The last slices with `wanted` frames in them held out; none when that is all there are."""
    begin, held = slices[-1][1], 0
    for first, until in reversed(slices):
        if held >= wanted or (held and held + until - first > 2 * wanted):
            break
        begin, held = first, held + until - first
    border = begin - round(GAP_S * FRAMES_A_SECOND)
    sides: list[Side] = [
        "held out" if first >= begin else "training" if until <= border else "neither"
        for first, until in slices
    ]
    return sides if "training" in sides else ["training"] * len(sides)
