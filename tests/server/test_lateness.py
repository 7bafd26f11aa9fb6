"""Time: late audio, gaps, stalls, clients that are too fast or too slow. The clock is told."""

import gc
import sys
from concurrent.futures import Future

import numpy as np
import pytest
from calls import RATE, START, FakeConversion, FakeVoices, Talk
from hypothesis import given, settings
from hypothesis import strategies as st

from server.config import Limits
from server.failures import Refused
from server.intake import Intake
from server.line import Job, Outcome
from server.protocol import AudioFrame, Failure, Flag, Ping, Stats, Stop, Stopped
from server.session import attempt

HOP = 160  # 20 ms
LIMITS = Limits()


def live(compute: float = 0.0, hop: int = HOP, lag: int = 80) -> Talk:
    """A conversation that is ready for audio, whose hops take `compute` seconds."""
    talk = Talk(FakeVoices(lambda: FakeConversion(hop, lag)), compute=compute)
    talk.tell(START)
    talk.messages.clear()
    return talk


def stats(talk: Talk) -> Stats:
    """The last figures sent."""
    return [m for m in talk.messages if isinstance(m, Stats)][-1]


def live_pace(talk: Talk, seconds: float, frame: int = HOP) -> None:
    """Speak at real-time pace, as long as the conversation's own work leaves time."""
    for _ in range(round(seconds * RATE / frame)):
        due = talk.position / RATE + 1000.0 + frame / RATE
        talk.now = max(talk.now, due)
        talk.say(frame)


def fall_silent(talk: Talk, seconds: float) -> None:
    """Say nothing for a while."""
    for _ in range(round(seconds / 0.25)):
        talk.now += 0.25
        talk.call.tick(talk.now)
        talk.settle()


def test_at_real_time_pace_nothing_is_late() -> None:
    talk = live(compute=0.015)
    live_pace(talk, 10.0)
    talk.tell(Stop())
    assert talk.flagged(Flag.CONCEALED) == 0
    assert (stats(talk).deadline_misses, stats(talk).underruns) == (0, 0)
    assert stats(talk).queue_ms < 1


@pytest.mark.parametrize("frame", [10, 80, 441, 1600, 8000])
def test_the_size_of_the_frames_makes_nothing_late(frame: int) -> None:
    talk = live(compute=0.015)
    live_pace(talk, 10.0, frame)
    talk.tell(Stop())
    assert talk.flagged(Flag.CONCEALED) == 0
    assert stats(talk).underruns == 0
    if frame >= HOP:
        assert stats(talk).deadline_misses == 0


def test_a_hop_that_takes_longer_than_it_lasts_is_a_deadline_miss() -> None:
    talk = live(compute=0.021)
    talk.say(HOP)
    talk.tell(Stop())
    assert stats(talk).deadline_misses == 1


def test_a_server_that_is_too_slow_drops_what_is_late_and_stays_in_time() -> None:
    """Compute of 1.5 times the hop: a third of the audio must go, and the rest is never old."""
    talk = live()
    at_work: list[tuple[Job, float]] = []
    for k in range(1, 1500):
        talk.now = 1000.0 + k * 0.02
        talk.call.receive(_frame(talk, HOP), talk.now)
        assert not talk.call.full, "a live client was slowed down"
        start = talk.now
        if at_work and at_work[0][1] <= talk.now:
            job, start = at_work.pop()
            talk.call.settle_hop(job, attempt(job.work), start)
        if not at_work and (job := talk.call.next_hop(start)) is not None:
            at_work.append((job, start + 0.03))
        talk.take()
        if talk.frames:
            answered = talk.frames[-1].position + talk.frames[-1].samples("f32le")
            assert k * 0.02 - answered / RATE < LIMITS.max_late_s + 0.15
    heard = talk.heard()
    assert not np.isnan(heard).any()
    assert (heard <= 0).all(), "the raw voice was heard"
    assert 0.25 < talk.flagged(Flag.CONCEALED) / len(heard) < 0.45


def _frame(talk: Talk, count: int) -> bytes:
    pcm = np.full(count, 0.5, "<f4").tobytes()
    frame = AudioFrame(talk.seq, talk.position, pcm).pack()
    talk.seq, talk.position = talk.seq + 1, talk.position + count
    return frame


def test_a_worker_that_stalls_for_five_seconds_loses_those_and_is_in_time_again() -> None:
    talk = live()
    live_pace(talk, 1.0)
    talk.call.receive(_frame(talk, HOP), talk.now)
    job = talk.call.next_hop(talk.now)
    assert job is not None
    for _ in range(250):
        talk.now += 0.02
        talk.call.receive(_frame(talk, HOP), talk.now)
        assert not talk.call.full, "a live client was slowed down"
    talk.call.settle_hop(job, attempt(job.work), talk.now)
    talk.settle()
    end = talk.frames[-1].position + talk.frames[-1].samples("f32le")
    assert talk.position - end <= talk.conversion.latency + HOP
    before = len(talk.frames)
    live_pace(talk, 2.0)
    talk.tell(Stop())
    assert not any(Flag.CONCEALED in f.flags for f in talk.frames[before:])
    heard = talk.heard()
    voice = np.flatnonzero(np.abs(heard) > 0)
    assert len(heard) - len(voice) == pytest.approx(5.0 * RATE, abs=0.2 * RATE)
    assert len(heard) - len(voice) == pytest.approx(stats(talk).underruns * HOP, abs=2 * HOP)


