"""A real server, and clients that lose their connection and come back."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from calls import START, FakeConversion, FakeVoices
from dial import HOP, dialled, frame, rest, serving
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from server.app import Server
from server.config import Limits
from server.protocol import (
    AudioFrame,
    ControlsNow,
    Flag,
    Message,
    Ready,
    SetControls,
    SetVoice,
    Start,
    Stop,
    Stopped,
    server_message,
)

SOON_S = 10.0  # generous: machines that run tests do other things too


async def say(link: ClientConnection, message: Message) -> None:
    await link.send(message.model_dump_json(exclude_none=True))


async def begin(link: ClientConnection, **changes: Any) -> Ready:
    """Say `start`; returns the answer."""
    await say(link, START.model_copy(update=changes))
    ready = server_message.validate_json(await link.recv())
    assert isinstance(ready, Ready)
    return ready


async def until(true: Callable[[], bool]) -> None:
    """Wait for it."""

    async def wait() -> None:
        while not true():
            await asyncio.sleep(0.01)

    await asyncio.wait_for(wait(), SOON_S)


async def heard(link: ClientConnection, end: int) -> dict[int, float]:
    """Every sample that is answered, by position, up to `end`; -1 marks concealed ones."""
    got: dict[int, float] = {}
    while end - 1 not in got:
        data = await asyncio.wait_for(link.recv(), SOON_S)
        if isinstance(data, bytes):
            answer = AudioFrame.unpack(data)
            for k, value in enumerate(np.frombuffer(answer.pcm, "<f4").tolist()):
                got[answer.position + k] = value
    return got


def lose(link: ClientConnection) -> None:
    """The connection is cut, without a goodbye."""
    link.transport.abort()


def run(deed: Callable[[Server], Awaitable[None]], voices: FakeVoices, **settings: Any) -> None:
    async def main() -> None:
        async with serving(voices, **settings) as server:
            await deed(server)

    asyncio.run(main())


class Summing(FakeConversion):
    """Remembers all that it heard, slowly: a hop is out when the connection breaks."""

    total = 0.0

    def step(self, block: "np.ndarray[Any, np.dtype[np.float32]]") -> Any:
        sums = self.total + np.cumsum(block, dtype=np.float64)
        self.total = float(sums[-1]) if len(sums) else self.total
        return super().step(sums.astype(np.float32))


def test_a_client_that_was_lost_in_mid_speech_goes_on_where_it_was() -> None:
    voices = FakeVoices(lambda: Summing(seconds=0.005))

    async def main(server: Server) -> None:
        async with dialled(server.url) as link:
            ready = await begin(link)
            await say(link, SetControls(pitch=3))
            await say(link, SetVoice(voice="ben"))
            for k in range(20):
                await link.send(frame(k * HOP, value=0.001))
            await heard(link, 10 * HOP)
            lose(link)
        async with dialled(server.url) as link:
            broke = time.monotonic()
            told = await begin(link, resume=ready.resume, voice="ben")
            assert time.monotonic() - broke < 1.0
            assert (told.resumed, told.session, told.voice) == (True, ready.session, "ben")
            assert 10 * HOP < told.position <= 20 * HOP
            assert server.streams == 1
            hole = 5 * HOP
            for k in range(20):
                await link.send(frame(told.position + hole + k * HOP, value=0.001))
            await say(link, Stop())
            messages, frames = await rest(link)
        said = np.full(told.position + hole + 20 * HOP, 0.001)
        said[told.position : told.position + hole] = 0.0
        expected = -np.cumsum(said)
        for answer in frames:
            pcm = np.frombuffer(answer.pcm, "<f4")
            np.testing.assert_allclose(
                pcm, expected[answer.position : answer.position + len(pcm)], atol=1e-4
            )
        assert frames[0].position <= told.position
        assert sum(f.samples("f32le") for f in frames) == len(said) - frames[0].position
        assert [Flag.GAP in f.flags for f in frames] == [True] + [False] * (len(frames) - 1)
        controls = next(m for m in messages if isinstance(m, ControlsNow))
        assert controls.pitch == 3.0
        assert isinstance(messages[-1], Stopped)
        assert messages[-1].samples_in == len(said)
        assert (len(voices.opened), voices.opened[0].voice) == (1, "ben")
        await until(lambda: server.streams == 0)

    run(main, voices)


def test_a_connection_that_hangs_is_left_for_the_new_one() -> None:
    async def main(server: Server) -> None:
        async with dialled(server.url) as old, dialled(server.url) as link:
            ready = await begin(old)
            told = await begin(link, resume=ready.resume)
            assert told.resumed
            await link.send(frame(0, 5 * HOP))
            assert await heard(link, 4 * HOP)
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(old.recv(), SOON_S)
            assert server.streams == 1

    run(main, FakeVoices())


def test_of_two_that_come_back_at_once_one_goes_on() -> None:
    async def main(server: Server) -> None:
        async with dialled(server.url) as link:
            ready = await begin(link)
            lose(link)

        async def come_back() -> int:
            try:
                async with dialled(server.url) as link:
                    told = await begin(link, resume=ready.resume)
                    assert told.resumed
                    await asyncio.sleep(0.3)
                    await link.send(frame(0, 5 * HOP))
                    return len(await heard(link, 4 * HOP))
            except ConnectionClosed:
                return 0

        counts = await asyncio.gather(come_back(), come_back(), come_back())
        assert sum(count > 0 for count in counts) == 1
        await until(lambda: server.streams == 0)

    run(main, FakeVoices())


@pytest.mark.parametrize("secret", ["", "wrong", "A" * 22])
def test_a_wrong_secret_gets_a_new_stream(secret: str) -> None:
    async def main(server: Server) -> None:
        async with dialled(server.url) as one, dialled(server.url) as other:
            ready = await begin(one)
            told = await begin(other, resume=secret)
            assert (told.resumed, told.position) == (False, 0)
            assert told.session != ready.session
            assert server.streams == 2

    run(main, FakeVoices())


def test_who_stays_away_loses_the_place_and_who_says_goodbye_at_once() -> None:
    async def main(server: Server) -> None:
        async with dialled(server.url) as link:
            lost = await begin(link)
            lose(link)
        await asyncio.sleep(0.2)
        assert server.streams == 1
        await until(lambda: server.streams == 0)
        async with dialled(server.url) as link:
            left = await begin(link)
        await asyncio.sleep(0.05)
        for ready in (lost, left):
            async with dialled(server.url) as link:
                assert not (await begin(link, resume=ready.resume)).resumed

    run(main, FakeVoices(), limits=Limits(resume_s=0.5))


def test_who_is_away_keeps_nobody_out() -> None:
    async def main(server: Server) -> None:
        secrets: list[str] = []
        for _ in range(3):
            async with dialled(server.url) as link:
                secrets.append((await begin(link)).resume)
                lose(link)
            await asyncio.sleep(0.05)
        async with dialled(server.url) as link:
            assert not (await begin(link)).resumed
            assert server.streams == 1
            async with dialled(server.url) as other:
                await say(other, START.model_copy(update={"resume": secrets[-1]}))
                (answer,), _ = await rest(other)
                assert getattr(answer, "code", "") == "overloaded"

    run(main, FakeVoices(), max_streams=1)


def test_a_server_that_goes_waits_for_nobody() -> None:
    async def main(server: Server) -> None:
        async with dialled(server.url) as link:
            await begin(link)
            lose(link)
        await asyncio.sleep(0.1)
        await asyncio.wait_for(server.drain(), 5.0)
        assert server.streams == 0

    run(main, FakeVoices(), drain_s=60.0)


def test_a_stream_that_was_resumed_can_be_resumed_again() -> None:
    async def main(server: Server) -> None:
        changes: dict[str, Any] = {}
        sessions: set[str] = set()
        for k in range(5):
            async with dialled(server.url) as link:
                ready = await begin(link, **changes)
                assert ready.resumed is bool(changes)
                changes = {"resume": ready.resume}
                sessions.add(ready.session)
                await link.send(frame(k * 2 * HOP, 2 * HOP))
                await heard(link, k * 2 * HOP + HOP)
                lose(link)
        assert len(sessions) == 1

    run(main, FakeVoices())


def test_the_first_message_may_ask_for_nothing_but_what_is_its_own() -> None:
    """A secret opens a stream of the same form only."""

    async def main(server: Server) -> None:
        async with dialled(server.url) as link:
            ready = await begin(link)
            lose(link)
        async with dialled(server.url) as link:
            start = Start(voice="ada", sample_rate=16_000, resume=ready.resume)
            await say(link, start)
            told = server_message.validate_json(await link.recv())
            assert isinstance(told, Ready)
            assert (told.resumed, told.sample_rate) == (False, 16_000)

    run(main, FakeVoices())
