"""The engine's laws, on the starter voice and a person's speech."""

import dataclasses
import gc
import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream.audio import RATES, Audio, frame_levels
from stream.controls import Controls
from stream.engine import Conversion
from stream.errors import ConfigError
from stream.models.content import Hearing, StudentHearing
from stream.models.voice import Voice
from stream.profiles import STEADY, Profile
from stream.resample import Resampler

LOW = STEADY["low"]
SECOND = 16_000
GATE_CLOSES = 0.3 + 0.05  # s, hangover and the frame in which sound fades


def at_rate(x: Audio, rate: int) -> Audio:
    return Resampler(16_000, rate).step(x)  # a copy, at 16 kHz too


def run(conversion: Conversion, x: Audio, cuts: list[int] | None = None) -> Audio:
    """`x` cut at `cuts`, then flushed."""
    pieces = [conversion.step(piece) for piece in np.split(x, sorted(cuts or []))]
    return np.concatenate([*pieces, conversion.flush()])


def relative_error(x: Audio, reference: Audio) -> float:
    return float(np.linalg.norm(x - reference) / np.linalg.norm(reference))


@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(0, SECOND), max_size=40), rate=st.sampled_from([16_000, 44_100]))
def test_cutting_the_input_does_not_change_a_bit(
    starter: Voice, speech: Audio, cuts: list[int], rate: int
) -> None:
    x = at_rate(speech[: SECOND + 77], rate)
    whole = run(Conversion(starter, rate, profile=LOW), x)
    cut = run(Conversion(starter, rate, profile=LOW), x, cuts)
    np.testing.assert_array_equal(cut, whole)
    assert np.abs(whole).max() > 0.01


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 319, 320, 321, 4_000])
def test_samples_out_are_samples_in(starter: Voice, speech: Audio, length: int) -> None:
    conversion = Conversion(starter, 16_000, profile=LOW)
    for _ in range(2):  # flushed, it is as new
        assert len(run(conversion, speech[SECOND : SECOND + length])) == length


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("profile", STEADY.values(), ids=STEADY.keys())
def test_latency_is_what_is_declared(starter: Voice, rate: int, profile: Profile) -> None:
    conversion = Conversion(starter, rate, profile=profile, controls=Controls(gate_db=0.0))
    grain = conversion.hop // 4
    fed = given = 0
    lags: list[int] = []
    for _ in range(40):
        given += len(conversion.step(np.zeros(grain, np.float32)))
        fed += grain
        lags.append(fed - given)
    worst = max(lags) + grain - 1  # just before the next piece arrives
    assert worst <= conversion.latency + grain - 1
    assert max(lags) == pytest.approx(conversion.latency, abs=grain)


def test_low_profile_is_below_70_ms(starter: Voice) -> None:
    for rate in RATES:
        latency = Conversion(starter, rate, profile=LOW).latency
        assert latency / rate <= 0.070, f"{1000 * latency / rate:.1f} ms at {rate} Hz"


@pytest.mark.parametrize("rate", [16_000, 48_000])
@pytest.mark.parametrize("profile", STEADY.values(), ids=STEADY.keys())
def test_streaming_equals_one_pass(
    starter: Voice, speech: Audio, profile: Profile, rate: int
) -> None:
    x = at_rate(speech[: 4 * SECOND], rate)
    x[rate : 2 * rate] = 0.0  # the gate closes and opens
    once = run(Conversion(starter, rate, profile=Profile("quality", 250)), x)
    live = run(Conversion(starter, rate, profile=profile), x)
    assert relative_error(live, once) <= 1e-3