def test_lost_audio_has_soft_edges() -> None:
    talk = live(lag=320)
    live_pace(talk, 1.0)
    talk.call.receive(_frame(talk, HOP), talk.now)
    for _ in range(50):
        talk.now += 0.02
        talk.call.receive(_frame(talk, HOP), talk.now)
    talk.settle()
    live_pace(talk, 1.0)
    talk.tell(Stop())
    assert talk.flagged(Flag.CONCEALED) > 0
    assert np.abs(np.diff(talk.heard())).max() < 0.05


def test_a_client_that_stalls_for_five_seconds_loses_nothing() -> None:
    talk = live(compute=0.01)
    live_pace(talk, 1.0)
    talk.wait(5.0)
    for _ in range(100):
        talk.now += 0.02 - talk.compute
        talk.say(HOP)
    talk.tell(Stop())
    assert talk.messages[-1] == Stopped(samples_in=3 * RATE, samples_out=3 * RATE)
    assert talk.flagged(Flag.CONCEALED) == 0
    assert (stats(talk).deadline_misses, stats(talk).underruns) == (0, 0)


def test_after_a_stall_the_clock_is_at_most_an_inbox_ahead() -> None:
    """A burst after a stall must not let the server be slow for as long as the stall was."""
    talk = live()
    live_pace(talk, 1.0)
    talk.wait(5.0)
    for _ in range(250):
        talk.say(HOP)
    intake = Intake(RATE, HOP, LIMITS)
    for k in range(500):
        intake.put(k * HOP, np.zeros(HOP, np.float32), 0.0)
        intake.take_hop()
    intake.put(500 * HOP, np.zeros(HOP, np.float32), 0.0)
    assert -1.1 < intake.lateness(0.0) <= -1.0


@given(st.integers(50, 3000), st.sampled_from([0.0, 0.001, 0.015, 0.019]))
@settings(max_examples=20, deadline=None)
def test_a_client_faster_than_real_time_is_slowed_and_loses_nothing(
    frame: int, compute: float
) -> None:
    talk = live(compute)
    sent = slowed = 0
    while sent < 4 * RATE:
        if talk.call.full:
            slowed += 1
            _one_hop(talk)
        else:
            talk.call.receive(_frame(talk, frame), talk.now)
            sent += frame
    talk.settle()
    talk.tell(Stop())
    assert slowed > 0
    assert talk.messages[-1] == Stopped(samples_in=sent, samples_out=sent)
    assert talk.flagged(Flag.CONCEALED) == 0
    np.testing.assert_array_equal(talk.heard(), np.full(sent, -0.5))


def _one_hop(talk: Talk) -> None:
    job = talk.call.next_hop(talk.now)
    if job is not None:
        outcome = attempt(job.work)
        talk.now += talk.compute
        talk.call.settle_hop(job, outcome, talk.now)
        talk.take()


def test_the_inbox_is_bounded() -> None:
    intake = Intake(RATE, HOP, LIMITS)
    position = 0
    while not intake.full:
        intake.put(position, np.zeros(100, np.float32), 0.0)
        position += 100
    assert RATE <= intake.queued < RATE + 100


def test_a_flood_of_tiny_frames_is_kept_small() -> None:
    intake = Intake(RATE, HOP, LIMITS)
    for position in range(RATE):
        intake.put(position, np.zeros(1, np.float32), 0.0)
    assert len(intake._chunks) <= RATE // 200  # pyright: ignore[reportPrivateUsage]
    assert intake.full


@given(st.lists(st.integers(1, 500), min_size=1, max_size=40), st.integers(1, 300))
@settings(max_examples=50, deadline=None)
def test_hops_are_the_input_in_order(cuts: list[int], hop: int) -> None:
    intake = Intake(RATE, hop, LIMITS)
    said = np.arange(sum(cuts), dtype=np.float32)
    out: list[np.ndarray] = []
    position = 0
    for part in np.split(said, np.cumsum(cuts)[:-1]):
        intake.put(position, part, 0.0)
        position += len(part)
        while intake.hop_ready:
            out.append(intake.take_hop().samples)
            assert len(out[-1]) == hop
    out.append(intake.take_rest())
    np.testing.assert_array_equal(np.concatenate(out), said)
    assert intake.queued == 0


@pytest.mark.parametrize("gap", [1, HOP - 1, HOP, HOP + 1, 4000])
def test_a_short_gap_is_silence(gap: int) -> None:
    talk = live()
    talk.say(500)
    talk.say(500, position=500 + gap)
    assert talk.tell(Stop())[-1] == Stopped(samples_in=1000 + gap, samples_out=1000 + gap)
    expected = np.full(1000 + gap, -0.5)
    expected[500 : 500 + gap] = 0
    np.testing.assert_array_equal(talk.heard(), expected)
    assert talk.conversion.blocks[:-1] == [HOP] * (len(talk.conversion.blocks) - 1)


