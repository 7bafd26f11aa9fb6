"""What the speaker model is given to hear."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline.judge.similarity import open_speaker, prepared, similarity, speaker_of
from stream.audio import Audio, rms_db
from stream.errors import AssetMissing


def talk(seconds: float = 1.0, level: float = 0.01) -> Audio:
    noise = np.random.default_rng(5).normal(size=int(16_000 * seconds))
    return (level * noise).astype(np.float32)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.01, 1.0))
def test_a_quieter_copy_is_heard_the_same(level: float) -> None:
    one, other = prepared(talk()), prepared(talk() * np.float32(level))
    assert np.allclose(one, other, rtol=1e-4, atol=1e-7)
    assert rms_db(one) == pytest.approx(-30.0, abs=0.1)


def test_a_louder_one_stays_as_loud() -> None:
    assert rms_db(prepared(talk(level=0.2))) == pytest.approx(rms_db(talk(level=0.2)), abs=0.1)


def test_a_long_pause_is_cut_and_a_short_one_stays() -> None:
    def with_pause(seconds: float) -> int:
        pause = np.zeros(int(16_000 * seconds), np.float32)
        return len(prepared(np.concatenate([talk(), pause, talk()])))

    assert with_pause(0.12) > 2 * 15_800 + 1_900
    assert with_pause(3.0) < 2 * 16_000 + 8_000


@pytest.mark.parametrize("samples", [0, 1, 63, 64, 65, 479, 480, 481])
def test_it_never_grows(samples: int) -> None:
    for sound in (talk()[:samples], np.zeros(samples, np.float32)):
        heard = prepared(sound)
        assert len(heard) <= samples
        assert heard.dtype == np.float32


def test_a_speaker_is_the_mean_of_recordings() -> None:
    def embed(audio: Audio) -> Audio:
        return np.array([1.0, 0.0] if len(audio) == 1 else [0.0, 1.0], np.float32)

    mean = speaker_of(embed, [np.zeros(1, np.float32), np.zeros(2, np.float32)])
    assert np.allclose(mean, np.sqrt(0.5))
    assert similarity(mean, mean) == pytest.approx(1.0)


def test_without_the_model_it_is_said_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(AssetMissing, match="timbral models pull speaker-ge2e"):
        open_speaker(tmp_path)
