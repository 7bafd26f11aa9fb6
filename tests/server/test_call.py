"""Whole conversations without sockets: what is said, and when."""

import numpy as np
import pytest
from calls import RATE, START, FakeConversion, FakeVoices, Talk
from hypothesis import given, settings
from hypothesis import strategies as st

from server.config import Limits
from server.failures import RETRY_S, TRY_LATER
from server.line import Opened
from server.protocol import (
    AudioFrame,
    Bypass,
    ControlsNow,
    ControlValues,
    Failure,
    Flag,
    Ping,
    Pong,
    Ready,
    ServerMessage,
    SetControls,
    SetVoice,
    Start,
    Stats,
    Stop,
    Stopped,
    VoiceNow,
)
from stream.controls import Controls
from stream.ladder import STEPS, Step


def live() -> Talk:
    """A conversation that is ready for audio."""
    talk = Talk()
    talk.tell(START)
    talk.messages.clear()
    return talk


def codes(messages: list[ServerMessage]) -> list[tuple[str, bool]]:
    """Code and fatality of the errors among `messages`."""
    return [(m.code, m.fatal) for m in messages if isinstance(m, Failure)]


def test_a_whole_call() -> None:
    talk = Talk()
    assert talk.tell(START) == [
        Ready(
            session="s1",
            voice="ada",
            sample_rate=RATE,
            encoding="f32le",
            hop_samples=160,
            latency_samples=240,
            provider="FakeProvider",
            profile="low",
            why="",
        )
    ]
    said = np.linspace(-0.5, 0.5, 1000, dtype=np.float32)
    talk.say(said[:300])
    talk.say(said[300:])
    *_, stats, stopped = talk.tell(Stop())
    assert isinstance(stats, Stats)
    assert stopped == Stopped(samples_in=1000, samples_out=1000)
    assert talk.call.close == 1000
    np.testing.assert_array_equal(talk.heard(), -said)
    assert [f.seq for f in talk.frames] == list(range(len(talk.frames)))


@given(
    cuts=st.lists(st.integers(1, 700), min_size=1, max_size=30),
    first=st.sampled_from([0, 1, 2**40]),
)
@settings(max_examples=50, deadline=None)
def test_every_sample_gets_one_answer_at_its_position(cuts: list[int], first: int) -> None:
    talk = live()
    said = np.random.default_rng(0).uniform(-1, 1, sum(cuts)).astype(np.float32)
    talk.position = first
    for part in np.split(said, np.cumsum(cuts)[:-1]):
        talk.say(part)
    talk.tell(Stop())
    assert talk.frames[0].position == first
    np.testing.assert_array_equal(talk.heard(), -said)
    assert set(talk.conversion.blocks[:-1]) <= {160}


def test_the_answer_to_a_sample_comes_once_the_latency_is_fed() -> None:
    talk = live()
    for _ in range(20):
        talk.say(80)
        out = sum(f.samples("f32le") for f in talk.frames)
        assert out >= talk.position - talk.conversion.latency


@pytest.mark.parametrize(
    "first",
    [
        Stop(),
        Ping(t=1),
        SetVoice(voice="ada"),
        AudioFrame(0, 0, bytes(8)).pack(),
        "hello",
        "{}",
        b"",
        b"\1",
        '{"type": "start", "voice": "ada", "surprise": 1}',
    ],
    ids=repr,
)
def test_a_wrong_first_message_ends_the_call(first: Ping | str | bytes) -> None:
    talk = Talk()
    assert codes(talk.tell(first)) == [("bad_message", True)]
    assert talk.call.close == 1008
    assert talk.tell(START) == []


@pytest.mark.parametrize(
    "change",
    ['"sample_rate": 47999', '"encoding": "opus"', '"version": 2, "new": 1', '"profile": "turbo"'],
)
def test_a_choice_that_is_not_on_offer_is_unsupported(change: str) -> None:
    talk = Talk()
    (answer,) = talk.tell(f'{{"type": "start", "voice": "ada", {change}}}')
    assert isinstance(answer, Failure)
    assert (answer.code, answer.fatal, talk.call.close) == ("unsupported", True, 1008)
    assert change.split('"')[1] in answer.message


