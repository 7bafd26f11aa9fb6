import asyncio
import time
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest
from tiny_server import stats

from clients.desk import Desk
from clients.link import Event
from clients.recorder import Recorder
from clients.rings import Ear, Mouth
from clients.sound import Bell
from clients.talk import BACKLOG_S, RESTART, Talk, decoded, encoded
from server.protocol import (
    AudioFrame,
    ClientMessage,
    ControlsNow,
    Encoding,
    Failure,
    Flag,
    Ready,
    SetVoice,
    VoiceNow,
)
from stream.audio import Audio
from stream.controls import Controls
from stream.errors import LinkError

RATE, BLOCK = 8_000, 80


class Wire:
    """A channel that keeps what is sent, and says what it is given."""

    def __init__(self, encoding: Encoding = "f32le") -> None:
        self.ready = Ready(
            session="s",
            voice="starter",
            sample_rate=8_000,
            encoding=encoding,
            hop_samples=80,
            latency_samples=0,
            provider="None",
            profile="low",
            why="",
        )
        self.sent: list[tuple[int, Audio]] = []
        self.told: list[ClientMessage] = []
        self.says: asyncio.Queue[Event | LinkError] = asyncio.Queue()

    async def send(self, pcm: bytes | memoryview, position: int | None = None) -> None:
        assert position is not None
        self.sent.append((position, decoded(pcm, self.ready.encoding)))

    async def tell(self, message: ClientMessage) -> None:
        self.told.append(message)

    async def ping(self) -> None:
        self.says.put_nowait(stats())

    async def events(self) -> AsyncIterator[Event]:
        while True:
            event = await self.says.get()
            if isinstance(event, LinkError):
                raise event
            yield event


class Stage:
    """A talk on a wire, driven step by step."""

    def __init__(self, encoding: Encoding = "f32le", *, push_to_talk: bool = False) -> None:
        self.ear, self.mouth, self.bell = Ear(RATE), Mouth(RATE), Bell()
        self.desk = Desk("starter", push_to_talk=push_to_talk)
        self.wire = Wire(encoding)
        self.talk = Talk(self.ear, [self.mouth], self.desk, self.bell.wait, BLOCK)

    def hears(self, samples: Audio | int) -> None:
        self.ear.put(np.full(samples, 0.5, np.float32) if isinstance(samples, int) else samples)
        self.bell.ring()

    def said(self) -> Audio:
        return np.concatenate([samples for _, samples in self.wire.sent])

    def answer(self, position: int, samples: Audio, flags: int = 0) -> None:
        pcm = encoded(samples, self.wire.ready.encoding)
        self.wire.says.put_nowait(AudioFrame(0, position, pcm, Flag(flags)))

    def run(self, *steps: Callable[[], object]) -> None:
        async def main() -> None:
            task = asyncio.create_task(self.talk.run(self.wire))
            try:
                for step in steps:
                    await asyncio.sleep(0.02)
                    step()
                await asyncio.sleep(0.05)
                if task.done():
                    task.result()
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                self.bell.close()

        asyncio.run(main())


@pytest.mark.parametrize("encoding", ["f32le", "s16le"])
def test_what_is_heard_is_sent_from_position_0_on(encoding: Encoding) -> None:
    stage = Stage(encoding)
    stage.ear.put(np.ones(500, np.float32))  # before the talk: nobody's business
    stage.run(lambda: stage.hears(400), lambda: stage.hears(100), lambda: stage.hears(60))
    assert [position for position, _ in stage.wire.sent] == list(range(0, 560, BLOCK))
    assert stage.said()[100:].tolist() == pytest.approx([0.5] * 460)


def test_what_could_not_be_sent_in_time_is_a_gap_and_no_shift() -> None:
    stage = Stage()
    late = int(BACKLOG_S * RATE) + 800
    stage.run(lambda: stage.hears(80), lambda: stage.hears(late), lambda: stage.hears(80))
    positions = [position for position, _ in stage.wire.sent]
    assert positions == [0, late, late + 80]
    assert stage.talk.figures.dropped == late - 80


def test_a_closed_microphone_sends_silence_of_the_same_length_without_a_click() -> None:
    stage = Stage()
    stage.run(
        lambda: stage.hears(400),
        lambda: stage.desk.press("m", 0.0),
        lambda: stage.hears(400),
        lambda: stage.hears(400),
        lambda: stage.desk.press("m", 0.0),
        lambda: stage.hears(400),
    )
    said = stage.said()
    assert len(said) == 1600
    assert not said[480:1200].any()
    assert said[1300:].tolist() == [0.5] * 300
    assert np.max(np.abs(np.diff(said))) <= 0.5 / (0.005 * RATE) + 1e-6


def test_push_to_talk_is_silent_until_the_key() -> None:
    stage = Stage(push_to_talk=True)
    stage.run(
        lambda: stage.hears(400),
        lambda: stage.desk.press(" ", time.monotonic()),
        lambda: stage.hears(400),
    )
    assert not stage.said()[:400].any()
    assert stage.said()[500:].all()


