import numpy as np
import pytest

from stream.audio import Audio
from stream.models.voice import Voice

BLOCK = 320


@pytest.mark.parametrize("blocks", [2, 5, 9, 10, 11, 33, 120])
def test_features_do_not_depend_on_the_blocks_per_call(
    starter: Voice, speech: Audio, blocks: int
) -> None:
    audio = speech[: 120 * BLOCK]
    once, _ = starter.encoder.step(starter.encoder.quiet, audio)
    state, parts = starter.encoder.quiet, list[Audio]()
    for at in range(0, len(audio), blocks * BLOCK):
        part, state = starter.encoder.step(state, audio[at : at + blocks * BLOCK])
        parts.append(part)
    np.testing.assert_allclose(np.concatenate(parts), once, atol=1e-5)
    assert once.shape == (120, starter.encoder.dim)


def test_a_frame_hears_no_further_than_its_look_ahead(starter: Voice, speech: Audio) -> None:
    audio = speech[: 60 * BLOCK].copy()
    before, _ = starter.encoder.step(starter.encoder.quiet, audio)
    audio[40 * BLOCK :] = 0.0
    after, _ = starter.encoder.step(starter.encoder.quiet, audio)
    np.testing.assert_array_equal(after[:40], before[:40])
    assert np.abs(after[40:] - before[40:]).max() > 0.01


def test_silence_settles(starter: Voice) -> None:
    silence = np.zeros(50 * BLOCK, np.float32)
    features, _ = starter.encoder.step(starter.encoder.quiet, silence)
    assert np.abs(features - features[0]).max() < 1e-3


def test_a_hearing_says_the_same_as_steps_from_silence(starter: Voice, speech: Audio) -> None:
    hearing = starter.encoder.open(starter.encoder.delay_frames, context=50)
    parts = [hearing.step(speech[at : at + 6 * BLOCK]) for at in range(0, 60 * BLOCK, 6 * BLOCK)]
    once, _ = starter.encoder.step(starter.encoder.quiet, speech[: 60 * BLOCK])
    np.testing.assert_allclose(np.concatenate(parts), once, atol=1e-5)


def test_a_student_has_the_look_ahead_it_was_trained_with(starter: Voice) -> None:
    with pytest.raises(ValueError, match="looks 2 frames ahead, not 3"):
        starter.encoder.open(3, context=50)
