"""What comes over the socket: binary frames, and text messages both ways."""

import random
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import numpy as np
from fuzz.engine import Broken, Play, one_by_one
from fuzz.mutate import WORDS, damaged, nearly, plausible, spoiled
from golden.make_frames import FRAMES
from pydantic import TypeAdapter, ValidationError

from server.failures import failure
from server.pcm import LOUDEST, decode, encode, sound
from server.protocol import (
    HEADER,
    KIND_AUDIO,
    AudioFrame,
    BadFrame,
    Encoding,
    server_message,
)

ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)
MOST_S = 2.0  # for one case, on a busy machine


@contextmanager
def frames(_folder: Path) -> Generator[Play]:
    """Binary frames: golden ones that were damaged, and headers that nobody would write."""
    golden = [frame.pack() for frame in FRAMES.values()]

    def made(draw: random.Random) -> bytes:
        kind = draw.random()
        if kind < 0.6:
            return damaged(draw, draw.choice(golden), golden)
        body = draw.randbytes(draw.choice((0, 1, 2, 4, 7, 8, 64, 640)))
        if kind < 0.7:
            return body
        position = draw.choice(WORDS) - draw.choice((0, 1, 2))
        flags, reserved = draw.choice((0, 1, 2, 4, 7, 8, 255)), draw.choice((0, 0, 0, 1, 0xFFFF))
        seq = draw.choice(WORDS) & 0xFFFFFFFF
        return HEADER.pack(KIND_AUDIO, flags, reserved, seq, position & (2**64 - 1)) + body

    yield one_by_one(lambda draw: read_frame(made(draw)), MOST_S)


def read_frame(data: bytes) -> str:
    """As a server reads a frame. Law: what is accepted is what was sent, and can be heard."""
    try:
        frame = AudioFrame.unpack(data)
    except BadFrame as error:
        if failure(error, fatal=False).code != "bad_message":
            raise Broken("another code") from error
        return "refused"
    if frame.pack() != data:
        raise Broken("the frame that was read is not the one that was sent")
    became = "refused"
    for encoding in ENCODINGS:
        try:
            count = frame.samples(encoding)
        except BadFrame:
            continue
        became = _hear(frame, encoding, count)
    return became


def _hear(frame: AudioFrame, encoding: Encoding, count: int) -> str:
    with np.errstate(all="raise"):
        samples = decode(frame.pcm, encoding)
        fine = sound(samples)
        if samples.shape != (count,) or samples.dtype != np.float32:
            raise Broken(f"{samples.dtype} {samples.shape} where {count} samples are said")
        if fine != all(abs(float(x)) <= LOUDEST for x in samples):
            raise Broken("what is sound was told wrong")
        if fine:
            back = encode(samples, encoding, frame.seq, frame.position, frame.flags)
            if bytes(back[HEADER.size :]) != bytes(frame.pcm):
                raise Broken("samples do not survive")
    return "heard" if fine else "no sound"


def messages_of(kinds: Any) -> tuple[list[Any], dict[str, Any]]:
    """The JSON schemas of a union of messages, and the definitions that they name."""
    schemas = [kind.model_json_schema() for kind in get_args(kinds)]
    names = {name: inner for each in schemas for name, inner in each.get("$defs", {}).items()}
    return schemas, names


def message(draw: random.Random, schemas: list[Any], names: dict[str, Any]) -> str:
    """The text of a message: as it should be, nearly, or not at all."""
    text = nearly(draw, plausible(draw, draw.choice(schemas), names))
    return spoiled(draw, text) if draw.random() < 0.25 else text


def told_by(kinds: Any, adapter: TypeAdapter[Any]) -> Any:
    """A target that reads messages of a union by its adapter, as the other side does.

    Law: what is accepted says again what it said; what is not is `bad_message` or `unsupported`.
    """
    schemas, names = messages_of(kinds)

    def case(draw: random.Random) -> str:
        text = message(draw, schemas, names)
        try:
            read = adapter.validate_json(text)
        except ValidationError as error:
            told = failure(error, fatal=False)
            if told.code not in {"bad_message", "unsupported"} or len(told.message) > 500:
                raise Broken(f"{told}") from error
            server_message.validate_json(told.model_dump_json())
            return told.code
        again = adapter.validate_json(read.model_dump_json())
        if again != read:
            raise Broken(f"{read} became {again}")
        return "taken"

    @contextmanager
    def opened(_folder: Path) -> Generator[Play]:
        yield one_by_one(case, MOST_S)

    return opened
