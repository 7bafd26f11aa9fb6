import asyncio
import time

import numpy as np
import pytest
from calls import FakeConversion, FakeVoices

from clients.link import Event
from clients.local import FAILED_HOPS, LocalChannel, open_local
from server.protocol import (
    AudioFrame,
    Bypass,
    ControlsNow,
    Failure,
    Flag,
    Pong,
    SetControls,
    SetVoice,
    Start,
    Stats,
    VoiceNow,
)
from stream.audio import Audio
from stream.errors import LinkError, VoiceNotFound
from stream.ladder import Ladder

RATE, HOP = 8_000, 160
START = Start(voice="ada", sample_rate=RATE, encoding="f32le", profile="low")


class FakeStudio(FakeVoices):
    """Fake conversions, as the client's own studio gives them."""

    def __init__(self, conversion: FakeConversion | None = None) -> None:
        super().__init__()
        self.conversion = conversion or FakeConversion()

    def open(self, start: Start) -> tuple[FakeConversion, str, str, str]:  # pyright: ignore
        self.load(start.voice)
        return self.conversion, "FakeProvider", "low", "because"

    def names(self) -> list[str]:
        return list(self.NAMES)


async def drain(channel: LocalChannel) -> list[Event]:
    """All events that come within a moment of each other."""
    events = list[Event]()

    async def take() -> None:
        async for event in channel.events():
            events.append(event)

    task = asyncio.create_task(take())
    before = -1
    while len(events) != before:
        before = len(events)
        await asyncio.sleep(0.15)
    if task.done():
        task.result()
    task.cancel()
    return events


def frames(events: list[Event]) -> list[AudioFrame]:
    return [event for event in events if isinstance(event, AudioFrame)]


def pcm(samples: int, value: float = 0.5) -> bytes:
    return np.full(samples, value, "<f4").tobytes()


def test_every_sample_comes_out_converted_at_its_position() -> None:
    async def main() -> None:
        async with open_local(START, FakeStudio()) as channel:
            assert channel.ready.profile == "low"
            for position in range(0, 1600, 40):
                await channel.send(pcm(40), position)
                await asyncio.sleep(0)
            await asyncio.sleep(0.2)
            out = frames(await drain(channel))
            assert [frame.position for frame in out] == np.cumsum(
                [0, *(frame.samples("f32le") for frame in out[:-1])]
            ).tolist()
            heard = np.frombuffer(b"".join(bytes(frame.pcm) for frame in out), "<f4")
            assert len(heard) == 1600 - channel.ready.latency_samples + HOP
            assert (heard == -0.5).all()

    asyncio.run(main())


def test_controls_voice_and_bypass_change_and_are_told() -> None:
    async def main() -> None:
        studio = FakeStudio()
        async with open_local(START, studio) as channel:
            await channel.tell(SetControls(pitch=3.0))
            await channel.tell(SetVoice(voice="ben"))
            await channel.tell(SetVoice(voice="slow"))
            await channel.tell(SetVoice(voice="eve"))
            await channel.tell(Bypass(on=True))
            events = await drain(channel)
            assert isinstance(events[0], ControlsNow)
            assert events[0].pitch == studio.conversion.controls.pitch == 3.0
            assert events[1] == VoiceNow(voice="ben")
            codes = [event.code for event in events if isinstance(event, Failure)]
            assert codes == ["unsupported", "voice_not_found"]
            assert studio.conversion.bypass

    asyncio.run(main())


def test_a_gap_starts_the_converter_anew_and_is_told() -> None:
    async def main() -> None:
        studio = FakeStudio()
        async with open_local(START, studio) as channel:
            await channel.send(pcm(HOP * 2), 0)
            await asyncio.sleep(0.1)
            await channel.send(pcm(HOP * 2), 8_000)
            out = frames(await drain(channel))
            assert [frame.position for frame in out if frame.flags & Flag.GAP] == [8_000]
            assert studio.conversion.resets == 1

    asyncio.run(main())