def test_an_unknown_voice_ends_the_call_and_names_the_known() -> None:
    talk = Talk()
    (answer,) = talk.tell(START.model_copy(update={"voice": "eve"}))
    assert isinstance(answer, Failure)
    assert (answer.code, answer.fatal, talk.call.close) == ("voice_not_found", True, 1008)
    assert "ada" in answer.message


@pytest.mark.parametrize("token", [None, "", "wrong", "secret-token-2", "\udc80"])
def test_without_the_token_nothing_is_opened(token: str | None) -> None:
    talk = Talk(token="secret-token")
    asked = START.model_copy(update={"token": token}) if token != "\udc80" else START
    assert codes(talk.tell(asked)) == [("unauthorized", True)]
    assert talk.call.close == 1008
    assert talk.voices.opened == []


def test_with_the_token_the_stream_opens() -> None:
    talk = Talk(token="secret-token")
    (ready,) = talk.tell(START.model_copy(update={"token": "secret-token"}))
    assert isinstance(ready, Ready)


@pytest.mark.parametrize(
    "bad",
    [
        "nonsense",
        '{"type": "volume"}',
        '{"type": "controls", "pitch": 99}',
        '{"type": "controls", "pitch": NaN}',
        '{"type": "bypass"}',
        START,
        b"",
        b"\2" + bytes(31),
        AudioFrame(0, 0, bytes(7)).pack(),
        AudioFrame(0, 0, b"").pack(),
        AudioFrame(0, 2**64 - 1, bytes(8)).pack(),
    ],
    ids=repr,
)
def test_a_bad_message_is_answered_and_the_stream_goes_on(bad: str | bytes) -> None:
    talk = live()
    talk.say(500)
    assert codes(talk.tell(bad)) == [("bad_message", False)]
    talk.say(500)
    assert talk.tell(Stop())[-1] == Stopped(samples_in=1000, samples_out=1000)
    np.testing.assert_array_equal(talk.heard(), np.full(1000, -0.5))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 8.5, -1e30])
def test_samples_that_are_no_sound_count_as_silence(value: float) -> None:
    talk = live()
    talk.say(320)
    bad = np.full(160, 0.5, np.float32)
    bad[7] = value
    assert codes(talk.say(bad)) == [("bad_message", False)]
    talk.say(320)
    assert talk.tell(Stop())[-1] == Stopped(samples_in=800, samples_out=800)
    expected = np.full(800, -0.5)
    expected[320:480] = 0
    np.testing.assert_array_equal(talk.heard(), expected)


def test_loud_samples_are_sound() -> None:
    talk = live()
    assert talk.say(np.full(160, 8.0, np.float32)) == []


def test_s16le_goes_in_and_out_clipped() -> None:
    talk = Talk(encoding="s16le")
    talk.tell(START.model_copy(update={"encoding": "s16le"}))
    pcm = np.array([-32768, -32767, -1, 0, 1, 32767], "<i2").tobytes()
    talk.tell(AudioFrame(0, 0, pcm).pack())
    talk.tell(Stop())
    back = b"".join(bytes(f.pcm) for f in talk.frames)
    assert np.frombuffer(back, "<i2").tolist() == [32767, 32767, 1, 0, -1, -32767]


def test_a_client_that_is_always_wrong_is_cut_off_in_the_end() -> None:
    talk = live()
    most = Limits().faults_per_minute
    answers = talk.tell(*(["nonsense"] * (most + 1)))
    assert codes(answers) == [("bad_message", False)] * most + [("bad_message", True)]
    assert talk.call.close == 1008


def test_a_fault_now_and_then_is_forgiven() -> None:
    talk = live()
    for _ in range(3 * Limits().faults_per_minute):
        talk.now += 1.01
        assert codes(talk.tell("nonsense")) == [("bad_message", False)]


@pytest.mark.parametrize("big", [" " * 16_385, "é" * 9_000, bytes(256 * 1024 + 1)], ids=len)
def test_a_message_that_is_too_big_closes_with_1009(big: str | bytes) -> None:
    talk = live()
    assert codes(talk.tell(big)) == [("bad_message", True)]
    assert talk.call.close == 1009


