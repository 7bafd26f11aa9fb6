"""Streams over real sockets, with an independent WebSocket implementation as the client."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import numpy as np
import pytest
from calls import START, FakeConversion, FakeVoices
from dial import HOP, RATE, dialled, frame, rest, serving, speak, talking, whole
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from server.app import Server
from server.config import Limits
from server.door import RECEIVE_BUFFER, SEND_BUFFER, tune
from server.protocol import (
    PATH,
    SUBPROTOCOL,
    AudioFrame,
    Bypass,
    Failure,
    Ping,
    Pong,
    Ready,
    SetVoice,
    Start,
    Stats,
    Stop,
    Stopped,
    VoiceNow,
    server_message,
)


def test_a_stream_from_start_to_stop() -> None:
    async def main() -> None:
        async with serving() as server, talking(server.url) as link:
            assert link.subprotocol == SUBPROTOCOL
            assert link.response is not None
            assert "Sec-WebSocket-Extensions" not in link.response.headers
            for position in range(0, 1600, HOP):
                await link.send(frame(position))
            await link.send(Ping(t=7).model_dump_json())
            await link.send(SetVoice(voice="ben").model_dump_json())
            await link.send(Bypass(on=False).model_dump_json())
            await asyncio.sleep(0.1)
            await link.send(Stop().model_dump_json())
            messages, frames = await rest(link)
            assert Pong(t=7) in messages
            assert VoiceNow(voice="ben") in messages
            assert isinstance(messages[-2], Stats)
            assert messages[-1] == Stopped(samples_in=1600, samples_out=1600)
            assert link.close_code == 1000
            assert whole(frames, 0.2)

    asyncio.run(main())


Misdeed = Callable[[ClientConnection], Awaitable[object]]


def says(*messages: str | bytes) -> Misdeed:
    """Sends `messages`."""

    async def deed(link: ClientConnection) -> None:
        for message in messages:
            await link.send(message)

    return deed


NAN = AudioFrame(0, 0, np.array([np.nan], "<f4").tobytes()).pack()
FATAL: dict[str, tuple[Misdeed, str, int]] = {
    "audio first": (says(frame(0)), "bad_message", 1008),
    "stop first": (says(Stop().model_dump_json()), "bad_message", 1008),
    "no JSON first": (says("hello"), "bad_message", 1008),
    "unknown field": (says('{"type":"start","voice":"ada","x":1}'), "bad_message", 1008),
    "wrong rate": (says('{"type":"start","voice":"ada","sample_rate":1}'), "unsupported", 1008),
    "next version": (says('{"type":"start","voice":"ada","version":2}'), "unsupported", 1008),
    "unknown voice": (says('{"type":"start","voice":"eve"}'), "voice_not_found", 1008),
    "long text": (says(" " * 20_000), "bad_message", 1009),
    "long frame": (says(START.model_dump_json(), bytes(300_000)), "bad_message", 1009),
}
FORGIVEN: dict[str, tuple[Misdeed, str]] = {
    "odd bytes": (says(AudioFrame(0, 0, bytes(3)).pack()), "bad_message"),
    "no number": (says(NAN), "bad_message"),
    "huge sample": (says(frame(0, 1, 1e9)), "bad_message"),
    "other kind": (says(b"\7" + bytes(20)), "bad_message"),
    "empty frame": (says(b""), "bad_message"),
    "unknown message": (says('{"type":"sing"}'), "bad_message"),
    "bad control": (says('{"type":"controls","pitch":1000}'), "bad_message"),
    "unknown other voice": (says('{"type":"voice","voice":"eve"}'), "voice_not_found"),
    "second start": (says(START.model_dump_json()), "bad_message"),
}


@pytest.mark.parametrize("name", FATAL)
def test_a_fatal_error_is_told_and_then_the_socket_closes(name: str) -> None:
    deed, code, close = FATAL[name]

    async def main() -> None:
        async with serving() as server, dialled(server.url) as link:
            await deed(link)
            messages, _ = await rest(link)
            errors = [m for m in messages if isinstance(m, Failure)]
            assert [(e.code, e.fatal) for e in errors] == [(code, True)]
            assert link.close_code == close

    asyncio.run(main())


def test_forgivable_errors_are_told_and_the_stream_goes_on() -> None:
    async def main() -> None:
        async with serving() as server:
            for name, (deed, code) in FORGIVEN.items():
                async with talking(server.url) as link:
                    await deed(link)
                    await link.send(frame(HOP))
                    await asyncio.sleep(0.05)
                    await link.send(Stop().model_dump_json())
                    messages, _ = await rest(link)
                    errors = [m for m in messages if isinstance(m, Failure)]
                    assert [(e.code, e.fatal) for e in errors] == [(code, False)], name
                    assert isinstance(messages[-1], Stopped), name

    asyncio.run(main())


def test_a_message_beyond_all_measure_closes_with_1009() -> None:
    async def main() -> None:
        async with serving() as server, talking(server.url) as link:
            with suppress(ConnectionClosed):
                await link.send(bytes(8 << 20))
            messages, _ = await rest(link)
            assert messages == []  # it was never read as a whole
            assert link.close_code in {1009, 1006}  # 1006: reset with bytes still on the way

    asyncio.run(main())


def test_a_failing_inference_is_internal_and_others_live_on() -> None:
    made: list[FakeConversion] = []

    def make() -> FakeConversion:
        made.append(FakeConversion(raising=set() if made else set(range(1000))))
        return made[-1]

    async def main() -> None:
        voices = FakeVoices(make)
        async with (
            serving(voices) as server,
            talking(server.url) as ill,
            talking(server.url) as well,
        ):
            listener = asyncio.create_task(rest(ill))
            talk = asyncio.create_task(speak(well, 0.5))
            for position in range(0, 5 * HOP, HOP):
                await ill.send(frame(position))
            messages, frames = await listener
            last = messages[-1]
            assert isinstance(last, Failure)
            assert (last.code, last.fatal, ill.close_code) == ("internal", True, 1011)
            assert not np.frombuffer(b"".join(bytes(f.pcm) for f in frames), "<f4").any()
            assert whole(await talk, 0.5)

    asyncio.run(main())


def test_faster_than_real_time_is_slowed_and_loses_nothing() -> None:
    async def main() -> None:
        voices = FakeVoices(lambda: FakeConversion(seconds=0.008))
        async with serving(voices) as server, talking(server.url) as link:
            listener = asyncio.create_task(rest(link))
            for position in range(0, 10 * RATE, HOP):
                await link.send(frame(position))
            await link.send(Stop().model_dump_json())
            messages, frames = await listener
            total = 10 * RATE
            assert messages[-1] == Stopped(samples_in=total, samples_out=total)
            assert whole(frames, 10)

    asyncio.run(main())


def test_a_client_that_reads_nothing_is_too_slow_and_goes() -> None:
    async def main() -> None:
        async with serving(limits=Limits(blocked_s=0.3)) as server:
            writer = await _raw(server)
            await _send_raw(writer, START.model_dump_json().encode(), text=True)
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(_talk_on(writer), 30)
            writer.transport.abort()
            assert server.streams == 0

    asyncio.run(main())


async def _talk_on(writer: asyncio.StreamWriter) -> None:
    for position in range(0, 4000 * RATE, RATE):
        await _send_raw(writer, frame(position, RATE))


async def _raw(server: Server) -> asyncio.StreamWriter:
    """A connection whose answers nobody reads."""
    host, port = server.url.removeprefix("http://").split(":")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect((host, int(port)))
    reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
    writer.write(
        f"GET {PATH} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    return writer


async def _send_raw(writer: asyncio.StreamWriter, data: bytes, *, text: bool = False) -> None:
    """One masked WebSocket frame, with a mask of zeros."""
    size = len(data)
    head = bytes([0x81 if text else 0x82])
    head += bytes([0x80 | 127]) + size.to_bytes(8, "big") + bytes(4)
    writer.write(head + data)
    await writer.drain()


def test_streams_past_the_most_are_refused_and_may_come_later() -> None:
    async def main() -> None:
        async with serving(max_streams=2) as server:
            async with talking(server.url), talking(server.url), dialled(server.url) as third:
                await third.send(START.model_dump_json())
                (error,), _ = await rest(third)
                assert isinstance(error, Failure)
                assert (error.code, error.fatal, third.close_code) == ("overloaded", True, 1013)
            await asyncio.sleep(0.1)
            async with talking(server.url):
                assert server.streams == 1

    asyncio.run(main())


def test_connections_that_say_nothing_are_bounded_and_end() -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            limits = Limits(start_s=0.5)
            server = await stack.enter_async_context(serving(max_streams=1, limits=limits))
            links = [await stack.enter_async_context(dialled(server.url)) for _ in range(4)]
            with pytest.raises(InvalidStatus, match="503"):
                await stack.enter_async_context(dialled(server.url))
            for link in links:
                (error,), _ = await rest(link)
                assert isinstance(error, Failure)
                assert error.code == "idle"

    asyncio.run(main())


def test_a_stream_in_a_slow_opening_does_not_hold_up_others() -> None:
    class Slow(FakeVoices):
        def load(self, voice: str, device: str = "cpu") -> str:
            time.sleep(1.0 if voice == "slow" else 0.0)
            return super().load(voice, device)

    async def main() -> None:
        async with (
            serving(Slow()) as server,
            talking(server.url) as one,
            dialled(server.url) as other,
        ):
            await other.send(Start(voice="slow", sample_rate=RATE).model_dump_json())
            delays: list[float] = []
            assert whole(await speak(one, 0.4, delays), 0.4)
            assert max(delays) < 0.4, "the opening held up a stream"
            assert isinstance(server_message.validate_json(await other.recv()), Ready)

    asyncio.run(main())


def test_a_server_that_stops_lets_streams_end() -> None:
    async def main() -> None:
        async with serving() as server, talking(server.url) as link, dialled(server.url) as mute:
            await link.send(frame(0, 1000))
            await asyncio.sleep(0.1)
            stop = asyncio.create_task(server.stop())
            messages, frames = await rest(link)
            assert messages[-1] == Stopped(samples_in=1000, samples_out=1000)
            assert sum(f.samples("f32le") for f in frames) == 1000
            assert link.close_code == 1001
            await rest(mute)
            assert mute.close_code == 1001
            await stop
            with pytest.raises(OSError, match="onnect"):
                async with dialled(server.url):
                    pass

    asyncio.run(main())


def test_small_frames_are_sent_at_once_and_few_wait_in_the_kernel() -> None:
    with socket.socket() as sock:

        class Connected(asyncio.Transport):
            def get_extra_info(self, name: str, default: object = None) -> object:
                return sock if name == "socket" else default

        tune(Connected())
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 4 * SEND_BUFFER
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) <= 4 * RECEIVE_BUFFER
