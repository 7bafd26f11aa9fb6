"""Pitch for a fraction of the computing: what a machine under pressure does first."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from stream.audio import Audio
from stream.controls import Controls
from stream.engine import Conversion
from stream.models.f0 import F0Detector, Harmonic, SwiftF0
from stream.models.voice import Voice
from stream.profiles import STEADY, WINDOWED, Profile, lighter

LOW = replace(STEADY["low"], light_f0=True)


def run(voice: Voice, sound: Audio, profile: Profile) -> Audio:
    conversion = Conversion(voice, 16_000, profile=profile)
    return np.concatenate([conversion.step(sound), conversion.flush()])


def test_light_pitch_is_the_same_whatever_the_hop(starter: Voice, speech: Audio) -> None:
    sound = speech[16_000 : 3 * 16_000 + 77]
    low = run(starter, sound, LOW)
    for name in ("balanced", "quality"):
        profile = replace(STEADY[name], light_f0=True)
        other = run(starter, sound, profile)
        assert np.linalg.norm(other - low) < 1e-5 * np.linalg.norm(low)


def test_light_pitch_is_found_by_the_lightest_detector_alone(
    starter: Voice, speech: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[type] = []
    for kind in (SwiftF0, Harmonic):
        monkeypatch.setattr(kind, "__call__", counting(kind, heard))
    run(starter, speech[16_000:24_000], STEADY["low"])
    assert set(heard) == {SwiftF0}
    heard.clear()
    run(starter, speech[16_000:24_000], LOW)
    assert set(heard) == {Harmonic}


def counting(kind: type[F0Detector], heard: list[type]) -> Callable[..., Audio]:
    """The detector's call, which also writes down that it was made."""
    plain = kind.__call__

    def call(
        self: F0Detector, audio: Audio, n: int, delay: int, *, together: bool = False
    ) -> Audio:
        heard.append(kind)
        return plain(self, audio, n, delay, together=together)

    return call


def test_light_pitch_is_nearly_the_same_pitch(starter: Voice, speech: Audio) -> None:
    """What a pass over the recording finds in the two outputs: voiced alike, and as high."""
    sound = speech[: 8 * 16_000]
    pitches = [
        starter.detectors["swift"].detect_file(run(starter, sound, profile))
        for profile in (STEADY["low"], LOW)
    ]
    voiced = [pitch > 0.0 for pitch in pitches]
    assert np.mean(voiced[0] == voiced[1]) > 0.94
    both = voiced[0] & voiced[1]
    cents = 1200.0 * np.abs(np.log2(pitches[0][both] / pitches[1][both]))
    assert np.median(cents) < 10.0
    assert np.mean(cents > 100.0) < 0.03


def test_a_stream_goes_over_to_light_pitch_and_back_without_a_seam(
    starter: Voice, speech: Audio
) -> None:
    sound = speech[16_000 : 3 * 16_000]
    plain = Conversion(starter, 16_000, profile=STEADY["low"])
    changing = Conversion(starter, 16_000, profile=STEADY["low"], controls=Controls())
    pieces: list[list[Audio]] = [[], []]
    for i, block in enumerate(np.split(sound, 100)):
        changing.change_profile(LOW if i // 25 % 2 else STEADY["low"])
        for conversion, heard in zip((plain, changing), pieces, strict=True):
            heard.append(conversion.step(block))
    whole, changed = (np.concatenate(heard) for heard in pieces)
    assert len(whole) == len(changed)
    steps = [np.abs(np.diff(x)).max() for x in (whole, changed)]
    assert steps[1] < 1.5 * steps[0]


def test_less_context_is_never_more() -> None:
    for profile in (*STEADY.values(), *WINDOWED.values()):
        less = lighter(profile, light_f0=True, less_context=True)
        assert less.context <= profile.context
        assert (less.name, less.content_frames, less.light_f0) == (
            *(profile.name, profile.content_frames),
            True,
        )
        assert lighter(less, light_f0=False, less_context=False).light_f0 is False
