"""The engine's laws on voices whose encoder hears a window: random ones of published shapes."""

import dataclasses
import gc
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_encoder import NARROW
from random_voice import random_voice

from stream.audio import RATES, Audio, frame_levels
from stream.controls import Controls
from stream.engine import Conversion
from stream.models.synth import Speaker
from stream.models.voice import Voice
from stream.profiles import STEADY, WINDOWED, Profile
from stream.resample import Resampler

LOW = WINDOWED["low"]
SECOND = 16_000
ENCODER = dataclasses.replace(NARROW, dim=768, projected=True)
OPEN = Controls(gate_db=-90.0, auto_pitch=False)


@pytest.fixture(scope="module")
def babble(tmp_path_factory: pytest.TempPathFactory) -> Voice:
    return random_voice(tmp_path_factory.mktemp("v2"), "v2", 32_000, encoder=ENCODER)


def run(conversion: Conversion, x: Audio, cuts: list[int] | None = None) -> Audio:
    pieces = [conversion.step(piece) for piece in np.split(x, sorted(cuts or []))]
    return np.concatenate([*pieces, conversion.flush()])


def relative(found: Audio, wanted: Audio) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@settings(max_examples=3, deadline=None)
@given(cuts=st.lists(st.integers(0, SECOND), max_size=20))
def test_cutting_the_input_does_not_change_a_bit(
    babble: Voice, speech: Audio, cuts: list[int]
) -> None:
    x = speech[: SECOND + 77]
    whole = run(Conversion(babble, 16_000, profile=LOW), x)
    cut = run(Conversion(babble, 16_000, profile=LOW), x, cuts)
    np.testing.assert_array_equal(cut, whole)
    assert np.abs(whole).max() > 0.01


@pytest.mark.parametrize("length", [0, 1, 640, 4_000])
def test_samples_out_are_samples_in(babble: Voice, speech: Audio, length: int) -> None:
    conversion = Conversion(babble, 16_000, profile=LOW)
    for _ in range(2):
        assert len(run(conversion, speech[SECOND : SECOND + length])) == length


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("profile", WINDOWED.values(), ids=WINDOWED.keys())
def test_latency_is_what_is_declared(babble: Voice, rate: int, profile: Profile) -> None:
    conversion = Conversion(babble, rate, profile=profile)
    grain = conversion.hop // 4
    lags: list[int] = []
    fed = given = 0
    for _ in range(40):
        given += len(conversion.step(np.zeros(grain, np.float32)))
        fed += grain
        lags.append(fed - given)
    assert max(lags) == pytest.approx(conversion.latency, abs=grain)