def test_what_comes_back_is_played_and_recorded_at_its_position() -> None:
    class Tape:
        def __init__(self) -> None:
            self.parts: list[Audio] = []

        def write(self, data: Audio, /) -> None:
            self.parts.append(data)

    stage, tape = Stage(), Tape()
    stage.talk.recorder = Recorder(tape, RATE, "both")
    stage.run(
        lambda: stage.hears(800),
        lambda: stage.answer(0, np.full(400, -0.5, np.float32)),
        lambda: stage.answer(400, np.zeros(160, np.float32), Flag.CONCEALED),
    )
    both = np.concatenate(tape.parts)
    assert both[200:400].tolist() == [[0.5, -0.5]] * 200
    assert stage.talk.figures.concealed == 160
    out = np.zeros(400, np.float32)
    assert stage.mouth.buffer
    stage.mouth.read(out)
    assert stage.mouth.buffer.report.delay_ms > 0.0


def test_orders_are_told_and_answers_change_the_desk() -> None:
    stage = Stage()
    stage.run(
        lambda: stage.talk.order(stage.desk.press("right", 0.0)),
        lambda: stage.wire.says.put_nowait(ControlsNow(**vars(Controls(pitch=7.0)))),
        lambda: stage.wire.says.put_nowait(VoiceNow(voice="ada")),
    )
    assert len(stage.wire.told) == 1
    assert (stage.desk.controls["pitch"], stage.desk.voice) == (7.0, "ada")


def refusal(code: str) -> Failure:
    return Failure(code=code, message="It does not.", fatal=False)  # pyright: ignore


def test_a_voice_of_another_latency_asks_for_a_new_conversation() -> None:
    stage = Stage()
    with pytest.raises(LinkError) as caught:
        stage.run(
            lambda: stage.talk.order([SetVoice(voice="ada")]),
            lambda: stage.wire.says.put_nowait(refusal("unsupported")),
        )
    assert caught.value.code == RESTART


def test_a_voice_that_there_is_not_leaves_the_old_one() -> None:
    stage = Stage()
    stage.desk.voices = ["starter", "eve"]
    stage.run(
        lambda: stage.talk.order(stage.desk.press("v", 0.0)),
        lambda: stage.wire.says.put_nowait(refusal("voice_not_found")),
    )
    assert stage.desk.voice == "starter"
    assert stage.desk.notice == "It does not."


def test_a_talk_that_is_resumed_stays_on_the_microphones_clock() -> None:
    stage = Stage()
    stage.run(lambda: stage.hears(160))
    stage.hears(400)  # while the connection was broken
    stage.wire.ready = stage.wire.ready.model_copy(update={"resumed": True, "position": 80})
    stage.bell, stage.wire.says = Bell(), asyncio.Queue()
    stage.talk._wake = stage.bell.wait  # pyright: ignore[reportPrivateUsage]
    stage.run(lambda: stage.hears(80))
    assert [position for position, _ in stage.wire.sent] == [0, 80, 560]
    assert stage.said().tolist() == pytest.approx([0.5] * 240, abs=0.51)


def test_a_voice_that_needs_another_stream_gets_one_after_a_break_too() -> None:
    stage = Stage()
    stage.desk.voice = "eve"
    stage.wire.ready = stage.wire.ready.model_copy(update={"resumed": True})
    with pytest.raises(LinkError) as caught:
        stage.run(lambda: stage.wire.says.put_nowait(refusal("unsupported")))
    assert caught.value.code == RESTART


def test_other_refusals_are_shown_and_the_talk_goes_on() -> None:
    stage = Stage()
    stage.run(lambda: stage.wire.says.put_nowait(refusal("unsupported")), lambda: stage.hears(80))
    assert stage.desk.notice == "It does not."
    assert len(stage.wire.sent) == 1


def test_a_broken_link_ends_the_talk() -> None:
    stage = Stage()
    with pytest.raises(LinkError, match="lost"):
        stage.run(lambda: stage.wire.says.put_nowait(LinkError("lost")))


def test_the_raw_voice_is_never_what_a_mouth_says_by_itself() -> None:
    stage, out = Stage(), np.ones(400, np.float32)
    stage.run(lambda: stage.hears(800))
    for _ in range(20):
        stage.mouth.read(out)
        assert not out.any()


def test_an_ear_keeps_its_last_seconds_and_tells_when() -> None:
    ear = Ear(1000, 1.0)
    for start in range(0, 2500, 50):
        ear.put(np.arange(start, start + 50, dtype=np.float32))
    assert ear.take(1800, 300).tolist() == list(range(1800, 2100))
    now = time.perf_counter()
    assert ear.heard_at(2500) == pytest.approx(now, abs=1.0)
    assert ear.heard_at(2500) - ear.heard_at(1500) == pytest.approx(1.0)


@pytest.mark.parametrize("encoding", ["f32le", "s16le"])
def test_samples_survive_the_wire(encoding: Encoding) -> None:
    sound = np.linspace(-1.0, 0.99, 65, dtype=np.float32)
    assert np.abs(decoded(encoded(sound, encoding), encoding) - sound).max() < 2**-15


def test_a_mouth_without_a_conversation_says_nothing() -> None:
    out = np.ones(100, np.float32)
    Mouth(RATE).read(out)
    assert not out.any()
