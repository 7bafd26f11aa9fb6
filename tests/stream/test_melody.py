import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.audio import Audio
from stream.controls import Controls
from stream.melody import Melody
from stream.pitch import PitchMatch

PLAIN = Controls(auto_pitch=False)
HEARD = np.array([0, 0, 100, 110, 0, 0, 120, 0, 2000, 60, 0, 130], np.float32)


def melody(gaps: bool = False, target: float | None = 200.0) -> Melody:
    return Melody(PitchMatch(target), gaps)


def test_pitch_is_moved_and_silence_stays() -> None:
    sung, voiced = melody().step(HEARD, 0, Controls(auto_pitch=False, pitch=12.0))
    expected = np.where(HEARD > 1100, 0.0, 2.0 * HEARD)
    np.testing.assert_allclose(sung, expected, rtol=1e-6)
    np.testing.assert_array_equal(voiced, expected > 0)


def test_a_pitch_outside_the_range_counts_as_unvoiced() -> None:
    sung, voiced = melody().step(HEARD, 0, Controls(auto_pitch=False, f0_min_hz=105.0))
    assert sung[2] == sung[9] == 0.0
    assert not voiced[2]
    assert sung[3] == pytest.approx(110.0)


def test_gaps_get_the_last_pitch_but_are_not_voiced() -> None:
    sung, voiced = melody(gaps=True).step(HEARD, 0, PLAIN)
    np.testing.assert_allclose(
        sung, [0, 0, 100, 110, 110, 110, 120, 120, 120, 60, 60, 130], rtol=1e-6
    )
    np.testing.assert_array_equal(voiced, (HEARD > 0) & (HEARD < 1100))


@settings(max_examples=30)
@given(cuts=st.lists(st.integers(1, 5), max_size=4), gaps=st.booleans())
def test_what_is_committed_does_not_depend_on_the_cuts(cuts: list[int], gaps: bool) -> None:
    once, _ = melody(gaps).step(HEARD, 0, Controls())
    cut, parts = melody(gaps), list[Audio]()
    at = sorted({2 * c for c in cuts})
    for part, end in zip(np.split(HEARD, at), [*at, len(HEARD)], strict=True):
        ahead = HEARD[end : end + 2]  # provisional: heard again with the next call
        sung, _ = cut.step(np.concatenate([part, ahead]), len(ahead), Controls())
        parts.append(sung[: len(part)])
    np.testing.assert_allclose(np.concatenate(parts), once, rtol=1e-6)


def test_auto_pitch_brings_the_speaker_to_the_voice() -> None:
    speaker = np.full(40, 100.0, np.float32)
    sung, _ = melody(target=200.0).step(speaker, 4, Controls())
    np.testing.assert_allclose(sung, 200.0, rtol=1e-5)
    unknown, _ = melody(target=None).step(speaker, 4, Controls())
    np.testing.assert_allclose(unknown, 100.0, rtol=1e-5)


def test_autotune_lands_on_notes() -> None:
    sung, _ = melody().step(
        np.full(4, 452.0, np.float32), 0, Controls(auto_pitch=False, autotune=1.0)
    )
    np.testing.assert_allclose(sung, 440.0, rtol=1e-5)
