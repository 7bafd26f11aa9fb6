"""A conversation whose connection breaks, and one that takes it up. No sockets, no real time."""

import json
from typing import Any

import numpy as np
import pytest
from calls import RATE, START, FakeConversion, FakeVoices, Talk
from hypothesis import given, settings
from hypothesis import strategies as st

from server.config import Limits
from server.failures import OK, Refused
from server.protocol import (
    AudioFrame,
    Bypass,
    ControlsNow,
    ControlValues,
    Failure,
    Flag,
    Ready,
    SetControls,
    SetVoice,
    Start,
    Stats,
    Stop,
    VoiceNow,
)
from server.resume import Ticket, Tickets
from stream.audio import Audio

HOP = 160


class Summing(FakeConversion):
    """Remembers all that it heard: a hole that it did not hear as silence would show for ever."""

    def step(self, block: Audio) -> Audio:
        sums = getattr(self, "_sum", 0.0) + np.cumsum(block, dtype=np.float64)
        self._sum = float(sums[-1]) if len(sums) else getattr(self, "_sum", 0.0)
        return super().step(sums.astype(np.float32))


def opened(make: Any = FakeConversion, **options: Any) -> tuple[Talk, Ready]:
    """A conversation that is ready for audio, and what it was told."""
    talk = Talk(FakeVoices(make), tickets=Tickets[Talk](), **options)
    (ready,) = talk.tell(START)
    assert isinstance(ready, Ready)
    return talk, ready


def again(ready: Ready, **changes: Any) -> Start:
    """How its client comes back."""
    return START.model_copy(update={"resume": ready.resume, **changes})


def back(talk: Talk, start: Start) -> list[Any]:
    """The client comes back; returns what it is told."""
    before = len(talk.messages)
    other = Talk(talk.voices, tickets=talk.tickets)
    assert other.tell(start) == []
    assert other.call.moved == start
    assert other.ticket is not None
    assert other.ticket.claimed is talk
    talk.call.resume(start, talk.now)
    talk.settle()
    return talk.messages[before:]


