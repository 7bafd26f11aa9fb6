"""The wire format. Golden frames: the C plugin's tests read the same files."""

import json
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from server import protocol
from server.protocol import (
    AudioFrame,
    BadFrame,
    Bypass,
    ClientMessage,
    ControlsNow,
    ControlValues,
    Encoding,
    Failure,
    Flag,
    Percentiles,
    Ping,
    Pong,
    Ready,
    ServerMessage,
    SetControls,
    SetVoice,
    Start,
    Stats,
    Stop,
    Stopped,
    VoiceNow,
    client_message,
    server_message,
)
from stream.audio import RATES
from stream.controls import F0_BLENDS, F0_METHODS, LIMITS, SCALES, Controls
from stream.profiles import CHOICES

ROOT = Path(__file__).parents[2]
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)

CLIENT_SAYS: list[ClientMessage] = [
    Start(voice="ada", controls=ControlValues(pitch=-3), token="secret"),
    SetControls(gate_db=-40, f0_methods=("crepe-tiny",)),
    SetVoice(voice="ben"),
    Bypass(on=True),
    Ping(t=1.5),
    Stop(),
]
SERVER_SAYS: list[ServerMessage] = [
    Ready(
        session="x",
        voice="ada",
        sample_rate=44_100,
        encoding="f32le",
        hop_samples=882,
        latency_samples=2646,
        provider="CPUExecutionProvider",
        profile="low",
        why="",
    ),
    ControlsNow(**vars(Controls())),
    VoiceNow(voice="ben"),
    Stats(
        profile="low",
        compute_ms=Percentiles(p50=1, p95=2, p99=3),
        queue_ms=0.5,
        deadline_misses=0,
        underruns=0,
        latency_samples=2646,
        rtf=0.2,
    ),
    Pong(t=1.5),
    Failure(code="overloaded", message="All 4 streams are in use.", fatal=True, retry_s=5),
    Stopped(samples_in=10, samples_out=10),
]


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=200),
    st.integers(0, 7).map(Flag),
)
def test_a_frame_survives_the_wire(seq: int, position: int, pcm: bytes, flags: Flag) -> None:
    frame = AudioFrame(seq, position, pcm, flags)
    assert AudioFrame.unpack(frame.pack()) == frame


@given(st.binary(max_size=64) | st.binary(max_size=32).map(lambda b: b"\1\0\0\0" + b))
def test_any_bytes_are_a_frame_or_a_bad_frame(data: bytes) -> None:
    with suppress(BadFrame):
        frame = AudioFrame.unpack(data)
        assert frame.pack() == data
        for encoding in ENCODINGS:
            with suppress(BadFrame):
                assert frame.samples(encoding) * protocol.SAMPLE_BYTES[encoding] == len(frame.pcm)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("extra", [1, 2, 3])
def test_half_a_sample_is_refused(encoding: Encoding, extra: int) -> None:
    if extra % protocol.SAMPLE_BYTES[encoding]:
        with pytest.raises(BadFrame, match="no whole number"):
            AudioFrame(0, 0, bytes(8 + extra)).samples(encoding)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (struct.pack("<BBHIQ", 2, 0, 0, 0, 0), "kind 2"),
        (struct.pack("<BBHIQ", 1, 0, 7, 0, 0), "must be 0"),
        (struct.pack("<BBHIQ", 1, 8, 0, 0, 0), "must be 0"),
        (b"\1\0\0", "shorter"),
        (b"", "shorter"),
    ],
)
def test_headers_of_other_protocols_are_refused(header: bytes, said: str) -> None:
    with pytest.raises(BadFrame, match=said):
        AudioFrame.unpack(header)


def test_positions_past_the_end_of_time_are_refused() -> None:
    last = AudioFrame(0, protocol.MAX_POSITION - 2, bytes(4))
    assert last.samples("s16le") == 2
    with pytest.raises(BadFrame, match="too far"):
        last._replace(position=last.position + 1).samples("s16le")


@pytest.mark.parametrize("message", CLIENT_SAYS, ids=lambda m: m.type)
def test_what_clients_say_survives_the_wire(message: ClientMessage) -> None:
    assert client_message.validate_json(message.model_dump_json()) == message
    assert client_message.validate_json(message.model_dump_json(exclude_none=True)) == message


@pytest.mark.parametrize("message", SERVER_SAYS, ids=lambda m: m.type)
def test_what_the_server_says_survives_the_wire(message: ServerMessage) -> None:
    assert server_message.validate_json(message.model_dump_json()) == message


def test_every_message_is_among_the_examples() -> None:
    assert {type(m) for m in CLIENT_SAYS} == set(get_args(ClientMessage))
    assert {type(m) for m in SERVER_SAYS} == set(get_args(ServerMessage))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        '"start"',
        '{"type": "nope"}',
        '{"voice": "a"}',
        '{"type": "start"}',
        '{"type": "start", "voice": ""}',
        '{"type": "start", "voice": "a", "extra": 1}',
        '{"type": "start", "voice": "a", "controls": {"pitch": 25}}',
        '{"type": "start", "voice": "a", "controls": {"volume": 2}}',
        '{"type": "start", "voice": "a", "sample_rate": "48000"}',
        '{"type": "start", "voice": "a", "sample_rate": 11025}',
        '{"type": "start", "voice": "a", "version": 2}',
        '{"type": "start", "voice": "a", "encoding": "mp3"}',
        '{"type": "controls", "pitch": NaN}',
        '{"type": "controls", "pitch": "3"}',
        '{"type": "bypass", "on": 1}',
        '{"type": "ping", "t": Infinity}',
        '{"type": "ping"}',
        "[" * 10_000,
    ],
)
def test_bad_messages_are_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        client_message.validate_json(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_subnormal=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.text() | st.binary().map(lambda b: b.decode("utf-8", "surrogateescape")))
def test_any_text_is_a_message_or_a_validation_error(text: str) -> None:
    with suppress(ValidationError):
        client_message.validate_json(text)


@given(
    st.fixed_dictionaries(
        {"type": st.sampled_from([m.type for m in CLIENT_SAYS])},
        optional={
            name: JSON
            for message in get_args(ClientMessage)
            for name in message.model_fields
            if name != "type"
        },
    )
)
def test_any_fields_are_a_message_or_a_validation_error(fields: dict[str, Any]) -> None:
    with suppress(ValidationError):
        message = client_message.validate_json(json.dumps(fields))
        assert client_message.validate_json(message.model_dump_json()) == message


def test_controls_are_those_of_the_engine() -> None:
    patch, now = ControlValues.model_fields, ControlsNow.model_fields
    assert tuple(patch) == Controls.names()
    assert tuple(now)[1:] == Controls.names()
    for name, field in patch.items():
        limits = {type(m).__name__: m for m in field.metadata}
        if name in LIMITS:
            low, high = LIMITS[name]
            assert (limits["Ge"].ge, limits["Le"].le) == (low, high)


def test_choices_are_those_of_the_engine() -> None:
    assert get_args(protocol.Rate) == RATES
    assert get_args(protocol.ProfileName) == CHOICES
    assert get_args(protocol.F0Method) == F0_METHODS
    assert get_args(protocol.F0Blend) == F0_BLENDS
    assert get_args(protocol.Scale) == SCALES


def test_importing_the_protocol_loads_nothing_heavy() -> None:
    heavy = "{'numpy', 'onnxruntime', 'stream', 'aiohttp', 'asyncio'}"
    code = f"import server.protocol, sys; print(*{heavy} & set(sys.modules))"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == ""
