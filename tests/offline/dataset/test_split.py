import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from offline.dataset.duplicates import Shared
from offline.dataset.settings import DatasetSettings
from offline.dataset.split import GAP_S, Material, split


def recording(name: int, pieces: list[int], speaker: int = 0) -> Material:
    """One with slices of so many frames, 10 frames between them."""
    edges, at = list[tuple[int, int]](), 0
    for size in pieces:
        edges.append((at, at + size))
        at += size + 10
    return Material(hashlib.sha256(str(name).encode()).hexdigest(), speaker, tuple(edges))


SETS = st.lists(
    st.tuples(st.lists(st.integers(50, 400), min_size=1, max_size=12), st.integers(0, 2)),
    min_size=1,
    max_size=10,
)


@settings(max_examples=50)
@given(
    sets=SETS,
    share=st.floats(0.01, 0.5),
    seed=st.integers(0, 5),
    twins=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=3),
)
def test_nothing_that_is_learnt_is_judged_by(
    sets: list[tuple[list[int], int]], share: float, seed: int, twins: list[tuple[int, int]]
) -> None:
    material = [recording(k, pieces, speaker) for k, (pieces, speaker) in enumerate(sets)]
    alike = [Shared(a, b, 9.0, 0.9) for a, b in twins if a < b < len(material)]
    found = split(material, alike, DatasetSettings(held_out=share, seed=seed))
    used = [set(sides) - {"neither"} for sides in found.sides]
    for k, sides in enumerate(found.sides):
        assert len(sides) == len(material[k].slices)
        if k not in found.ends:
            assert len(used[k]) <= 1
            continue
        learnt = [s[1] for s, side in zip(material[k].slices, sides, strict=True) if side[0] == "t"]
        judged = [s[0] for s, side in zip(material[k].slices, sides, strict=True) if side[0] == "h"]
        assert learnt
        if judged:
            assert min(judged) - max(learnt) >= 50 * GAP_S
    for pair in alike:
        sides = used[pair.first] | used[pair.second]
        if material[pair.first].speaker == material[pair.second].speaker:
            assert len(sides) <= 1 or {pair.first, pair.second} & set(found.ends)


@settings(max_examples=50)
@given(sets=SETS, seed=st.integers(0, 5))
def test_of_everybody_most_is_learnt(sets: list[tuple[list[int], int]], seed: int) -> None:
    material = [recording(k, pieces, speaker) for k, (pieces, speaker) in enumerate(sets)]
    found = split(material, [], DatasetSettings(seed=seed))
    for speaker in {each.speaker for each in material}:
        frames = {"training": 0, "held out": 0, "neither": 0}
        for each, sides in zip(material, found.sides, strict=True):
            if each.speaker == speaker:
                for (begin, end), side in zip(each.slices, sides, strict=True):
                    frames[side] += end - begin
        assert frames["training"] > 0
        total = sum(frames.values())
        longest = max(
            end - begin
            for each in material
            if each.speaker == speaker
            for begin, end in each.slices
        )
        assert frames["held out"] <= 0.25 * total + 2 * longest


def test_of_many_recordings_whole_ones_are_held_out() -> None:
    material = [recording(k, [500]) for k in range(40)]
    found = split(material, [], DatasetSettings(held_out=0.1))
    assert sum(sides == ("held out",) for sides in found.sides) == 4
    assert found.ends == ()


def test_the_choice_does_not_depend_on_names_or_order_but_on_the_seed() -> None:
    material = [recording(k, [500]) for k in range(40)]

    def held(order: list[Material], seed: int) -> set[str]:
        found = split(order, [], DatasetSettings(seed=seed))
        sides = zip(order, found.sides, strict=True)
        return {each.sha256 for each, (side,) in sides if side == "held out"}

    assert held(material, 0) == held(material[::-1], 0)
    assert held(material, 0) != held(material, 1)


def test_of_one_recording_the_end_is_held_out() -> None:
    found = split([recording(0, [250] * 40)], [], DatasetSettings(held_out=0.1))
    assert found.ends == (0,)
    [sides] = found.sides
    assert sides[-4:] == ("held out",) * 4
    assert sides[-5] == "neither"
    assert set(sides[:-6]) == {"training"}
