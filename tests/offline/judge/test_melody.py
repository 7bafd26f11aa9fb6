"""Melodies compared."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline.judge.melody import compare_melodies
from stream.audio import Audio


def sung(frames: int = 100) -> Audio:
    f0 = 200.0 * 2.0 ** (0.3 * np.sin(np.arange(frames) / 9.0))
    f0[40:60] = 0.0
    return f0.astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.25, 4.0))
def test_a_transposed_melody_is_kept(factor: float) -> None:
    kept = compare_melodies(sung(), sung() * np.float32(factor))
    assert kept.correlation == pytest.approx(1.0, abs=1e-6)
    assert kept.cents < 0.01
    assert kept.voicing_error == 0.0


def test_another_melody_and_other_voicing_are_told() -> None:
    other = sung()
    other[:40] = 200.0 * 2.0 ** (-0.3 * np.sin(np.arange(40) / 9.0))
    other[60:70] = 0.0
    kept = compare_melodies(sung(), other)
    assert kept.correlation < 0.7
    assert kept.cents > 10.0
    assert kept.voicing_error == pytest.approx(0.1)
    assert kept.both == 70


@pytest.mark.parametrize("frames", [0, 1, 9])
def test_too_few_frames_say_nothing_of_the_pitch(frames: int) -> None:
    kept = compare_melodies(sung()[:frames], sung())
    assert np.isnan(kept.correlation)
    assert np.isnan(kept.cents)


def test_a_monotone_has_no_correlation() -> None:
    flat = np.full(50, 120.0, np.float32)
    assert np.isnan(compare_melodies(flat, flat).correlation)
    assert compare_melodies(flat, flat).cents == 0.0
