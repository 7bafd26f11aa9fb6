import textwrap
import threading

import pytest
from tiny_server import begin, mirror, refuse, running, say
from websockets.sync.server import ServerConnection

import clients.sync
from clients.sync import open_link
from server.protocol import (
    AudioFrame,
    Bypass,
    ControlsNow,
    Pong,
    SetControls,
    SetVoice,
    Start,
    Stop,
    Stopped,
    VoiceNow,
    client_message,
)
from stream.controls import Controls
from stream.errors import LinkError

START = Start(voice="starter", sample_rate=16_000, encoding="f32le")


def test_the_example_in_the_documentation_runs_in_ten_lines() -> None:
    assert clients.sync.__doc__
    code = textwrap.dedent(clients.sync.__doc__.split("\n\n", 1)[1])
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    names: dict[str, object] = {}
    with running(mirror()) as url:
        exec(compile(code.replace("ws://127.0.0.1:8765", url), "sync.py", "exec"), names)
    spoken = names["spoken"]
    assert isinstance(spoken, bytes)
    assert len(spoken) == 2 * 16_000


def test_a_whole_conversation_without_asyncio() -> None:
    with running(mirror()) as url, open_link(url, START) as link:
        assert link.ready.sample_rate == 16_000
        before = link.loop_time
        for _ in range(10):
            link.send(bytes(4 * 320))
        assert link.position == 3200
        link.ping()
        link.stop()
        events = list(link.events())
    frames = [event for event in events if isinstance(event, AudioFrame)]
    assert sum(frame.samples("f32le") for frame in frames) == 3200
    assert [event.t >= before for event in events if isinstance(event, Pong)] == [True]
    assert events[-1] == Stopped(samples_in=3200, samples_out=3200)


def test_every_message_can_be_said() -> None:
    got: list[object] = []

    def handler(socket: ServerConnection) -> None:
        begin(socket)
        got.extend(client_message.validate_json(socket.recv()) for _ in range(4))
        say(socket, ControlsNow(**vars(Controls(pitch=3.0))))
        say(socket, VoiceNow(voice="other"))
        say(socket, Stopped(samples_in=0, samples_out=0))

    with running(handler) as url, open_link(url, START) as link:
        link.set_controls(SetControls(pitch=3.0))
        link.change_voice("other")
        link.bypass(True)
        link.tell(Stop())
        events = list(link.events())
    assert got == [SetControls(pitch=3.0), SetVoice(voice="other"), Bypass(on=True), Stop()]
    assert [type(event) for event in events] == [ControlsNow, VoiceNow, Stopped]


def links() -> list[str]:
    """The threads of links that are open; a server has others."""
    return [thread.name for thread in threading.enumerate() if thread.name == "timbral-link"]


def test_a_refusal_is_raised_and_no_thread_is_left() -> None:
    with running(refuse) as url, pytest.raises(LinkError, match="No voice"), open_link(url, START):
        pass
    assert links() == []


def test_an_error_of_the_program_closes_the_link() -> None:
    def fail() -> None:
        assert links() == ["timbral-link"]
        raise RuntimeError

    with running(mirror()) as url:
        with pytest.raises(RuntimeError), open_link(url, START):
            fail()
        assert links() == []
