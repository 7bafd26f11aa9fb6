"""TensorBoard's files of figures, written without TensorBoard.

A file is a row of records: length (u64), its checksum, the event, its checksum; checksums are
CRC-32C, rotated and shifted so that a checksum of checksums is none. An event is a protocol
buffer: 1 wall time (double), 2 step (varint), 3 version (text) or 5 summary; a summary's value (1)
has a tag (1, text) and a figure (2, float).
"""

from __future__ import annotations

import os
import struct
import time
from functools import lru_cache
from pathlib import Path

VERSION = "brain.Event:2"


class Scalars:
    """A file of figures by tag and step in a folder; it begins to exist with the first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = None

    def add(self, tag: str, step: int, value: float, wall: float) -> None:
        """One figure; `wall` in seconds since 1970."""
        figure = _text(1, tag.encode()) + b"\x15" + struct.pack("<f", value)
        self._record(_when(wall) + b"\x10" + _varint(step) + _text(5, _text(1, figure)))

    def _record(self, event: bytes) -> None:
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            name = f"events.out.tfevents.{time.time_ns() // 1000}.timbral.{os.getpid()}"
            self._file = (self._folder / name).open("ab")
            self._record(_when(time.time()) + _text(3, VERSION.encode()))
        length = struct.pack("<Q", len(event))
        self._file.write(length + _sum(length) + event + _sum(event))
        self._file.flush()

    def close(self) -> None:
        """Close the file; the next figure begins another."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _when(wall: float) -> bytes:
    return b"\x09" + struct.pack("<d", wall)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _text(field: int, content: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _varint(len(content)) + content


@lru_cache(maxsize=1)
def _table() -> tuple[int, ...]:
    table: list[int] = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    table, crc = _table(), 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _sum(data: bytes) -> bytes:
    crc = crc32c(data)
    rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)
