"""What is given up under pressure, and when it comes back."""

from itertools import pairwise

import pytest

from stream.ladder import STEPS, TOP, Ladder, eased
from stream.profiles import STEADY, WINDOWED, Profiles


def press(ladder: Ladder, load: float, begin: float, seconds: float, late: bool = False) -> float:
    """Hops and looks, four a second."""
    for i in range(int(4 * seconds)):
        ladder.hop(late, begin + i / 4)
        ladder.look(load, begin + i / 4)
    return begin + seconds


def test_it_climbs_one_step_at_a_time_while_the_load_is_too_high() -> None:
    ladder = Ladder()
    levels: list[int] = []
    now = 0.0
    for _ in range(12):
        now = press(ladder, 0.95, now, 1.0)
        levels.append(ladder.level)
    assert levels[0] == 1
    assert all(b - a in (0, 1) for a, b in pairwise(levels))
    assert ladder.at_top
    assert levels.index(TOP) >= 2 * (TOP - 1) - 1  # two seconds for each step


def test_late_hops_make_it_climb_whatever_the_load() -> None:
    ladder = Ladder()
    press(ladder, 0.3, 0.0, 3.0, late=True)
    assert ladder.level >= 1
    assert ladder.step.name == STEPS[ladder.level].name


def test_a_single_late_hop_is_no_pressure() -> None:
    ladder = Ladder()
    now = press(ladder, 0.3, 0.0, 5.0)
    ladder.hop(True, now)
    press(ladder, 0.3, now, 5.0)
    assert ladder.level == 0


def test_it_comes_down_after_a_calm_stretch_and_the_next_lasts_longer_if_it_was_wrong() -> None:
    ladder = Ladder()
    now = press(ladder, 0.95, 0.0, 1.0)
    assert ladder.level == 1
    now = press(ladder, 0.4, now, Ladder.CALM_S - 1.0)
    assert ladder.level == 1
    now = press(ladder, 0.4, now, 2.0)
    assert ladder.level == 0
    now = press(ladder, 0.95, now, 3.0)  # that was wrong
    assert ladder.level >= 1
    level = ladder.level
    now = press(ladder, 0.4, now, 1.5 * Ladder.CALM_S)
    assert ladder.level == level
    press(ladder, 0.4, now, Ladder.CALM_S)
    assert ladder.level == level - 1


def test_between_calm_and_pressed_it_stays() -> None:
    ladder = Ladder()
    now = press(ladder, 0.95, 0.0, 1.0)
    press(ladder, 0.7, now, 100.0)
    assert ladder.level == 1


@pytest.mark.parametrize("profiles", [STEADY, WINDOWED], ids=["steady", "windowed"])
def test_every_step_costs_less_and_looks_as_far_ahead(profiles: Profiles) -> None:
    for given in profiles.values():
        ladder = [eased(given, profiles, step) for step in STEPS]
        assert ladder[0] is given
        for before, after in pairwise(ladder):
            assert after.look_ahead == before.look_ahead
            assert after.content_frames >= before.content_frames
            assert after.light_f0
        assert ladder[-1].content_frames <= max(p.content_frames for p in profiles.values())
