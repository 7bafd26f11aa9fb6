"""What breaks around a server's streams, and what they notice of it: clients and their lines."""

import asyncio
import signal
import socket
import sys
from contextlib import AsyncExitStack, ExitStack, suppress

import pytest
from crowds import (
    LATE_S,
    RATE,
    Served,
    Talker,
    Wire,
    all_talk,
    burning,
    chatting,
    served,
    talker,
    talking,
)
from dial import dialled, rest
from websockets.exceptions import ConnectionClosed

from server.protocol import Failure, Start, Stats

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc"),
]

PATIENT = {"max_late_s": 2.0}  # a machine that runs tests may itself stall for a moment
USUAL_S = 0.6  # a delay that is an everyday one, of tests on a shared machine


async def two(stack: AsyncExitStack, server: Served) -> list[Talker]:
    """Two streams, in two voices, which should notice nothing."""
    return [await stack.enter_async_context(talker(server.url, v)) for v in ("ada", "ben")]


def test_clients_that_are_killed_leave_nothing_and_take_nothing_from_others() -> None:
    async def main(server: Served) -> None:
        files = server.files
        async with AsyncExitStack() as stack:
            talkers = await two(stack, server)
            with ExitStack() as others:
                killed = [others.enter_context(chatting(server.url)) for _ in range(2)]
                talk = asyncio.create_task(all_talk(talkers, 1.5))
                assert await server.streams() == 4
                for process in killed:
                    process.send_signal(signal.SIGKILL)
                await talk
            for each in talkers:
                each.check_whole()
            await server.until_empty(files)

    with served(limits={**PATIENT, "resume_s": 0.5}) as server:
        asyncio.run(main(server))


def test_half_open_connections_end_by_themselves_or_are_taken_over() -> None:
    async def main(server: Served) -> None:
        files = server.files
        async with AsyncExitStack() as stack:
            talkers = await two(stack, server)
            wire = await stack.enter_async_context(Wire(server.url).open())
            lost = await stack.enter_async_context(talker(wire.url))
            dead = await stack.enter_async_context(talker(wire.url))
            talk = asyncio.create_task(all_talk(talkers, 3.0))
            await asyncio.gather(lost.talk(0.5), dead.talk(0.5))
            wire.cut()
            await asyncio.gather(lost.talk(0.5), dead.talk(0.5))  # to nobody
            secret = lost.ready.resume
            back = await stack.enter_async_context(talker(server.url, resume=secret))
            assert (back.ready.resumed, back.ready.session) == (True, lost.ready.session)
            assert lost.heard <= back.ready.position <= lost.position
            await back.talk(0.5)
            await back.stop()
            back.check()
            await talk
            for each in talkers:
                each.check_whole()
            await server.until_empty(files)  # though nobody told it that `dead` is
            assert (await server.figures())['timbral_streams_ended_total{code="1008"}'] == 1

    with served(limits={**PATIENT, "idle_s": 1.5}) as server:
        asyncio.run(main(server))


def test_clients_that_stall_are_on_time_again_whether_they_skip_or_catch_up() -> None:
    """Half a second, two and five: they neither read nor write."""

    async def stalls(each: Talker, seconds: float, *, live: bool) -> None:
        each.live = live
        await each.talk(0.5)
        await each.freeze(seconds)
        await each.talk(3.0)
        await each.stop()
        each.check()
        assert max(d for p, d in each.said() if p > 0.5 + seconds + 2.0) < USUAL_S, (
            "it stays behind"
        )
        # what was said at once comes back at once; what nobody read in time may be lost
        assert each.concealed <= seconds + 1.0
        assert bool(each.skipped) == (live and seconds > LATE_S)

    async def main(server: Served) -> None:
        async with AsyncExitStack() as stack:
            talkers = await two(stack, server)
            await asyncio.gather(
                all_talk(talkers, 8.5),
                *[
                    stalls(await stack.enter_async_context(talker(server.url)), seconds, live=live)
                    for seconds, live in ((0.5, True), (2.0, True), (5.0, False), (5.0, True))
                ],
            )
            for each in talkers:
                each.check_whole()
            assert (await server.figures())["timbral_queue_seconds"] == 0.0

    with served(limits=PATIENT) as server:
        asyncio.run(main(server))


