"""What one stage costs for 20 ms of sound, as a part of that time, in CPU time of its thread.

A shared machine is slower at times but never faster than it is: each figure is the best of many
calls. The budgets bear a machine half as fast as the one in stream/LOG.md.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stream.audio import frame_levels
from stream.controls import F0Method
from stream.gate import Gate
from stream.models.f0 import Detectors
from stream.noise import frame_noise
from stream.pitch import PitchMatch
from stream.resample import Resampler
from stream.ring import Ring

pytestmark = pytest.mark.perf

SOUND = (0.1 * np.random.default_rng(0).standard_normal(48_000)).astype(np.float32)


def part(call: Callable[[], object], calls: int = 300) -> float:
    """The least CPU time of `calls` calls, as a part of 20 ms; the first ones warm up."""
    times: list[float] = []
    for _ in range(calls):
        begin = time.thread_time()
        call()
        times.append(time.thread_time() - begin)
    return min(times[10:]) / 0.020


@pytest.mark.parametrize(
    "rates", [(48_000, 16_000), (44_100, 16_000), (22_050, 16_000), (24_000, 48_000)]
)
def test_resampling_costs_two_hundredths_at_most(rates: tuple[int, int]) -> None:
    resampler = Resampler(*rates)
    assert part(lambda: resampler.step(SOUND[: rates[0] // 50])) < 0.02


def test_noise_costs_next_to_nothing() -> None:
    assert part(lambda: frame_noise(0, 17, 2, 192)) < 0.015


def test_ring_gate_and_pitch_match_cost_next_to_nothing() -> None:
    ring, gate, match = Ring(48_000), Gate(2), PitchMatch(200.0)
    f0 = np.array([110.0, 111.0], np.float32)

    def hop() -> None:
        ring.write(SOUND[:320])
        gate.step(frame_levels(ring.read(ring.end - 320, ring.end), 320), -50.0)
        match.step(f0)

    assert part(hop, 1000) < 0.01


@pytest.mark.parametrize(
    ("method", "budget"), [("swift", 0.2), ("harmonic", 0.04), ("crepe-tiny", 0.8)]
)
def test_a_detector_keeps_its_budget(method: F0Method, budget: float) -> None:
    detector = Detectors(Path())[method]
    window = SOUND[: detector.window(1, 2)]
    assert part(lambda: detector(window, 1, 2)) < budget


def test_light_pitch_is_a_small_part_of_the_usual() -> None:
    """A fifth, on a quiet machine: that is what the first step of the ladder gives."""
    usual, light = (Detectors(Path())[method] for method in ("swift", "harmonic"))
    hears = {detector: SOUND[: detector.window(1, 2)] for detector in (usual, light)}
    dear, cheap = (part(lambda d=detector: d(hears[d], 1, 2)) for detector in (usual, light))
    assert cheap < 0.4 * dear
