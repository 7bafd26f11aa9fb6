import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
from random_encoder import NARROW, random_encoder

from offline.cache import Cache
from offline.dataset import DatasetSettings, prepare
from offline.dataset.features import Ears, Heard, content, melody, open_ears
from offline.dataset.settings import Hears
from offline.dataset.sound import piece
from stream.audio import CONTENT_HOP, Audio
from stream.controls import Controls
from stream.device import CPU
from stream.engine import Conversion
from stream.models.store import Store
from stream.models.synth import Speaker
from stream.models.voice import Voice
from stream.profiles import STEADY, Profile

PLAIN = DatasetSettings(high_pass_hz=0.0, loudness="off", least_s=1.0, longest_s=20.0)
OPEN = Controls(gate_db=-90.0, auto_pitch=False)


class Recorder:
    """A synthesizer that says nothing and remembers what it was to say."""

    provider = "none"
    delay_frames = 0

    def __init__(self, hop: int, whole_hops: bool) -> None:
        self.hop, self.whole_hops = hop, whole_hops
        self.features: dict[int, Audio] = {}
        self.f0: dict[int, float] = {}

    def open(self, seed: int, context: int) -> "Recorder":
        return self

    def step(
        self, features: Audio, f0: Audio, ahead: int, first_frame: int, speaker: Speaker
    ) -> Audio:
        count = len(features) - ahead
        self.features.update({first_frame + k: features[k] for k in range(count)})
        self.f0.update({first_frame + k: float(f0[k]) for k in range(count)})
        return np.zeros(count * self.hop, np.float32)

    def said(self, first: int, until: int) -> tuple[Audio, Audio]:
        """Features [n, dim] and f0 [n] of the 10 ms frames first .. until - 1."""
        frames = range(first, until)
        return np.stack([self.features[k] for k in frames]), np.array([self.f0[k] for k in frames])


def live(voice: Voice, profile: Profile, sound: Audio) -> Recorder:
    """What a live stream at 16 kHz gives its synthesizer; frame 100 is where `sound` begins.

    The engine puts some zeros before what it hears; silence before the sound completes them to a
    second, so that its frames are those of the sound.
    """
    recorder = Recorder(voice.card.hop, voice.whole_hops)
    conversion = Conversion(
        dataclasses.replace(voice, synth=recorder), 16_000, profile=profile, controls=OPEN
    )
    lead = conversion._lead  # pyright: ignore[reportPrivateUsage]
    before = 50 * CONTENT_HOP - lead
    faint = np.random.default_rng(0).normal(0.0, 1e-4, before)  # opens the gate
    conversion.step(np.concatenate([faint, sound, np.zeros(4_000)]).astype(np.float32))
    return recorder


def far(x: Audio, y: Audio) -> float:
    return float(np.linalg.norm(x - y) / np.linalg.norm(y))


def test_training_hears_what_a_live_stream_hears(
    tmp_path: Path, cache: Cache, home: Path, speech: Audio
) -> None:
    sound = speech[: 5 * 16_000]
    soundfile.write(tmp_path / "one.wav", sound, 16_000, subtype="FLOAT")
    data = prepare([tmp_path / "one.wav"], settings=PLAIN, cache=cache, home=home)
    recorder = live(Store(home).load("starter", CPU), STEADY["balanced"], sound)
    compared = 0
    for clip in (*data.training, *data.held_out):
        begin = 100 + 2 * clip.first
        features, f0 = recorder.said(begin, begin + 2 * clip.frames)
        example = clip.load()
        warm = slice(max(0, 2 * (100 - clip.first)), None)  # 2 s: what was before has faded
        assert far(example.features[warm], features[warm]) <= 1e-3
        assert far(example.features[1:][warm], features[:-1][warm]) > 0.05  # a frame is no trifle
        both = (example.f0 > 0.0) & (f0 > 0.0)
        assert np.mean((example.f0 > 0.0) == (f0 > 0.0)) > 0.95
        assert np.median(np.abs(np.log2(example.f0[both] / f0[both]))) < 10 / 1200
        compared += len(features[warm])
    assert compared > 150