def test_the_biggest_frame_is_taken() -> None:
    talk = live()
    assert talk.say((256 * 1024 - 16) // 4) == []
    talk.wait(60.0)
    assert talk.tell(Stop())[-1] == Stopped(samples_in=65_532, samples_out=65_532)
    assert talk.flagged(Flag.CONCEALED) == 0


def test_controls_are_answered_with_all_that_are_in_force() -> None:
    talk = Talk()
    talk.tell(START)
    (now,) = talk.tell(SetControls(pitch=4))
    assert now == ControlsNow(**vars(Controls(pitch=4)))
    (now,) = talk.tell(SetControls(gate_db=-30))
    assert now == ControlsNow(**vars(Controls(pitch=4, gate_db=-30)))
    assert talk.conversion.controls == Controls(pitch=4, gate_db=-30)


def test_controls_change_between_two_hops_only() -> None:
    talk = live()
    talk.call.receive(AudioFrame(0, 0, bytes(4 * 160)).pack(), talk.now)
    job = talk.call.next_hop(talk.now)
    assert job is not None
    talk.call.receive(SetControls(pitch=4).model_dump_json(), talk.now)
    assert talk.call.next_hop(talk.now) is None
    assert talk.conversion.controls == Controls()


def test_what_is_left_at_stop_is_converted_in_a_worker_too() -> None:
    talk = live()
    talk.say(500)
    before = len(talk.conversion.blocks)
    talk.call.receive(Stop().model_dump_json(), talk.now)
    assert talk.call.close is None
    assert len(talk.conversion.blocks) == before
    talk.settle()
    assert len(talk.conversion.blocks) == before + 1
    assert talk.call.close == 1000


def test_bypass_lets_the_raw_voice_through_only_while_it_is_on() -> None:
    talk = live()
    talk.say(480)
    talk.tell(Bypass(on=True))
    talk.say(480)
    talk.tell(Bypass(on=False))
    talk.say(480)
    talk.tell(Stop())
    assert np.sign(talk.heard()).tolist() == [-1.0] * 480 + [1.0] * 480 + [-1.0] * 480


def test_another_voice_is_loaded_and_told_of() -> None:
    talk = live()
    assert talk.tell(SetVoice(voice="ben")) == [VoiceNow(voice="ben")]
    assert talk.conversion.voice == "ben"


@pytest.mark.parametrize(("voice", "code"), [("eve", "voice_not_found"), ("slow", "unsupported")])
def test_a_voice_that_cannot_be_had_leaves_the_old_one(voice: str, code: str) -> None:
    talk = live()
    talk.tell(SetVoice(voice="ben"))
    assert codes(talk.tell(SetVoice(voice=voice))) == [(code, False)]
    assert talk.conversion.voice == "ben"
    talk.say(500)
    assert talk.tell(Stop())[-1] == Stopped(samples_in=500, samples_out=500)


def test_audio_goes_on_while_a_voice_is_loaded() -> None:
    talk = live()
    talk.call.receive(SetVoice(voice="ben").model_dump_json(), talk.now)
    load = talk.call.next_load()
    assert load is not None
    talk.say(480)
    assert len(talk.frames) > 0


def test_ping_is_answered_with_the_same_number() -> None:
    assert live().tell(Ping(t=12.75)) == [Pong(t=12.75)]


def test_stats_come_once_a_second_with_figures() -> None:
    talk = live()
    talk.compute = 0.004
    stats: list[ServerMessage] = []
    for _ in range(5 * 50):
        talk.now += 0.016
        stats += talk.say(160)
        stats += talk.wait(0.004, 0.004)
    assert 4 <= len(stats) <= 6
    last = stats[-1]
    assert isinstance(last, Stats)
    assert last.compute_ms.p50 == last.compute_ms.p99 == 4.0
    assert last.rtf == pytest.approx(0.2)
    assert (last.deadline_misses, last.underruns, last.latency_samples) == (0, 0, 240)


def test_no_start_within_ten_seconds_is_idle() -> None:
    talk = Talk()
    assert talk.wait(9.9) == []
    assert codes(talk.wait(0.5)) == [("idle", True)]
    assert talk.call.close == 1008


def test_no_word_for_a_minute_is_idle() -> None:
    talk = live()
    assert codes(talk.wait(59.0)) == []
    talk.tell(Ping(t=1))
    assert codes(talk.wait(59.0)) == []
    assert codes(talk.wait(2.0)) == [("idle", True)]
    assert talk.call.close == 1008


def test_silence_for_minutes_is_silence_and_no_idleness() -> None:
    talk = live()
    for _ in range(120 * 2):
        talk.say(np.zeros(4000, np.float32))
        assert codes(talk.wait(0.5, 0.5)) == []
    talk.tell(Stop())
    assert not talk.heard().any()
    assert len(talk.heard()) == 120 * RATE
    assert talk.flagged(Flag.SILENCE) == 120 * RATE
    assert talk.flagged(Flag.CONCEALED) == 0


def test_an_inference_error_is_an_echo_and_the_stream_goes_on() -> None:
    talk = Talk(FakeVoices(lambda: FakeConversion(raising={3})))
    talk.tell(START)
    answers = [a for _ in range(10) for a in talk.say(160)]
    assert codes(answers) == [("internal", False)]
    assert not any("fire" in a.message for a in answers if isinstance(a, Failure))
    *_, stats, stopped = talk.tell(Stop())
    assert stopped == Stopped(samples_in=1600, samples_out=1600)
    assert isinstance(stats, Stats)
    assert stats.underruns == 1
    heard = talk.heard()
    assert (heard <= 0).all(), "the raw voice was heard"
    assert (np.diff(heard[399:640]) >= 0.0).all()  # an echo that fades
    assert heard[639] == 0.0
    assert talk.flagged(Flag.CONCEALED) == 240
    assert talk.conversion.resets == 1
    assert heard[-1] == -0.5


def test_failures_that_do_not_follow_each_other_end_nothing() -> None:
    talk = Talk(FakeVoices(lambda: FakeConversion(raising={3, 4, 6, 7, 9, 10})))
    talk.tell(START)
    answers = [a for _ in range(20) for a in talk.say(160)]
    assert codes(answers) == [("internal", False)] * 6
    assert talk.tell(Stop())[-1] == Stopped(samples_in=3200, samples_out=3200)


def test_an_inference_that_always_fails_ends_the_call() -> None:
    talk = Talk(FakeVoices(lambda: FakeConversion(raising=set(range(100)))))
    talk.tell(START)
    answers = [a for _ in range(10) for a in talk.say(160)]
    assert codes(answers) == [("internal", False)] * 2 + [("internal", True)]
    assert talk.call.close == 1011
    assert not talk.heard().any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_conversion_that_returns_no_numbers_is_not_heard(bad: float) -> None:
    talk = live()
    talk.say(320)
    talk.conversion.step = lambda block: np.full(len(block), bad, np.float32)
    assert codes(talk.say(160)) == [("internal", False)]
    assert np.isfinite(talk.heard()).all()


def test_an_error_while_opening_ends_the_call_without_details() -> None:
    def broken() -> None:
        raise RuntimeError("/home/ada/secret.onnx")

    talk = Talk(FakeVoices(broken))  # pyright: ignore[reportArgumentType]
    (answer,) = talk.tell(START)
    assert isinstance(answer, Failure)
    assert (answer.code, answer.fatal, talk.call.close) == ("internal", True, 1011)
    assert "secret" not in answer.message


def test_a_server_that_ends_flushes_and_says_it_goes() -> None:
    talk = live()
    talk.say(1000)
    talk.call.hang_up(talk.now)
    talk.settle()
    assert talk.messages[-1] == Stopped(samples_in=1000, samples_out=1000)
    assert talk.call.close == 1001


def test_a_server_that_ends_before_start_just_goes() -> None:
    talk = Talk()
    talk.call.hang_up(talk.now)
    assert talk.call.close == 1001


def test_nothing_is_read_while_the_stream_opens() -> None:
    talk = Talk()
    talk.call.receive(START.model_dump_json(), talk.now)
    assert talk.call.full
    talk.settle()
    assert not talk.call.full


@given(st.lists(st.binary(max_size=40) | st.text(max_size=40), max_size=20))
@settings(max_examples=100, deadline=None)
def test_any_frames_get_an_answer_and_break_nothing(frames: list[bytes | str]) -> None:
    talk = live()
    talk.tell(*frames)
    talk.position += 10_000
    talk.say(500)
    (*_, stopped) = talk.tell(Stop())
    assert isinstance(stopped, Stopped)
    assert stopped.samples_in == stopped.samples_out >= 500


def test_controls_in_start_reach_the_backend() -> None:
    asked = START.model_copy(update={"controls": ControlValues(pitch=3)})
    seen: list[object] = []
    voices = FakeVoices()
    opener = voices.open

    def noted(start: Start, device: str, step: Step = STEPS[0]) -> Opened:
        seen.append(start)
        return opener(start, device, step)

    voices.open = noted
    Talk(voices).tell(asked)
    assert seen == [asked]


def test_a_busy_machine_gets_longer_hops_and_nothing_is_lost() -> None:
    talk = Talk()
    talk.tell(START)
    said = np.linspace(-0.5, 0.5, 4_000, dtype=np.float32)
    for at in range(0, 4_000, 80):
        if len(talk.conversion.blocks) == 2:
            talk.room.step = STEPS[3]
        talk.say(said[at : at + 80])
    *_, stats, stopped = talk.tell(Stop())
    assert isinstance(stats, Stats)
    assert (stats.profile, stats.latency_samples, stats.eased) == ("balanced", 400, "longer hops")
    assert talk.conversion.profile.light_f0
    assert stopped == Stopped(samples_in=4_000, samples_out=4_000)
    np.testing.assert_array_equal(talk.heard(), -said)
    blocks = talk.conversion.blocks
    assert blocks[:3] == [160, 160, 160]
    assert set(blocks[4:-1]) == {320}


def test_who_comes_to_a_busy_machine_is_told_the_longer_hops_at_once() -> None:
    talk = Talk()
    talk.room.step = STEPS[3]
    (ready,) = talk.tell(START)
    assert isinstance(ready, Ready)
    assert (ready.profile, ready.hop_samples, ready.latency_samples) == ("balanced", 320, 400)
    talk.say(960)
    assert talk.conversion.blocks == [320, 320, 320]
    talk.room.step = STEPS[0]
    talk.say(960)
    assert talk.conversion.profile.name == "low"


def test_who_was_silent_may_catch_up_and_who_runs_ahead_is_seen_to() -> None:
    """What the scheduler is told of a stream: since when its audio would have been spoken."""
    talk, pause = Talk(), 5.0
    talk.tell(START)
    for _ in range(10):
        talk.say(800)
        talk.now += 800 / RATE
    assert all(turn.spoken <= talk.now for turn in talk.room.turns)
    talk.now += pause
    for seconds, ahead in ((pause, 0.0), (1.0, 1.0)):
        for _ in range(round(seconds * RATE / 800)):
            talk.say(800)
        last = talk.room.turns[-1]
        assert last.spoken + last.hop_s == pytest.approx(talk.now + ahead)
    assert {turn.stream for turn in talk.room.turns} == {last.stream}


def test_what_was_given_up_comes_back() -> None:
    talk = Talk()
    talk.tell(START)
    for step, expected in ((STEPS[3], "balanced"), (STEPS[1], "low"), (STEPS[0], "low")):
        talk.room.step = step
        talk.say(960)
        assert talk.conversion.profile.name == expected
        assert talk.conversion.profile.light_f0 == step.light_f0


def test_a_stream_that_there_is_no_room_for_is_refused_and_may_try_later() -> None:
    talk = Talk()
    talk.room.refuses = True
    (told,) = talk.tell(START)
    assert isinstance(told, Failure)
    assert (told.code, told.fatal, talk.call.close) == ("overloaded", True, TRY_LATER)
    assert told.retry_s == RETRY_S > 0
    assert talk.call.line is None
