import numpy as np
import pytest

from stream.audio import Audio
from stream.excitation import Excitation
from stream.models.voice import Voice
from stream.noise import frame_noise
from stream.pitch import coarse

FRAMES = 120


def say(voice: Voice, features: Audio, per_call: int) -> Audio:
    """FRAMES frames of 10 ms with a pause in the middle, `per_call` at a time."""
    hop = voice.card.hop
    f0 = np.where(np.arange(FRAMES) % 60 < 45, 150.0 + np.arange(FRAMES), 0.0)
    source = Excitation(voice.card.sample_rate, hop).step(f0, 0)
    noise = frame_noise(0, 0, FRAMES, voice.synth.latent) * np.float32(voice.card.noise_scale)
    state, parts = voice.synth.initial_state(), list[Audio]()
    for at in range(0, FRAMES, per_call):
        frames = slice(at, at + per_call)
        part, state = voice.synth.step(
            state,
            features[frames],
            coarse(f0[frames]),
            noise[:, frames],
            source[at * hop : (at + per_call) * hop],
            0,
        )
        parts.append(part)
    return np.concatenate(parts)


@pytest.mark.parametrize("per_call", [2, 4, 10, 12, 40])
def test_sound_does_not_depend_on_the_frames_per_call(
    starter: Voice, speech: Audio, per_call: int
) -> None:
    heard, _ = starter.encoder.step(starter.encoder.quiet, speech[: FRAMES * 160])
    features = np.repeat(heard, 2, axis=0)
    once, cut = say(starter, features, FRAMES), say(starter, features, per_call)
    assert np.linalg.norm(cut - once) / np.linalg.norm(once) < 1e-4
    assert np.abs(once).max() > 0.01
    assert len(once) == FRAMES * starter.card.hop