def test_slow_readers_are_let_go_and_hold_little() -> None:
    """They say half a minute as fast as it is taken, and read nothing."""

    async def reads_nothing(each: Talker) -> None:
        each.may_read.clear()
        with suppress(ConnectionClosed):
            while True:
                await asyncio.wait_for(each.say(RATE // 2), 20.0)

    async def main(server: Served) -> None:
        files, memory = server.files, server.memory
        async with AsyncExitStack() as stack:
            talkers = await two(stack, server)
            slow: list[Talker] = []
            for _ in range(3):
                sock = socket.socket()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                host, port = server.url.removeprefix("http://").split(":")
                sock.connect((host, int(port)))
                slow.append(
                    await stack.enter_async_context(talker(server.url, connection={"sock": sock}))
                )
            talk = asyncio.create_task(all_talk(talkers, 4.0))
            await asyncio.gather(*map(reads_nothing, slow))
            assert server.memory < memory + 20e6
            await talk
            for each in talkers:
                each.check_whole()
            await server.until_empty(files)

    with served(limits={**PATIENT, "blocked_s": 1.0, "resume_s": 0.5}) as server:
        asyncio.run(main(server))


def test_a_server_that_stalls_is_on_time_again_and_tells_what_it_lost() -> None:
    async def main(server: Served) -> None:
        async with AsyncExitStack() as stack:
            talkers = await two(stack, server)
            talk = asyncio.create_task(all_talk(talkers, 10.5))
            ends: list[float] = []
            await asyncio.sleep(0.5)
            for each in talkers:
                each.live = True
            for stall in (0.5, 5.0):
                server.process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(stall)
                server.process.send_signal(signal.SIGCONT)
                ends.append(talkers[0].now)
                await asyncio.sleep(2.5)
            await talk
            for each in talkers:
                each.check()
                assert each.close_code == 1000
                assert each.heard + each.skipped == each.position, "not every sample was answered"
                for end in (end - each.begun for end in ends):
                    later = [d for p, d in each.said() if end + 1.0 < p < end + 1.5]
                    assert max(later) < USUAL_S, "it stays behind"
                assert each.concealed < 1.5, "more was lost than was inside"

    with served() as server:
        asyncio.run(main(server))


def test_twice_the_streams_that_fit_are_refused_and_those_that_fit_lose_nothing() -> None:
    """Each takes a fifth of the one worker; four fifths may be promised."""

    async def main(server: Served) -> None:
        async with AsyncExitStack() as stack:
            taken = [await stack.enter_async_context(talker(server.url)) for _ in range(4)]
            talk = asyncio.create_task(all_talk(taken, 3.0))
            for k in range(5):
                async with dialled(server.url) as link:
                    await link.send(Start(voice="ben", sample_rate=RATE).model_dump_json())
                    (told,), _ = await rest(link)
                    assert isinstance(told, Failure)
                    assert (told.code, link.close_code) == ("overloaded", 1013), k
                await asyncio.sleep(0.3)
            await talk
            for each in taken:
                each.check_whole()
            found = await server.figures()
            assert found['timbral_streams_refused_total{reason="overloaded"}'] == 5
            await asyncio.sleep(2.1)  # while which it counts as busy
            await stack.enter_async_context(talker(server.url))

    with served(sleep=0.004, limits=PATIENT) as server:
        asyncio.run(main(server))


def test_under_pressure_from_outside_quality_is_given_up_and_comes_back() -> None:
    """Programs that take the processors away: hops get longer, nothing ends, and all is undone."""
    level = 'timbral_degradation_level{device="cpu"}'

    async def main(server: Served) -> None:
        async with AsyncExitStack() as stack:
            talkers = await two(stack, server)
            async with talking(*talkers):
                await asyncio.sleep(0.5)
                with burning():
                    while (await server.figures()).get(level, 0.0) < 3.0:
                        await asyncio.sleep(0.1)
                while (await server.figures())[level] > 0.0:
                    await asyncio.sleep(0.1)
                await asyncio.sleep(1.2)
            for each in talkers:
                each.check()
                assert each.close_code == 1000
                told = [m.eased for m in each.messages if isinstance(m, Stats)]
                assert "longer hops" in told
                assert told[-1] == ""
                assert max(delay for _, delay in each.said()[-10:]) < USUAL_S

    with served(burn=0.0025, easing=True, ladder_s=(0.5, 1.0)) as server:
        asyncio.run(asyncio.wait_for(main(server), 60.0))
