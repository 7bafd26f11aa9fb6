"""A server of the protocol in a few lines, on `websockets`, for tests of the clients.

It says every sample with the opposite sign, `LATENCY` samples late, and can be told to misbehave.
"""

import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from server.protocol import (
    SUBPROTOCOL,
    AudioFrame,
    Failure,
    Message,
    Percentiles,
    Ping,
    Pong,
    Ready,
    Start,
    Stats,
    Stop,
    Stopped,
    client_message,
)
from stream.audio import Audio

LATENCY = 640  # samples
Handler = Callable[[ServerConnection], None]
Out = Callable[[AudioFrame], list[AudioFrame]]


@contextmanager
def running(
    handler: Handler, subprotocol: str = SUBPROTOCOL, port: int = 0
) -> Generator[str, None, None]:
    """The address at which every connection is given to `handler`."""

    def quietly(socket: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            handler(socket)

    subprotocols = [Subprotocol(subprotocol)]
    with serve(quietly, "127.0.0.1", port, subprotocols=subprotocols, close_timeout=0.1) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()


def say(socket: ServerConnection, message: Message) -> None:
    socket.send(message.model_dump_json())


def begin(socket: ServerConnection, **resuming: Any) -> Start:
    """Take `start`, answer `ready`; `resuming` are its fields about that."""
    start = client_message.validate_json(socket.recv())
    assert isinstance(start, Start)
    ready = Ready(
        session="s",
        voice=start.voice,
        sample_rate=start.sample_rate,
        encoding=start.encoding,
        hop_samples=320,
        latency_samples=LATENCY,
        provider="NoExecutionProvider",
        profile="low",
        why="",
        **resuming,
    )
    say(socket, ready)
    return start


def stats() -> Stats:
    compute = Percentiles(p50=4.0, p95=5.0, p99=6.0)
    return Stats(
        profile="low",
        compute_ms=compute,
        queue_ms=0.5,
        deadline_misses=2,
        underruns=0,
        latency_samples=LATENCY,
        rtf=0.25,
    )


def mirror(out: Out = lambda frame: [frame]) -> Handler:
    """A whole conversation; `out` may alter, drop or double each frame that goes back."""

    def handle(socket: ServerConnection) -> None:
        dtype = {"f32le": "<f4", "s16le": "<i2"}[begin(socket).encoding]
        heard: Audio = np.zeros(0, np.float32)
        given = 0
        stopped = False
        while not stopped:
            data = socket.recv()
            if isinstance(data, bytes):
                frame = AudioFrame.unpack(data)
                assert frame.position == len(heard)
                heard = np.concatenate([heard, np.frombuffer(frame.pcm, dtype)])
            else:
                message = client_message.validate_json(data)
                stopped = isinstance(message, Stop)
                if isinstance(message, Ping):
                    say(socket, Pong(t=message.t))
            due = len(heard) if stopped else max(given, len(heard) - LATENCY)
            if due > given:
                pcm = (-heard[given:due]).astype(dtype).tobytes()
                for frame in out(AudioFrame(0, given, pcm)):
                    socket.send(frame.pack())
                given = due
        say(socket, stats())
        say(socket, Stopped(samples_in=len(heard), samples_out=given))

    return handle


def refuse(socket: ServerConnection) -> None:
    """Answer `start` as a server does that has no such voice."""
    name = json.loads(socket.recv())["voice"]
    say(socket, Failure(code="voice_not_found", message=f"No voice '{name}'.", fatal=True))
    socket.close(1008)