@pytest.mark.parametrize("gap", [4001, 100_000, 2**50])
def test_a_long_gap_resets_the_stream_and_is_left_out(gap: int) -> None:
    talk = live()
    talk.say(500)
    talk.say(500, position=500 + gap)
    talk.say(500)
    assert talk.tell(Stop())[-1] == Stopped(samples_in=1500, samples_out=1500)
    before = [f for f in talk.frames if f.position < 500 + gap]
    after = talk.frames[len(before) :]
    assert sum(f.samples("f32le") for f in before) == 500
    assert sum(f.samples("f32le") for f in after) == 1000
    assert after[0].position == 500 + gap
    assert [Flag.GAP in f.flags for f in after] == [True] + [False] * (len(after) - 1)
    assert not any(Flag.GAP in f.flags for f in before)


def test_a_gap_for_each_frame_is_survived() -> None:
    talk = live()
    for k in range(100):
        talk.say(1, position=k * 10_000)
    assert talk.tell(Stop())[-1] == Stopped(samples_in=100, samples_out=100)
    assert [f.position for f in talk.frames] == [k * 10_000 for k in range(100)]


def test_a_step_back_is_refused_and_the_stream_goes_on() -> None:
    talk = live()
    talk.say(500)
    (answer,) = talk.say(500, position=499)
    assert isinstance(answer, Failure)
    assert (answer.code, answer.fatal) == ("bad_message", False)
    talk.say(500, position=500)
    assert talk.tell(Stop())[-1] == Stopped(samples_in=1000, samples_out=1000)


def test_an_intake_refuses_a_step_back() -> None:
    intake = Intake(RATE, HOP, LIMITS)
    intake.put(100, np.zeros(10, np.float32), 0.0)
    with pytest.raises(Refused, match="109 goes back; 110"):
        intake.put(109, np.zeros(10, np.float32), 0.0)


def test_a_reader_that_is_slow_for_a_while_misses_the_oldest_frames() -> None:
    talk = live()
    taken = talk.take
    talk.take = lambda: None
    live_pace(talk, 3.0)
    fall_silent(talk, 3.0)
    talk.take = taken
    talk.take()
    waited = sum(f.samples("f32le") for f in talk.frames)
    assert waited <= LIMITS.outbox_s * RATE
    assert talk.frames[0].flags & Flag.GAP
    assert talk.frames[0].flags & Flag.CONCEALED
    end = talk.frames[-1].position + talk.frames[-1].samples("f32le")
    assert talk.position - end <= talk.conversion.latency
    talk.tell(Stop())
    stopped = talk.messages[-1]
    assert isinstance(stopped, Stopped)
    assert stopped.samples_out == sum(f.samples("f32le") for f in talk.frames)
    assert stats(talk).underruns > 0


@pytest.mark.parametrize("reads", [False, True])
def test_a_reader_that_is_slow_does_not_make_the_device_look_late(reads: bool) -> None:
    """What a slow device does not get done, on the other hand, is late."""
    talk = live(compute=0.0 if not reads else 0.025)
    late: list[float] = []
    submit = talk.room.submit

    def watched(job: Job) -> "Future[Outcome]":
        if job.turn is not None:
            late.append(talk.now + talk.compute - job.turn.deadline)
        return submit(job)

    talk.room.submit = watched
    if not reads:
        talk.take = lambda: None
    live_pace(talk, 3.0)
    fall_silent(talk, 3.0)
    assert len(late) > 100
    assert (max(late) > 0.0) is reads


def test_a_reader_that_takes_nothing_for_ten_seconds_is_too_slow() -> None:
    talk = live()
    talk.call.receive(Ping(t=1).model_dump_json(), talk.now)
    talk.call.outbox.take(talk.now)
    talk.take = lambda: None
    talk.wait(10.0)
    assert talk.call.close is None
    talk.wait(0.5)
    assert talk.call.close == 1008
    Talk.take(talk)
    last = talk.messages[-1]
    assert isinstance(last, Failure)
    assert (last.code, last.fatal) == ("too_slow", True)


def test_a_client_that_asks_and_never_reads_is_not_read_any_more() -> None:
    talk = live()
    talk.take = lambda: None
    for k in range(LIMITS.texts):
        assert not talk.call.full
        talk.tell(Ping(t=k))
    assert talk.call.full
    Talk.take(talk)
    assert not talk.call.full


def test_thousands_of_hops_leave_nothing_behind() -> None:
    talk = live(compute=0.01)

    def blocks_after(hops: int) -> int:
        for _ in range(hops):
            talk.now += 0.01
            talk.say(HOP)
            talk.wait(0.01, 0.01)
            for kept in (talk.frames, talk.messages, talk.conversion.blocks):
                kept.clear()
        gc.collect()
        return sys.getallocatedblocks()

    before = blocks_after(1000)
    assert blocks_after(4000) - before < 100