def test_output_lies_where_its_input_was(starter: Voice, speech: Audio) -> None:
    x = speech[: 8 * SECOND]
    y = run(Conversion(starter, 16_000, profile=LOW), x)
    heard, said = (frame_levels(s[: len(s) // 80 * 80], 80) for s in (x, y))
    heard, said = (np.maximum(s, -60.0) - np.maximum(s, -60.0).mean() for s in (heard, said))
    lags = range(-20, 21)  # of 5 ms
    match = [float(np.dot(np.roll(heard, lag), said)) for lag in lags]
    assert abs(lags[int(np.argmax(match))]) <= 3


def test_the_same_input_gives_the_same_output(starter: Voice, speech: Audio) -> None:
    x = speech[:SECOND]
    first, again, other = (
        run(Conversion(starter, 16_000, profile=LOW, seed=seed), x) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert relative_error(other, first) > 1e-3


def test_reset_leaves_the_stream_as_new(starter: Voice, speech: Audio) -> None:
    x = speech[:SECOND]
    fresh = run(Conversion(starter, 16_000, profile=LOW), x)
    used = Conversion(starter, 16_000, profile=LOW)
    used.step(speech[SECOND : 2 * SECOND + 123])
    used.reset()
    np.testing.assert_array_equal(run(used, x), fresh)


def test_silence_in_is_silence_out(starter: Voice) -> None:
    out = run(Conversion(starter, 48_000, profile=LOW), np.zeros(48_000, np.float32))
    np.testing.assert_array_equal(out, 0.0)


def test_silence_after_speech_is_silence_once_the_gate_closed(
    starter: Voice, speech: Audio
) -> None:
    x = np.concatenate([speech[:SECOND], np.zeros(SECOND, np.float32)])
    out = run(Conversion(starter, 16_000, profile=LOW), x)
    assert np.abs(out[:SECOND]).max() > 0.01
    np.testing.assert_array_equal(out[SECOND + round(GATE_CLOSES * SECOND) :], 0.0)


def test_silence_is_not_inferred(
    starter: Voice, speech: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks: list[int] = []
    step = StudentHearing.step

    def counting(self: StudentHearing, audio: Audio) -> Audio:
        blocks.append(len(audio) // 320)
        return step(self, audio)

    monkeypatch.setattr(StudentHearing, "step", counting)
    run(Conversion(starter, 16_000, profile=LOW), np.zeros(2 * SECOND, np.float32))
    assert blocks == []
    run(Conversion(starter, 16_000, profile=LOW), speech[SECOND : 2 * SECOND])
    assert sum(blocks) >= 50


def test_the_raw_voice_comes_out_only_while_bypassed(starter: Voice, speech: Audio) -> None:
    x = speech[: 2 * SECOND]
    conversion = Conversion(starter, 16_000, profile=LOW)
    conversion.bypass = True
    bypassed = run(conversion, x)
    fade = SECOND // 100
    np.testing.assert_array_equal(bypassed[fade:], x[fade:])
    converted = run(Conversion(starter, 16_000, profile=LOW), x)
    similar = np.dot(converted, x) / np.linalg.norm(converted) / np.linalg.norm(x)
    assert abs(similar) < 0.3


def test_bypass_is_faded_without_a_click(starter: Voice) -> None:
    tone = 0.1 * np.sin(np.arange(SECOND) * 0.05).astype(np.float32)
    conversion = Conversion(starter, 16_000, profile=LOW, controls=Controls(gate_db=0.0))
    before = conversion.step(tone[: SECOND // 2])
    conversion.bypass = True
    out = np.concatenate([before, conversion.step(tone[SECOND // 2 :])])
    assert np.abs(np.diff(out)).max() < 0.012  # the tone's own steepest step is 0.005
    assert np.abs(out[-1000:]).max() > 0.09


def test_a_gain_at_the_input_is_heard_by_the_gate(starter: Voice, speech: Audio) -> None:
    quiet = speech[SECOND : 2 * SECOND] * 1e-4
    silent = run(Conversion(starter, 16_000, profile=LOW), quiet)
    np.testing.assert_array_equal(silent, 0.0)
    raised = Controls(input_gain_db=30.0, gate_db=-80.0)
    assert np.abs(run(Conversion(starter, 16_000, profile=LOW, controls=raised), quiet)).max() > 0


def other_voice(starter: Voice) -> Voice:
    return dataclasses.replace(
        starter, card=starter.card.model_copy(update={"name": "other", "f0_median_hz": 300.0})
    )


def test_a_voice_changes_without_a_gap_and_without_a_click(starter: Voice, speech: Audio) -> None:
    x = speech[: 3 * SECOND]
    at = SECOND + SECOND // 2
    conversion = Conversion(starter, 16_000, profile=LOW)
    out = conversion.step(x[:at])
    conversion.change_voice(other_voice(starter))
    out = np.concatenate([out, conversion.step(x[at:]), conversion.flush()])
    stays = run(Conversion(starter, 16_000, profile=LOW), x)
    assert len(out) == len(x)
    np.testing.assert_array_equal(out[: at - conversion.latency], stays[: at - conversion.latency])
    assert relative_error(out[at:], stays[at:]) > 0.5
    seam = slice(at - conversion.latency - 320, at + 640)
    assert np.abs(np.diff(out[seam])).max() <= 1.5 * np.abs(np.diff(stays)).max()
    levels = frame_levels(out[at - 1600 : at + 1600], 160)
    reference = frame_levels(stays[at - 1600 : at + 1600], 160)
    assert (levels > reference - 25.0).all()


class Late:
    """The starter's encoder, one frame later: what it says is the same."""

    whole_hops = False
    dim, provider = 256, "CPUExecutionProvider"

    def __init__(self, voice: Voice) -> None:
        self._encoder = voice.encoder
        self.card = voice.encoder.card.model_copy(update={"delay_frames": 3})

    def open(self, delay: int, context: int) -> "LateHearing":
        return LateHearing(self._encoder.open(delay - 1, context))


class LateHearing:
    def __init__(self, hearing: Hearing) -> None:
        self._hearing, self.warm = hearing, hearing.warm
        self._held = hearing.step(np.zeros(320, np.float32))

    def hear(self, audio: Audio) -> None:
        self.step(audio)

    def step(self, audio: Audio) -> Audio:
        out = np.concatenate([self._held, self._hearing.step(audio)])
        self._held = out[len(out) - 1 :]
        return out[:-1]


@settings(max_examples=3, deadline=None)
@given(at=st.lists(st.integers(1, 2 * SECOND), min_size=1, max_size=3))
@example(at=[1, 320])  # changed and changed back before anything was said
def test_a_voice_that_hears_further_ahead_takes_over_without_a_gap(
    starter: Voice, speech: Audio, at: list[int]
) -> None:
    x = speech[: 4 * SECOND]
    plain = run(Conversion(starter, 16_000, profile=LOW), x)
    late = dataclasses.replace(starter, encoder=Late(starter))
    conversion, parts, begin = Conversion(starter, 16_000, profile=LOW), list[Audio](), 0
    before = conversion.latency
    for end, voice in zip(sorted(at), (late, starter, late), strict=False):
        parts.append(conversion.step(x[begin:end]))
        conversion.change_voice(voice)
        begin = end
    parts.append(conversion.step(x[begin:]))
    assert conversion.latency - before == (320 if len(at) % 2 else 0)
    changed = np.concatenate([*parts, conversion.flush()])
    assert len(changed) == len(plain)
    heard, wanted = (frame_levels(s, 320) for s in (changed, plain))
    loud = wanted > wanted.max() - 30.0
    assert np.median(np.abs(heard - wanted)[loud]) < 1.0, "the same sound, at the same place"
    assert np.abs(heard - wanted)[loud].max() < 20.0, "a gap"


def test_unknown_rates_are_refused(starter: Voice) -> None:
    with pytest.raises(ConfigError, match="sample_rate must be one of"):
        Conversion(starter, 11_025, profile=LOW)


@pytest.mark.slow
def test_ten_thousand_hops_leave_nothing_behind(starter: Voice, speech: Audio) -> None:
    conversion = Conversion(starter, 16_000, profile=LOW)
    hop = conversion.hop
    rng = np.random.default_rng(0)
    x = np.concatenate([speech[: 200 * hop], np.zeros(1_800 * hop, np.float32)])

    def play(hops: int) -> int:
        given = 0
        for i in range(hops):
            at = (i * hop) % (len(x) - hop)
            given += len(conversion.step(x[at : at + hop] * rng.uniform(0.5, 1.0)))
        return given

    play(300)
    gc.collect()
    tracemalloc.start()
    play(500)
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    assert play(10_000) == 10_000 * hop
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 100_000


@settings(max_examples=5, deadline=None)
@given(at=st.lists(st.tuples(st.integers(0, SECOND), st.sampled_from(list(STEADY))), max_size=6))
def test_changing_the_hop_changes_nothing_that_is_heard(
    starter: Voice, speech: Audio, at: list[tuple[int, str]]
) -> None:
    x = speech[SECOND : 2 * SECOND + 77]
    plain = run(Conversion(starter, 16_000, profile=LOW), x)
    conversion, parts, begin = Conversion(starter, 16_000, profile=LOW), list[Audio](), 0
    for end, name in sorted(at):
        parts.append(conversion.step(x[begin:end]))
        conversion.change_profile(STEADY[name])  # pyright: ignore[reportArgumentType]
        begin = end
    parts += [conversion.step(x[begin:]), conversion.flush()]
    changed = np.concatenate(parts)
    assert len(changed) == len(plain)
    assert relative_error(changed, plain) <= 1e-3


def test_a_hop_that_hears_another_distance_is_refused(starter: Voice) -> None:
    conversion = Conversion(starter, 16_000, profile=LOW)
    with pytest.raises(ConfigError, match="hops of 20 ms"):
        conversion.change_profile(dataclasses.replace(LOW, look_ahead=1))
    with pytest.raises(ConfigError, match="hops of 400 ms"):
        conversion.change_profile(dataclasses.replace(LOW, content_frames=20))
