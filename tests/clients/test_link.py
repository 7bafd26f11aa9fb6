import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from tiny_server import Handler, begin, mirror, refuse, running, say
from websockets.sync.server import ServerConnection

from clients.link import Event, VoiceLink, clock, open_link, stream_url
from server.protocol import (
    AudioFrame,
    Bypass,
    ControlsNow,
    Failure,
    Pong,
    SetControls,
    SetVoice,
    Start,
    Stats,
    Stopped,
    VoiceNow,
    client_message,
)
from stream.controls import Controls
from stream.errors import LinkError

ROOT = Path(__file__).parents[2]
START = Start(voice="starter", sample_rate=16_000, encoding="f32le")
Talk = Callable[[VoiceLink], Coroutine[Any, Any, list[Event]]]


def talk(url: str, what: Talk, start: Start = START) -> list[Event]:
    async def run() -> list[Event]:
        async with open_link(url, start) as link:
            return await what(link)

    return asyncio.run(run())


async def say_a_second(link: VoiceLink) -> list[Event]:
    for _ in range(50):
        await link.send(bytes(4 * 320))
    await link.ping()
    await link.stop()
    return await listen(link)


async def listen(link: VoiceLink) -> list[Event]:
    return [event async for event in link.events()]


def failure(handler: Handler, what: Talk = listen) -> LinkError:
    with running(handler) as url, pytest.raises(LinkError) as caught:
        talk(url, what)
    return caught.value


def test_a_whole_conversation() -> None:
    with running(mirror()) as url:
        events = talk(url, say_a_second)
    frames = [event for event in events if isinstance(event, AudioFrame)]
    assert sum(frame.samples("f32le") for frame in frames) == 16_000
    assert [frame.position for frame in frames][:2] == [0, 320]
    assert any(isinstance(event, Pong) for event in events)
    assert isinstance(events[-2], Stats)
    assert events[-1] == Stopped(samples_in=16_000, samples_out=16_000)


def test_every_message_reaches_the_server_as_the_protocol_says() -> None:
    got: list[object] = []

    def handler(socket: ServerConnection) -> None:
        begin(socket)
        got.extend(client_message.validate_json(socket.recv()) for _ in range(3))
        controls = ControlsNow(**vars(Controls(pitch=3.0, auto_pitch=False)))
        say(socket, controls)
        say(socket, VoiceNow(voice="other"))
        say(socket, Stopped(samples_in=0, samples_out=0))

    async def change(link: VoiceLink) -> list[Event]:
        await link.set_controls(SetControls(pitch=3.0))
        await link.change_voice("other")
        await link.bypass(True)
        return await listen(link)

    with running(handler) as url:
        events = talk(url, change)
    assert got == [SetControls(pitch=3.0), SetVoice(voice="other"), Bypass(on=True)]
    assert [type(event) for event in events] == [ControlsNow, VoiceNow, Stopped]


def test_a_position_ahead_leaves_a_gap_and_counting_goes_on_from_there() -> None:
    got: list[AudioFrame] = []

    def handler(socket: ServerConnection) -> None:
        begin(socket)
        for _ in range(3):
            data = socket.recv()
            assert isinstance(data, bytes)
            got.append(AudioFrame.unpack(data))
        say(socket, Stopped(samples_in=0, samples_out=0))

    async def skip(link: VoiceLink) -> list[Event]:
        await link.send(bytes(40))
        await link.send(bytes(40), position=1000)
        await link.send(bytes(40))
        assert link.position == 1020
        return await listen(link)

    with running(handler) as url:
        talk(url, skip)
    assert [(frame.seq, frame.position) for frame in got] == [(0, 0), (1, 1000), (2, 1010)]


def test_a_ping_comes_back_with_the_time_it_left() -> None:
    async def ping(link: VoiceLink) -> list[Event]:
        before = clock()
        await link.ping()
        pong = await anext(link.events())
        assert isinstance(pong, Pong)
        assert before <= pong.t <= clock()
        return [pong]

    with running(mirror()) as url:
        talk(url, ping)


def test_a_refusal_keeps_the_servers_words_and_code() -> None:
    error = failure(refuse)
    assert str(error) == "No voice 'starter'."
    assert error.code == "voice_not_found"


def test_what_is_not_fatal_is_an_event_and_the_talk_goes_on() -> None:
    def handler(socket: ServerConnection) -> None:
        begin(socket)
        say(socket, Failure(code="bad_message", message="odd", fatal=False))
        say(socket, Stopped(samples_in=0, samples_out=0))

    with running(handler) as url:
        events = talk(url, listen)
    assert [type(event) for event in events] == [Failure, Stopped]


@pytest.mark.parametrize(
    "sent", ["hello", '{"type": "new"}', '{"type": "stopped"}', b"", b"\x02" + bytes(20)]
)
def test_a_server_that_speaks_something_else_is_an_error(sent: str | bytes) -> None:
    def handler(socket: ServerConnection) -> None:
        begin(socket)
        socket.send(sent)

    assert failure(handler).code == "bad_message"


def test_a_server_that_hangs_up_is_an_error_with_its_reason() -> None:
    def handler(socket: ServerConnection) -> None:
        begin(socket)
        socket.close(1013, "going to bed")

    assert "going to bed (1013)" in str(failure(handler))


def test_a_server_that_vanishes_is_an_error() -> None:
    def handler(peer: ServerConnection) -> None:
        begin(peer)
        peer.socket.shutdown(socket.SHUT_RDWR)

    assert "connection to the server was lost" in str(failure(handler))


def test_no_server_says_how_to_start_one() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(LinkError, match="timbral serve"):
            talk(url, say_a_second)


def test_another_websocket_server_is_told_apart() -> None:
    with running(mirror(), subprotocol="chat") as url, pytest.raises(LinkError, match="no timbral"):
        talk(url, say_a_second)


@pytest.mark.parametrize(
    ("status", "code", "wait"),
    [
        (404, "", ""),
        (401, "unauthorized", ""),
        (502, "", ""),
        (503, "overloaded", ""),
        (503, "overloaded", "5"),
        (503, "overloaded", "Mon, 23 Nov 2026 12:00:00 GMT"),
    ],
)
def test_a_web_server_that_refuses_is_told_apart(status: int, code: str, wait: str) -> None:
    class Refusing(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": "0", "Retry-After": wait}.items():
                if value:
                    self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Refusing) as web:
        thread = Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            with pytest.raises(LinkError, match=f"HTTP {status}") as caught:
                talk(f"http://127.0.0.1:{web.server_port}", say_a_second)
        finally:
            web.shutdown()
            thread.join()
    assert caught.value.code == code
    assert caught.value.retry_s == (5.0 if wait == "5" else 0.0)


@pytest.mark.parametrize("text", ["", "ftp://x", "ws://", "http:///path"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(LinkError, match="no server address"):
        stream_url(text)


def test_an_address_with_a_path_keeps_it() -> None:
    assert stream_url("wss://a.example/b/c?d=e") == "wss://a.example/b/c?d=e"
    assert stream_url("http://[::1]:80/") == "ws://[::1]:80/v1/stream"


def test_the_link_needs_neither_numpy_nor_models() -> None:
    code = (
        "import clients.link, sys; print(*{'numpy', 'onnxruntime', 'aiohttp'} & set(sys.modules))"
    )
    run = [sys.executable, "-c", code]
    out = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == ""
