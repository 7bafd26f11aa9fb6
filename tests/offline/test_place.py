"""Tests of where a voice stands."""

import numpy as np
import pytest

from offline.place import find, middle
from stream.audio import Audio

VOICE = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
PLACES = {
    "middle": (1.0, 1.0),
    "left": (1.0, 0.0),
    "right": (0.0, 1.0),
    "half left": (1.0, 0.5),
    "opposite": (1.0, -1.0),
    "one": (1.0,),
    "six": (0.0, 0.0, 1.0, 0.0, 0.3, 0.3),
}


@pytest.mark.parametrize("gains", PLACES.values(), ids=PLACES.keys())
def test_a_voice_comes_back_from_where_it_stands(gains: tuple[float, ...]) -> None:
    x: Audio = VOICE[:, np.newaxis] * np.array(gains, np.float32)
    place = find([x[:300], x[300:]], len(gains))
    np.testing.assert_allclose(place.put(place.taken(x)), x, atol=1e-5)
    assert place.gains.sum() >= -1e-6


def test_the_voice_is_as_loud_wherever_it_stands() -> None:
    for gains in ((1.0, 1.0), (2.0**0.5, 0.0), (1.0, -1.0)):
        x: Audio = VOICE[:, np.newaxis] * np.array(gains, np.float32)
        taken = find([x], 2).taken(x)
        assert np.std(taken) == pytest.approx(np.std(VOICE), rel=1e-4)


def test_from_the_middle_the_mean_is_taken() -> None:
    x = np.stack([VOICE, VOICE[::-1]], axis=1)
    np.testing.assert_allclose(middle(2).taken(x), x.mean(axis=1), atol=1e-6)


def test_what_stands_nowhere_is_in_the_middle() -> None:
    assert find([np.zeros((9, 2), np.float32)], 2).gains.tolist() == [1.0, 1.0]
    assert find([], 2).gains.tolist() == [1.0, 1.0]
    apart = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    assert find([apart], 2).gains.tolist() == [1.0, 1.0]
