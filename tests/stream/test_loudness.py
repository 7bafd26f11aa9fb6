import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.audio import Audio
from stream.loudness import MOST, Loudness

FRAMES = 40


def frames(levels: Audio, samples: int, seed: int) -> Audio:
    """Noise whose root mean square follows `levels`, [n, samples]."""
    noise = np.random.default_rng(seed).standard_normal((len(levels), samples))
    return (noise * levels[:, np.newaxis]).astype(np.float32)


def test_no_share_leaves_every_sample() -> None:
    voice = frames(np.full(FRAMES, 0.1), 480, 1)
    out = Loudness().step(frames(np.full(FRAMES, 0.3), 320, 0), voice, 0.0)
    np.testing.assert_array_equal(out, voice)


def test_the_voice_gets_as_loud_as_the_speaker() -> None:
    speaker = frames(np.where(np.arange(FRAMES) < 20, 0.2, 0.02), 320, 0)
    out = Loudness().step(speaker, frames(np.full(FRAMES, 0.1), 480, 1), 1.0)
    for part, level in ((slice(6, 20), 0.2), (slice(26, 40), 0.02)):
        assert np.sqrt(np.mean(np.square(out[part]))) == pytest.approx(level, rel=0.1)


def test_half_a_share_goes_half_the_way_in_decibels() -> None:
    speaker, voice = frames(np.full(FRAMES, 0.4), 320, 0), frames(np.full(FRAMES, 0.1), 480, 1)
    out = Loudness().step(speaker, voice, 0.5)[6:]
    assert np.sqrt(np.mean(np.square(out))) == pytest.approx(0.2, rel=0.1)


def test_silence_is_not_raised_without_end() -> None:
    voice = frames(np.full(FRAMES, 1e-5), 480, 1)
    out = Loudness().step(frames(np.full(FRAMES, 0.5), 320, 0), voice, 1.0)
    assert np.abs(out).max() <= MOST * np.abs(voice).max() * 1.001


@settings(max_examples=20)
@given(cuts=st.lists(st.integers(1, FRAMES - 1), max_size=6))
def test_the_gain_does_not_depend_on_the_cuts(cuts: list[int]) -> None:
    levels = np.linspace(0.01, 0.3, FRAMES)
    speaker, voice = frames(levels, 320, 0), frames(levels[::-1], 480, 1)
    once, cut = Loudness().step(speaker, voice, 0.7), Loudness()
    at = sorted(set(cuts))
    parts = [
        cut.step(s, v, 0.7) for s, v in zip(np.split(speaker, at), np.split(voice, at), strict=True)
    ]
    np.testing.assert_allclose(np.concatenate(parts), once, rtol=1e-6)
    steps = np.abs(np.diff((once / voice).reshape(-1)))
    assert steps.max() < 0.05, "the gain jumps"
