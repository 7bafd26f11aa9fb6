import asyncio
import socket

import pytest
from tiny_server import begin, mirror, refuse, running, say
from websockets.sync.server import ServerConnection

from clients.link import VoiceLink
from clients.reconnect import Backoff, stay_linked
from server.protocol import AudioFrame, Failure, Start, Stopped
from stream.errors import LinkError

START = Start(voice="starter", sample_rate=16_000, encoding="f32le")
FAST = Backoff(first=0.01, most=0.02)


async def say_a_little(link: VoiceLink) -> int:
    await link.send(bytes(4 * 320))
    await link.stop()
    frames = [event async for event in link.events() if isinstance(event, AudioFrame)]
    return sum(frame.samples("f32le") for frame in frames)


def test_a_talk_begins_anew_after_every_break() -> None:
    visits: list[Start] = []
    told: list[tuple[str, float]] = []

    def handle(peer: ServerConnection) -> None:
        if len(visits) < 2:
            visits.append(begin(peer))
            peer.socket.shutdown(socket.SHUT_RDWR)
        else:
            mirror()(peer)

    def start() -> Start:
        return START.model_copy(update={"voice": f"voice{len(visits)}"})

    def away(error: LinkError, seconds: float) -> None:
        told.append((str(error), seconds))

    with running(handle) as url:
        talk = stay_linked(url, start, say_a_little, away=away, backoff=FAST, chance=lambda: 0.0)
        assert asyncio.run(talk) == 320
    assert [visit.voice for visit in visits] == ["voice0", "voice1"]
    assert [seconds for _, seconds in told] == [0.01, 0.02]
    assert "was lost" in told[0][0]


def test_a_stream_is_resumed_where_its_connection_broke_and_not_where_it_ended() -> None:
    asked: list[str | None] = []
    places: list[tuple[bool, int]] = []

    def handle(peer: ServerConnection) -> None:
        turn = len(asked)
        asked.append(begin(peer, resume=f"secret{turn}", resumed=turn == 1, position=800).resume)
        if turn == 1:
            say(peer, Failure(code="internal", message="On fire.", fatal=True))
        elif turn == 2:
            say(peer, Stopped(samples_in=0, samples_out=0))
        else:
            peer.socket.shutdown(socket.SHUT_RDWR)

    async def listen(link: VoiceLink) -> int:
        places.append((link.ready.resumed, link.position))
        return len([event async for event in link.events()])

    with running(handle) as url:
        assert asyncio.run(stay_linked(url, lambda: START, listen, backoff=FAST)) == 1
    assert asked == [None, "secret0", None]
    assert places == [(False, 800), (True, 800), (False, 800)]


def test_who_comes_back_names_the_replica_that_has_the_stream() -> None:
    asked: list[str] = []

    def handle(peer: ServerConnection) -> None:
        assert peer.request is not None
        asked.append(peer.request.path)
        begin(peer, resume=f"b-2.secret{len(asked)}", resumed=len(asked) == 2)
        if len(asked) == 2:
            say(peer, Stopped(samples_in=0, samples_out=0))
        else:
            peer.socket.shutdown(socket.SHUT_RDWR)

    async def listen(link: VoiceLink) -> int:
        return len([event async for event in link.events()])

    with running(handle) as url:
        assert asyncio.run(stay_linked(url, lambda: START, listen, backoff=FAST)) == 1
    assert asked == ["/v1/stream", "/v1/stream?replica=b-2"]


def test_a_server_that_went_away_is_waited_for() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    tries: list[str] = []

    def once(peer: ServerConnection) -> None:
        begin(peer)
        peer.socket.shutdown(socket.SHUT_RDWR)

    async def main() -> None:
        def away(error: LinkError, _seconds: float) -> None:
            tries.append(str(error))

        with running(once, port=port) as url:
            waiting = asyncio.create_task(
                stay_linked(url, lambda: START, say_a_little, away=away, backoff=FAST)
            )
            while not tries:
                await asyncio.sleep(0.01)
        while not any("No server answers" in text for text in tries):
            await asyncio.sleep(0.01)
        with running(mirror(), port=port):
            assert await asyncio.wait_for(waiting, 30) == 320

    asyncio.run(main())


def test_a_server_that_never_was_there_is_an_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(LinkError, match="timbral serve"):
            asyncio.run(stay_linked(url, lambda: START, say_a_little))


def test_a_refusal_that_stays_is_not_tried_again() -> None:
    visits = 0

    def handle(peer: ServerConnection) -> None:
        nonlocal visits
        visits += 1
        refuse(peer)

    with running(handle) as url, pytest.raises(LinkError, match="No voice"):
        asyncio.run(stay_linked(url, lambda: START, say_a_little, backoff=FAST))
    assert visits == 1


def test_a_full_server_is_asked_again_after_as_long_as_it_said_from_the_first_time_on() -> None:
    told: list[float] = []
    visits = 0

    def handle(peer: ServerConnection) -> None:
        nonlocal visits
        visits += 1
        if visits < 3:
            peer.recv()
            say(peer, Failure(code="overloaded", message="Full.", fatal=True, retry_s=0.3))
        else:
            mirror()(peer)

    def away(error: LinkError, seconds: float) -> None:
        told.append(seconds)
        assert (str(error), error.code, error.retry_s) == ("Full.", "overloaded", 0.3)

    with running(handle) as url:
        luck = iter([0.0, 1.0]).__next__
        talk = stay_linked(url, lambda: START, say_a_little, away=away, backoff=FAST, chance=luck)
        assert asyncio.run(talk) == 320
    assert told == pytest.approx([0.3, 0.36])


def test_a_busy_server_is_tried_again() -> None:
    visits = 0

    def handle(peer: ServerConnection) -> None:
        nonlocal visits
        visits += 1
        if visits == 2:
            peer.recv()
            say(peer, Failure(code="overloaded", message="Busy.", fatal=True))
        elif visits == 1:
            begin(peer)
            say(peer, Failure(code="internal", message="On fire.", fatal=True))
        else:
            mirror()(peer)

    with running(handle) as url:
        assert asyncio.run(stay_linked(url, lambda: START, say_a_little, backoff=FAST)) == 320
    assert visits == 3


def test_an_error_of_the_talk_itself_is_raised() -> None:
    async def stumble(_link: VoiceLink) -> None:
        raise RuntimeError("stumbled")

    with running(mirror()) as url, pytest.raises(RuntimeError, match="stumbled"):
        asyncio.run(stay_linked(url, lambda: START, stumble))


def test_the_wait_doubles_up_to_a_limit_and_is_spread() -> None:
    pace = Backoff(first=1.0, most=5.0, spread=0.5)
    assert [pace.wait(failures, 0.0) for failures in (1, 2, 3, 4, 1000)] == [1, 2, 4, 5, 5]
    assert [pace.wait(2, chance) for chance in (0.0, 0.5, 1.0)] == [2.0, 1.5, 1.0]