def test_what_waits_too_long_is_dropped_and_never_queued() -> None:
    async def main() -> None:
        studio = FakeStudio(FakeConversion(seconds=0.1))
        async with open_local(START, studio) as channel:
            for position in range(0, RATE, HOP):
                await channel.send(pcm(HOP), position)
                await asyncio.sleep(0)
            began = time.monotonic()
            events = await drain(channel)
            assert time.monotonic() - began < 4.0
            assert len(frames(events)) < 40
            await channel.ping()
            told = [event for event in await drain(channel) if isinstance(event, Stats)]
            assert told[-1].underruns > 0

    asyncio.run(main())


def test_a_failing_hop_is_silence_and_three_in_a_row_end_the_talk() -> None:
    async def main(raising: set[int]) -> list[Event]:
        async with open_local(START, FakeStudio(FakeConversion(raising=raising))) as channel:
            for position in range(0, 5 * HOP, HOP):
                await channel.send(pcm(HOP), position)
                await asyncio.sleep(0.03)
            return await drain(channel)

    events = asyncio.run(main({1}))
    assert [event.code for event in events if isinstance(event, Failure)] == ["internal"]
    out = frames(events)
    assert all((np.frombuffer(frame.pcm, "<f4") == -0.5).all() for frame in out)
    assert any(frame.flags & Flag.GAP for frame in out)
    with pytest.raises(LinkError, match="fire"):
        asyncio.run(main(set(range(FAILED_HOPS))))


def test_a_ping_is_answered_with_figures() -> None:
    async def main() -> None:
        async with open_local(START, FakeStudio()) as channel:
            await channel.send(pcm(HOP), 0)
            await asyncio.sleep(0.1)
            await channel.ping()
            events = await drain(channel)
            assert any(isinstance(event, Pong) for event in events)
            (told,) = [event for event in events if isinstance(event, Stats)]
            assert told.compute_ms.p50 > 0.0
            assert told.latency_samples == channel.ready.latency_samples

    asyncio.run(main())


class Tiring(FakeConversion):
    """A hop takes so many seconds, however long it is."""

    takes = 0.025

    def step(self, block: Audio) -> Audio:
        time.sleep(self.takes)
        return super().step(block)


def test_a_busy_machine_gives_something_up_says_so_and_takes_it_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Ladder, "BUSY_S", 0.2)
    monkeypatch.setattr(Ladder, "CALM_S", 0.3)
    conversion = Tiring()

    async def speak(channel: LocalChannel, position: int, eased: set[str]) -> tuple[Stats, int]:
        """Speak until the figures tell of one of these."""
        for _ in range(1000):
            await channel.send(pcm(HOP), position)
            position += HOP
            await asyncio.sleep(HOP / RATE)
            await channel.ping()
            told = [event for event in await taken(channel) if isinstance(event, Stats)][-1]
            if told.eased in eased:
                return told, position
        raise AssertionError(f"the figures never told of {eased}")

    async def main() -> None:
        async with open_local(START, FakeStudio(conversion)) as channel:
            longer, position = await speak(channel, 0, {"longer hops", "longest hops"})
            assert longer.profile in {"balanced", "quality"}
            conversion.takes = 0.0
            again, _ = await speak(channel, position, {""})
            assert again.profile == "low"
            assert longer.latency_samples > again.latency_samples

    asyncio.run(main())


async def taken(channel: LocalChannel) -> list[Event]:
    """Events up to the next figures."""
    events = list[Event]()
    async for event in channel.events():
        events.append(event)
        if isinstance(event, Stats):
            break
    return events


def test_a_voice_that_there_is_not_is_raised_at_once() -> None:
    async def main() -> None:
        start = START.model_copy(update={"voice": "eve"})
        async with open_local(start, FakeStudio()):
            pass

    with pytest.raises(VoiceNotFound):
        asyncio.run(main())
