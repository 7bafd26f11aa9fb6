"""Reads TensorFlow's checkpoints ("tensor bundles") without TensorFlow: an index and its data.

The index is a LevelDB table of protocol buffers (tensorflow/core/protobuf/tensor_bundle.proto;
LevelDB's doc/table_format.md). Nothing in either file is code.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.errors import BadCheckpoint

FOOTER, MAGIC = 48, 0xDB4775248B80FB57
TRAILER = 5  # bytes behind a block: how it is packed, and a checksum
LARGEST_INDEX = 64 << 20
FLOAT = 1  # the number of float32 among TensorFlow's types
DTYPE, SHAPE, SHARD, OFFSET, SIZE = 1, 2, 3, 4, 5  # fields of BundleEntryProto
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # how a field is written

Field = int | bytes


def read_bundle(index: Path, data: Path) -> dict[str, NDArray[np.float32]]:
    """The float32 tensors of a bundle of one data file, by name; others are left out.

    Raises `BadCheckpoint` when the files are damaged, no bundle, or parts of a larger one.
    """
    if index.stat().st_size > LARGEST_INDEX:
        raise BadCheckpoint(index, "it is too large for the index of a checkpoint.")
    room = data.stat().st_size
    tensors: dict[str, NDArray[np.float32]] = {}
    try:
        for name, entry in _entries(index.read_bytes()):
            if not name or entry.get(DTYPE) != FLOAT:
                continue
            shape = _shape(entry.get(SHAPE, b""))
            start, size = _number(entry.get(OFFSET, 0)), _number(entry.get(SIZE, 0))
            count = int(np.prod(shape, dtype=np.int64))
            if entry.get(SHARD, 0) or size != 4 * count or start + size > room:
                raise BadCheckpoint(index, f"{data.name} does not hold its tensor {name}.")
            flat = np.fromfile(data, "<f4", count, offset=start)
            tensors[name] = flat.reshape(shape).astype(np.float32, copy=False)
    except (IndexError, ValueError, TypeError, struct.error) as error:
        raise BadCheckpoint(index, f"it is no index of a checkpoint ({error}).") from error
    return tensors


def _entries(table: bytes) -> Iterator[tuple[str, dict[int, Field]]]:
    """Names and their entries, in the order of the table."""
    if len(table) < FOOTER or struct.unpack("<Q", table[-8:])[0] != MAGIC:
        raise ValueError("its last bytes are others")
    footer = table[-FOOTER:]
    at = 0
    for _ in range(2):  # the handle of a block that is not needed here
        _, at = _varint(footer, at)
    start, at = _varint(footer, at)
    size, at = _varint(footer, at)
    for _, handle in _block(table, start, size):
        start, at = _varint(handle, 0)
        size, at = _varint(handle, at)
        for key, value in _block(table, start, size):
            yield key.decode(), dict(_fields(value))


def _block(table: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block; a key tells only where it differs from the one before."""
    block = table[start : start + size]
    if len(block) != size or size < 4 or table[start + size] != 0:
        raise ValueError("a block is cut off or packed")
    (restarts,) = struct.unpack("<I", block[-4:])
    end = size - 4 * (restarts + 1)
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        fresh, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + fresh]
        at += fresh
        yield key, block[at : at + length]
        at += length


def _fields(message: bytes) -> Iterator[tuple[int, Field]]:
    """Numbers and values of a protocol buffer's fields."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        field, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, at = _varint(message, at)
            yield field, value
            continue
        length = {FIXED64: 8, FIXED32: 4}.get(kind)
        if kind == BYTES:
            length, at = _varint(message, at)
        if length is None:
            raise ValueError(f"a field is of kind {kind}")
        yield field, message[at : at + length]
        at += length


def _shape(message: Field) -> tuple[int, ...]:
    """The sizes in a TensorShapeProto."""
    sizes = [dict(_fields(_bytes(part))) for field, part in _fields(_bytes(message)) if field == 2]
    return tuple(_number(size.get(1, 0)) for size in sizes)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins at `at`, seven bits a byte, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number has no end")


def _number(field: Any) -> int:
    if not isinstance(field, int):
        raise ValueError("text stands where a number belongs")
    return field


def _bytes(field: Field) -> bytes:
    if isinstance(field, int):
        raise ValueError("a number stands where text belongs")
    return field
