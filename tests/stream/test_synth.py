import numpy as np
import pytest

from stream.audio import Audio
from stream.models.synth import Speaker
from stream.models.voice import Voice

FRAMES = 120


def say(voice: Voice, features: Audio, per_call: int) -> Audio:
    """FRAMES frames of 10 ms with a pause in the middle, `per_call` at a time."""
    f0 = np.where(np.arange(FRAMES) % 60 < 45, 150.0 + np.arange(FRAMES), 0.0)
    speech, parts = voice.synth.open(0, context=0), list[Audio]()
    for at in range(0, FRAMES, per_call):
        frames = slice(at, at + per_call)
        parts.append(speech.step(features[frames], f0[frames], 0, at, Speaker()))
    return np.concatenate(parts)


@pytest.mark.parametrize("per_call", [2, 4, 10, 12, 40])
def test_sound_does_not_depend_on_the_frames_per_call(
    starter: Voice, speech: Audio, per_call: int
) -> None:
    heard = starter.encoder.open(2, context=0).step(speech[: FRAMES * 160])
    features = np.repeat(heard, 2, axis=0)
    once, cut = say(starter, features, FRAMES), say(starter, features, per_call)
    assert np.linalg.norm(cut - once) / np.linalg.norm(once) < 1e-4
    assert np.abs(once).max() > 0.01
    assert len(once) == FRAMES * starter.card.hop


def test_nothing_provisional_is_taken(starter: Voice) -> None:
    speech = starter.synth.open(0, context=0)
    with pytest.raises(ValueError, match="hears nothing ahead"):
        speech.step(np.zeros((4, 256), np.float32), np.zeros(4), 2, 0, Speaker())
