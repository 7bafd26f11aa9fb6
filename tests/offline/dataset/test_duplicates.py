import io

import numpy as np
import pytest
import soundfile
import soxr

from offline.dataset.duplicates import fingerprint, shared
from stream.audio import Audio


def encoded(x: Audio, kind: str, subtype: str) -> Audio:
    """`x` through a lossy format and back."""
    file = io.BytesIO()
    soundfile.write(file, x, 16_000, format=kind, subtype=subtype)
    file.seek(0)
    return np.asarray(soundfile.read(file, dtype="float32")[0], np.float32)


@pytest.mark.parametrize("kind", [("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS")])
def test_the_same_sound_is_known_when_cut_quieter_and_encoded_again(
    speech: Audio, kind: tuple[str, str]
) -> None:
    one = speech[: 8 * 16_000]
    two = encoded(0.3 * one[16_777:], *kind)
    other = speech[9 * 16_000 : 17 * 16_000]
    [pair] = shared([fingerprint(x) for x in (one, other, two)])
    assert (pair.first, pair.second) == (0, 2)
    assert pair.share > 0.8
    assert pair.seconds == pytest.approx(6.5, abs=1.0)


def test_a_passage_in_two_recordings_is_found(speech: Audio) -> None:
    same = speech[: 5 * 16_000]
    one = np.concatenate([same, speech[8 * 16_000 : 12 * 16_000]])
    two = np.concatenate([speech[13 * 16_000 : 19 * 16_000], same])
    [pair] = shared([fingerprint(one), fingerprint(two)])
    assert pair.seconds == pytest.approx(5.0, abs=1.0)


def test_silence_after_a_word_is_not_the_same_sound(speech: Audio) -> None:
    word = np.pad(speech[:24_000], (0, 5 * 16_000))  # 1.5 s, then nothing
    one = np.concatenate([word, speech[8 * 16_000 : 11 * 16_000]])
    two = np.concatenate([word, speech[13 * 16_000 : 16 * 16_000]])
    assert shared([fingerprint(one), fingerprint(two)]) == []


def test_other_sentences_of_the_same_person_are_not_the_same(clips: list[Audio]) -> None:
    assert shared([fingerprint(clip) for clip in clips]) == []


def test_hums_and_silence_are_like_nothing(speech: Audio) -> None:
    t = np.arange(6 * 16_000) / 16_000
    hum = (0.1 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
    silence = np.zeros_like(hum)
    assert shared([fingerprint(x) for x in (silence, silence, silence)]) == []
    assert not fingerprint(silence).any()
    other = soxr.resample(speech, 16_000, 15_000)[: len(hum)].astype(np.float32)
    assert shared([fingerprint(hum), fingerprint(other)]) == []


@pytest.mark.parametrize("size", [0, 1, 6_144, 6_400])
def test_what_is_too_short_has_no_print(size: int) -> None:
    assert len(fingerprint(np.ones(size, np.float32))) <= 1
    assert shared([]) == []