def test_the_sound_lies_where_the_speech_was(babble: Voice, speech: Audio) -> None:
    """The engine, with all the context there is, against one call of the models themselves."""
    x = (speech[: 3 * SECOND] + 1e-4).astype(np.float32)  # never digital silence
    at_32k = Resampler(SECOND, 32_000).step(x)
    wide = Profile("relaxed", 25, look_ahead=8, context=200)
    live = run(Conversion(babble, 32_000, profile=wide, controls=OPEN), at_32k)

    down = Resampler(32_000, SECOND)
    lead = -(-down.lookahead // 2)  # zeros before the first sample, at 16 kHz
    audio = np.concatenate([np.zeros(lead, np.float32), down.step(at_32k)])
    frames = len(audio) // 320
    hearing = babble.encoder.open(0, 200)
    features = np.repeat(hearing.step(audio[: 320 * frames]), 2, axis=0)
    detector = babble.detectors["swift"]
    until = (frames + 8) * 320
    past = np.zeros(max(0, detector.window(frames, 8) - until), np.float32)
    padded = np.concatenate([past, audio, np.zeros(until, np.float32)])[: len(past) + until]
    f0 = detector(padded[-detector.window(frames, 8) :], frames, 8)[: 2 * frames]
    once = babble.synth.open(0, 200).step(features, f0, 0, 0, Speaker())
    late = 640 * babble.synth.delay_frames
    once = once[late + 2 * lead :]
    begin, end = 16_000, min(len(once), len(live)) - 16_000
    lags = range(-40, 41, 8)
    errors = [relative(live[begin + lag : end + lag], once[begin:end]) for lag in lags]
    assert lags[int(np.argmin(errors))] == 0
    assert min(errors) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("profile", WINDOWED.values(), ids=WINDOWED.keys())
def test_a_hop_is_near_one_pass_with_the_same_look_ahead(
    babble: Voice, speech: Audio, profile: Profile
) -> None:
    """Not exact: the encoder hears a window. With random weights the distance says little."""
    x = speech[: 4 * SECOND]
    whole = dataclasses.replace(profile, content_frames=250, context=250)
    once = run(Conversion(babble, SECOND, profile=whole, controls=OPEN), x)
    live = run(Conversion(babble, SECOND, profile=profile, controls=OPEN), x)
    error = relative(live[SECOND:], once[SECOND:])
    assert error < 0.5


def test_silence_in_is_silence_out_and_speech_after_it_is_heard(
    babble: Voice, speech: Audio
) -> None:
    x = speech[: 3 * SECOND].copy()
    x[SECOND : 2 * SECOND] = 0.0
    out = run(Conversion(babble, SECOND, profile=LOW), x)
    closed = SECOND + round(0.4 * SECOND)
    np.testing.assert_array_equal(out[closed : 2 * SECOND - 1600], 0.0)
    assert np.abs(out[2 * SECOND :]).max() > 0.01
    assert np.isfinite(out).all()


def test_the_raw_voice_never_comes_out(babble: Voice, speech: Audio) -> None:
    x = speech[: 2 * SECOND]
    out = run(Conversion(babble, SECOND, profile=LOW), x)
    assert abs(np.dot(out, x) / np.linalg.norm(out) / np.linalg.norm(x)) < 0.1


@pytest.mark.parametrize("formant", [-6.0, -1.3, 2.0, 6.0])
def test_a_formant_shift_keeps_time_and_length(
    babble: Voice, speech: Audio, formant: float
) -> None:
    x = speech[: 2 * SECOND].copy()
    x[: SECOND // 2] = 0.0
    x[SECOND:] = 0.0
    out = run(Conversion(babble, SECOND, profile=LOW, controls=Controls(formant=formant)), x)
    assert len(out) == len(x)
    loud = np.flatnonzero(np.abs(out) > 1e-3)
    assert SECOND // 2 - 1600 <= loud[0] <= SECOND // 2 + 1600
    assert loud[-1] <= SECOND + 0.4 * SECOND


def test_morph_and_speaker_change_the_voice(babble: Voice, speech: Audio) -> None:
    x = speech[:SECOND]

    def said(**controls: float) -> Audio:
        wanted = Controls(**controls)  # pyright: ignore[reportArgumentType]
        return run(Conversion(babble, SECOND, profile=LOW, controls=wanted), x)

    first, second = said(speaker=0), said(speaker=1)
    assert relative(second, first) > 0.01
    np.testing.assert_array_equal(said(speaker=0, speaker_b=1, morph=0.0), first)
    halfway = said(speaker=0, speaker_b=1, morph=0.5)
    assert relative(halfway, first) > 0.005
    assert relative(said(speaker=0, speaker_b=1, morph=1.0), second) < 1e-5


def test_a_voice_without_pitch_speaks(
    tmp_path_factory: pytest.TempPathFactory, speech: Audio
) -> None:
    voice = random_voice(tmp_path_factory.mktemp("p"), "v2", 40_000, f0=False, encoder=ENCODER)
    out = run(
        Conversion(voice, 48_000, profile=LOW), Resampler(SECOND, 48_000).step(speech[:SECOND])
    )
    assert np.abs(out).max() > 0.01


def test_voices_of_one_kind_change_without_a_gap(babble: Voice, speech: Audio) -> None:
    other = dataclasses.replace(babble)
    conversion = Conversion(babble, SECOND, profile=LOW, controls=OPEN)
    head = conversion.step(speech[:SECOND])
    conversion.change_voice(other)
    out = np.concatenate([head, conversion.step(speech[SECOND : 2 * SECOND]), conversion.flush()])
    assert len(out) == 2 * SECOND
    quiet = np.abs(out[SECOND - 3200 : SECOND + 3200]).reshape(-1, 160).max(axis=1)
    assert (quiet > 1e-4).all()


def test_voices_of_other_kinds_change_without_losing_a_sample(
    babble: Voice, speech: Audio, starter: Voice
) -> None:
    x = speech[: 4 * SECOND]
    plain = run(Conversion(starter, SECOND, profile=STEADY["low"], controls=OPEN), x)
    conversion = Conversion(starter, SECOND, profile=STEADY["low"], controls=OPEN)
    latency = conversion.latency
    parts = [conversion.step(x[: SECOND // 2 + 77])]
    conversion.change_voice(babble)
    parts += [conversion.step(x[at : at + 100]) for at in range(SECOND // 2 + 77, 2 * SECOND, 100)]
    assert conversion.profile is WINDOWED["low"]
    assert conversion.latency >= latency + 630  # a longer hop, and one frame further ahead
    conversion.change_voice(starter)
    fed = SECOND // 2 + 77 + 100 * len(range(SECOND // 2 + 77, 2 * SECOND, 100))
    parts += [conversion.step(x[fed:]), conversion.flush()]
    assert conversion.latency == latency
    out = np.concatenate(parts)
    assert len(out) == len(x)
    heard = np.abs(out[1600:]).reshape(-1, 800).max(axis=1)
    assert (heard > 1e-4).all(), "a gap"
    back, alone = (frame_levels(s[3 * SECOND :], 320) for s in (out, plain))
    loud = alone > alone.max() - 30.0
    assert np.median(np.abs(back - alone)[loud]) < 1.0


@pytest.mark.slow
def test_memory_does_not_grow(babble: Voice, speech: Audio) -> None:
    conversion = Conversion(babble, SECOND, profile=LOW, controls=OPEN)
    held: list[int] = []
    tracemalloc.start()
    for _ in range(6):  # the encoder's statistics fill for 3 s
        conversion.step(speech[:SECOND])
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[5] - held[4] < 5_000