def test_an_encoder_with_windows_hears_as_its_profile_says(tmp_path: Path, speech: Audio) -> None:
    random_encoder(tmp_path, "narrow", NARROW)
    ears = open_ears(DatasetSettings(encoder="narrow", hearing="balanced"), tmp_path)
    starter = Store(tmp_path).load("starter", CPU)
    card = starter.card.model_copy(update={"feature_dim": NARROW.dim})
    voice = dataclasses.replace(starter, card=card, encoder=ears.encoder)
    sound = speech[: 3 * 16_000]
    recorder = live(voice, ears.profile, sound)
    # the stream's hops are counted from its start, which lies 50 frames before the sound
    faint = np.random.default_rng(0).normal(0.0, 1e-4, 50 * CONTENT_HOP).astype(np.float32)
    whole = np.concatenate([faint, sound])
    found = content(heard_of(whole), 0, 190, ears)
    features, _ = recorder.said(2 * 150, 2 * 190)
    assert far(np.repeat(found[150:190], 2, axis=0), features) <= 1e-3


def heard_of(sound: Audio) -> Heard:
    return lambda first, until: piece(sound, first * CONTENT_HOP, until * CONTENT_HOP)


@pytest.mark.parametrize("hearing", ["low", "balanced", "quality", "relaxed", "file"])
def test_parts_of_a_recording_are_heard_as_the_whole_is(
    tmp_path: Path, speech: Audio, hearing: Hears
) -> None:
    random_encoder(tmp_path, "narrow", NARROW)
    ears = open_ears(DatasetSettings(encoder="narrow", hearing=hearing), tmp_path)
    whole = content(heard_of(speech), 0, 500, ears)
    part = content(heard_of(speech), 465, 500, ears)
    assert part.shape == (35, NARROW.dim)
    assert far(part, whole[465:]) <= 1e-3


def test_parts_are_heard_as_the_whole_by_the_student(home: Path, speech: Audio) -> None:
    ears = open_ears(DatasetSettings(), home)
    whole = content(heard_of(speech), 0, 420, ears)
    part = content(heard_of(speech), 400, 420, ears)
    assert far(part, whole[400:]) <= 1e-3


@pytest.mark.parametrize("method", ["swift", "pm"])
def test_the_pitch_of_a_part_is_that_of_the_whole(home: Path, speech: Audio, method: str) -> None:
    if method == "pm":
        pytest.importorskip("parselmouth")
    ears = open_ears(DatasetSettings.model_validate({"f0": method}), home)
    whole = melody(heard_of(speech), 0, 500, ears.detector)
    edges = [k for k in range(100, 480, 10) if (whole[2 * k - 4 : 2 * k + 8] > 0).all()]
    assert len(edges) > 5
    for first in edges[:6]:  # each in the middle of a vowel
        part = melody(heard_of(speech), first, first + 4, ears.detector)
        assert part.shape == (8,)
        assert (part > 0).mean() > 0.8
        both = part > 0
        same = whole[2 * first : 2 * first + 8]
        assert np.median(np.abs(np.log2(part[both] / same[both]))) < 5 / 1200


def test_what_cannot_be_heard_beyond_the_ends_is_silence(home: Path, speech: Audio) -> None:
    ears: Ears = open_ears(DatasetSettings(), home)
    short = speech[16_000 : 16_000 + 65]
    assert content(heard_of(short), 0, 1, ears).shape == (1, 256)
    np.testing.assert_array_equal(piece(short, -2, 3), [0, 0, *short[:3]])
    np.testing.assert_array_equal(piece(short, 63, 68), [*short[63:], 0, 0, 0])
    np.testing.assert_array_equal(piece(short, -9, -5), np.zeros(4))
