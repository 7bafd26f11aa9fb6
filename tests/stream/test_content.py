import numpy as np
import pytest

from stream.audio import Audio
from stream.models.voice import Voice

BLOCK = 320
AHEAD = 2  # content frames, the student's own look-ahead


def described(voice: Voice, audio: Audio, blocks: int) -> Audio:
    """The features of `audio` from silence on, `blocks` content frames at a time."""
    hearing = voice.encoder.open(AHEAD, context=0)
    cuts = range(0, len(audio), blocks * BLOCK)
    return np.concatenate([hearing.step(audio[at : at + blocks * BLOCK]) for at in cuts])


@pytest.mark.parametrize("blocks", [2, 5, 9, 10, 11, 33, 120])
def test_features_do_not_depend_on_the_blocks_per_call(
    starter: Voice, speech: Audio, blocks: int
) -> None:
    audio = speech[: 120 * BLOCK]
    once = described(starter, audio, 120)
    np.testing.assert_allclose(described(starter, audio, blocks), once, atol=1e-5)
    assert once.shape == (120, starter.encoder.dim)


def test_what_is_only_heard_counts_as_past(starter: Voice, speech: Audio) -> None:
    audio = speech[: 60 * BLOCK]
    hearing = starter.encoder.open(AHEAD, context=0)
    hearing.hear(audio[: 20 * BLOCK])
    later = hearing.step(audio[20 * BLOCK :])
    np.testing.assert_allclose(later, described(starter, audio, 60)[20:], atol=1e-5)


def test_a_frame_hears_no_further_than_its_look_ahead(starter: Voice, speech: Audio) -> None:
    audio = speech[: 60 * BLOCK].copy()
    before = described(starter, audio, 60)
    audio[40 * BLOCK :] = 0.0
    after = described(starter, audio, 60)
    np.testing.assert_array_equal(after[:40], before[:40])
    assert np.abs(after[40:] - before[40:]).max() > 0.01


def test_silence_settles(starter: Voice) -> None:
    features = described(starter, np.zeros(50 * BLOCK, np.float32), 50)
    assert np.abs(features - features[0]).max() < 1e-3


def test_another_look_ahead_than_the_students_own_is_refused(starter: Voice) -> None:
    with pytest.raises(ValueError, match="looks 2 frames ahead, not 3"):
        starter.encoder.open(AHEAD + 1, context=0)