@given(
    before=st.integers(1, 1500),
    lost=st.integers(0, 800),
    hole=st.integers(0, RATE // 2 - 800),
)
@settings(max_examples=40, deadline=None)
def test_who_comes_back_soon_was_silent_meanwhile(before: int, lost: int, hole: int) -> None:
    """`lost` samples were taken in, and their answer never heard."""
    noise = np.random.default_rng(before).integers(-8, 8, 4000).astype(np.float32) / 64
    talk, ready = opened(Summing)
    talk.say(noise[:before])
    frame = len(talk.frames)
    assert talk.room.promised
    talk.call.park(talk.now)
    assert not talk.room.promised, "nobody takes up that room now"
    if lost:
        talk.call.receive(_frame(noise[before : before + lost], before), talk.now)
        talk.settle()
    assert len(talk.frames) == frame, "nothing is said to nobody"
    (told, *_) = back(talk, again(ready))
    assert (told.resumed, told.position, told.session) == (True, before + lost, ready.session)
    talk.frames.clear()
    start = before + lost + hole
    talk.say(noise[: 4000 - before - lost], start)
    talk.tell(Stop())
    heard = np.concatenate(
        [noise[: before + lost], np.zeros(hole, np.float32), noise[: 4000 - before - lost]]
    )
    first = talk.frames[0].position
    np.testing.assert_allclose(talk.heard(), -np.cumsum(heard)[first:], atol=1e-4)
    assert talk.frames[0].flags & (Flag.GAP | Flag.CONCEALED) == Flag.GAP | Flag.CONCEALED


def test_who_comes_back_late_begins_anew_on_the_same_clock() -> None:
    talk, ready = opened()
    talk.say(1000)
    talk.call.park(talk.now)
    back(talk, again(ready))
    talk.frames.clear()
    talk.say(1000, 1000 + RATE)
    talk.tell(Stop())
    assert next(f.position for f in talk.frames if f.position >= 1000) == 1000 + RATE


def test_what_start_says_is_in_force_and_bypass_is_off() -> None:
    talk, ready = opened()
    talk.tell(SetControls(pitch=3), SetVoice(voice="ben"), Bypass(on=True))
    talk.say(HOP)
    talk.call.park(talk.now)
    controls = ControlValues(formant=1)
    told, now = back(talk, again(ready, voice="ben", controls=controls))
    assert isinstance(told, Ready)
    assert told.voice == "ben"
    assert isinstance(now, ControlsNow)
    assert (now.pitch, now.formant) == (3.0, 1.0)
    assert talk.conversion.bypass is False
    talk.call.park(talk.now)
    *_, voice = back(talk, again(told, voice="ada"))
    assert voice == VoiceNow(voice="ada")
    talk.call.park(talk.now)
    _, refused, _ = back(talk, again(_last_ready(talk), voice="nobody"))
    assert isinstance(refused, Failure)
    assert (refused.code, refused.fatal) == ("voice_not_found", False)


def test_nobody_is_idle_or_told_of_while_away_and_the_time_is_bounded() -> None:
    limits = Limits(idle_s=2.0, resume_s=5.0)
    talk, _ready = opened(limits=limits)
    talk.say(HOP)
    talk.call.park(talk.now)
    assert talk.wait(4.9) == []
    assert talk.call.close is None
    talk.wait(0.5)
    assert talk.call.close == OK


def test_statistics_go_on_and_nothing_waits_for_who_is_back() -> None:
    talk, ready = opened(limits=Limits(texts=2))
    talk.call.receive(SetControls(pitch=1).model_dump_json(), talk.now)
    talk.call.park(talk.now)
    talk.wait(3.0)
    told = back(talk, again(ready))
    assert [type(message) for message in told] == [Ready, ControlsNow]
    assert any(isinstance(message, Stats) for message in talk.wait(2.0))


@pytest.mark.parametrize(
    "change", [{"sample_rate": 16_000}, {"encoding": "s16le"}, {"profile": "low"}]
)
def test_another_form_of_sound_is_another_stream(change: dict[str, Any]) -> None:
    talk, ready = opened()
    talk.call.park(talk.now)
    other = Talk(tickets=talk.tickets)
    (told,) = other.tell(again(ready, **change))
    assert isinstance(told, Ready)
    assert not told.resumed
    assert told.resume not in {"", ready.resume}


def test_a_stream_that_ends_cannot_be_resumed() -> None:
    stopping, _ = opened()
    stopping.call.receive(Stop().model_dump_json(), stopping.now)
    over, _ = opened()
    over.call.hang_up(over.now)
    draining, _ = opened()
    draining.call.drain()
    early = Talk(tickets=Tickets[Talk]())
    assert not any(talk.call.park(talk.now) for talk in (stopping, over, draining, early))


def test_a_server_that_ends_waits_for_nobody() -> None:
    for end in ("drain", "hang_up"):
        talk, _ = opened()
        talk.call.park(talk.now)
        talk.call.drain() if end == "drain" else talk.call.hang_up(talk.now)
        assert talk.call.close == {"drain": 1000, "hang_up": 1001}[end]


def test_a_stream_that_may_not_go_on_ends_while_its_client_is_away() -> None:
    talk, ready = opened()
    talk.call.park(talk.now)
    talk.call.fail(Refused("unauthorized", "The token is withdrawn."), talk.now)
    assert talk.call.close == 1008
    (told,) = Talk(tickets=talk.tickets).tell(again(ready))
    assert isinstance(told, Ready)
    assert not told.resumed


def test_the_old_secret_holds_until_the_new_one_is_used() -> None:
    talk, first = opened()
    talk.say(HOP)
    talk.call.park(talk.now)
    second, *_ = back(talk, again(first))
    talk.call.park(talk.now)
    third, *_ = back(talk, again(first))
    assert len({first.resume, second.resume, third.resume}) == 3
    talk.say(HOP)
    for void in (first, second):
        (told,) = Talk(tickets=talk.tickets).tell(again(void))
        assert isinstance(told, Ready)
        assert not told.resumed
    talk.call.park(talk.now)
    back(talk, again(third))


def test_a_stream_that_is_over_leaves_no_secret() -> None:
    talk, ready = opened()
    assert talk.ticket is not None
    assert talk.tickets is not None
    talk.call.park(talk.now)
    back(talk, again(ready))
    assert len(talk.tickets) == 2
    talk.ticket.tear()
    assert len(talk.tickets) == 0


def test_secrets_are_long_and_not_kept() -> None:
    tickets = Tickets[Talk]()
    told = {Ticket(tickets).offer() for _ in range(100)}
    assert len(told) == 100
    assert min(map(len, told)) >= 22  # 128 bits
    assert not any(secret in repr(vars(tickets)) for secret in told)


def test_a_secret_begins_with_the_name_of_its_replica() -> None:
    tickets = Tickets[Talk]("b-2")
    talk = Talk(tickets=tickets)
    (ready,) = talk.tell(START)
    assert isinstance(ready, Ready)
    assert ready.resume.startswith("b-2.")
    assert len(ready.resume) >= 22 + len("b-2.")
    talk.call.park(talk.now)
    told, *_ = back(talk, again(ready))
    assert told.resumed


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_subnormal=False)
    | st.integers()
    | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*Start.model_fields, "other"]), JSON), st.booleans())
@settings(max_examples=80, deadline=None)
def test_any_start_gets_a_typed_answer(fields: dict[str, Any], whole: bool) -> None:
    other, _ = opened()
    talk = Talk(tickets=other.tickets)
    begin = {"type": "start", **(START.model_dump() if whole else {}), **fields}
    (told,) = talk.tell(json.dumps(begin))
    if isinstance(told, Failure):
        assert told.fatal
        assert told.code != "internal"
    else:
        assert isinstance(told, Ready)
        assert not told.resumed
    assert other.call.close is None
    assert other.call.parked is None


def _frame(samples: Audio, position: int) -> bytes:
    return AudioFrame(0, position, samples.astype("<f4").tobytes()).pack()


def _last_ready(talk: Talk) -> Ready:
    return [message for message in talk.messages if isinstance(message, Ready)][-1]
