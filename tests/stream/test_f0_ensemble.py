"""Several detectors as one."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.audio import Audio
from stream.controls import F0_BLENDS, F0Blend
from stream.errors import ModelError
from stream.models.f0 import Detectors
from stream.models.f0.ensemble import Ensemble, blend

PITCHES = st.lists(st.sampled_from([0.0, 100.0, 110.0, 140.0, 201.0]), min_size=1, max_size=4)


class Says:
    """A detector whose answer is `hz`, and that checks what it is given: the newest samples."""

    live = True

    def __init__(self, hz: float, size: int) -> None:
        self._hz, self._size = hz, size

    def window(self, n: int, delay: int) -> int:
        return self._size + n + delay

    def __call__(self, audio: Audio, n: int, delay: int, *, together: bool = False) -> Audio:
        assert len(audio) == self.window(n, delay)
        assert audio[-1] == 1.0
        return np.full(2 * (n + delay), self._hz, np.float32)

    def detect_file(self, audio: Audio) -> Audio:
        return np.full(len(audio) // 160, self._hz, np.float32)


def one(values: list[float], how: F0Blend) -> float:
    return float(blend(np.array(values, np.float32)[:, np.newaxis], how)[0])


def test_the_blend_is_taken_of_logarithms() -> None:
    assert one([100.0, 121.0], "mean") == pytest.approx(110.0, rel=1e-6)
    assert one([100.0, 110.0, 130.0], "median") == pytest.approx(110.0, rel=1e-6)
    assert one([100.0, 110.0, 130.0], "min") == pytest.approx(100.0, rel=1e-6)
    assert one([100.0, 110.0, 130.0], "max") == pytest.approx(130.0, rel=1e-6)


def test_a_frame_is_voiced_by_majority_and_at_a_tie_by_the_first() -> None:
    assert one([0.0, 100.0, 0.0], "mean") == 0.0
    assert one([0.0, 100.0, 100.0], "mean") == pytest.approx(100.0)
    assert one([0.0, 100.0], "mean") == 0.0
    assert one([100.0, 0.0], "mean") == pytest.approx(100.0)
    assert one([100.0, 100.0, 0.0, 0.0], "min") == pytest.approx(100.0)


@pytest.mark.parametrize("how", F0_BLENDS)
def test_who_is_an_octave_away_is_moved_to_the_others(how: F0Blend) -> None:
    assert one([100.0, 100.0, 200.0], how) == pytest.approx(100.0)
    assert one([50.0, 100.0, 100.0], how) == pytest.approx(100.0)
    assert one([200.0, 100.0], how) == pytest.approx(200.0)  # of two, the first is believed
    assert one([0.0, 100.0, 200.0], how) == pytest.approx(100.0)


@settings(max_examples=40)
@given(frames=st.lists(PITCHES.filter(lambda p: len(p) == 3), min_size=1, max_size=8))
def test_frames_do_not_depend_on_each_other(frames: list[list[float]]) -> None:
    together = np.array(frames, np.float32).T
    for how in F0_BLENDS:
        apart = [one(frame, how) for frame in frames]
        np.testing.assert_array_equal(blend(together, how), np.array(apart, np.float32))


@settings(max_examples=40)
@given(values=PITCHES)
def test_any_blend_lies_between_the_least_and_the_greatest(values: list[float]) -> None:
    found = {how: one(values, how) for how in F0_BLENDS}
    assert len({hz > 0.0 for hz in found.values()}) == 1
    for hz in found.values():
        assert found["min"] * (1 - 1e-6) <= hz <= found["max"] * (1 + 1e-6)
    if len(values) == 1:
        assert found["mean"] == pytest.approx(values[0])


@pytest.mark.parametrize("sizes", [(10, 500), (500, 10)])
def test_each_detector_hears_the_newest_samples_that_it_wants(sizes: tuple[int, int]) -> None:
    ensemble = Ensemble([Says(100.0, sizes[0]), Says(121.0, sizes[1])], "mean")
    assert ensemble.live
    assert ensemble.window(3, 2) == 505
    audio = np.arange(505, dtype=np.float32) / 504
    np.testing.assert_allclose(ensemble(audio, 3, 2), np.full(10, 110.0), rtol=1e-6)
    np.testing.assert_allclose(ensemble.detect_file(audio), np.full(3, 110.0), rtol=1e-6)
    with pytest.raises(ValueError, match=r"\[505\] samples"):
        ensemble(audio[1:], 3, 2)


class Waits(Says):
    """Answers when all of its kind have been asked."""

    def __init__(self, hz: float, together: Barrier) -> None:
        super().__init__(hz, 0)
        self._together = together

    def detect_file(self, audio: Audio) -> Audio:
        self._together.wait(timeout=30)
        return super().detect_file(audio)


def test_with_helpers_all_detectors_run_at_the_same_time() -> None:
    together = Barrier(3)
    members = [Waits(hz, together) for hz in (100.0, 110.0, 121.0)]
    with ThreadPoolExecutor(2) as helpers:
        found = Ensemble(members, "median", helpers).detect_file(np.zeros(160, np.float32))
    np.testing.assert_allclose(found, [110.0], rtol=1e-6)


@pytest.mark.parametrize("how", F0_BLENDS)
def test_helpers_change_nothing(how: F0Blend, speech: Audio) -> None:
    named = Detectors(Path())
    threaded = named.live(("swift", "crepe-tiny"), how)
    assert named.live(("swift", "crepe-tiny"), how) is threaded
    alone = Ensemble([named["swift"], named["crepe-tiny"]], how)
    window = speech[20_000 : 20_000 + alone.window(5, 2)]
    np.testing.assert_array_equal(threaded(window, 5, 2), alone(window, 5, 2))
    assert (alone(window, 5, 2) > 0.0).any()


def test_an_error_of_a_member_comes_through() -> None:
    class Fails(Says):
        def detect_file(self, audio: Audio) -> Audio:
            raise ModelError("it broke")

    with ThreadPoolExecutor(1) as helpers, pytest.raises(ModelError, match="it broke"):
        Ensemble([Says(1.0, 1), Fails(1.0, 1)], "mean", helpers).detect_file(np.zeros(160))


def test_an_ensemble_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Ensemble([], "mean")
