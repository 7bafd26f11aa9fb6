"""TensorFlow's checkpoints: written here by the format's description, read back by ours."""

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream.errors import BadCheckpoint
from stream.importer.bundles import MAGIC, read_bundle

Array = NDArray[np.float32]


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def block(entries: Mapping[bytes, bytes]) -> bytes:
    """A LevelDB block; every key tells only how it differs from the one before."""
    out, last = b"", b""
    for key in sorted(entries):
        shared = 0
        while shared < min(len(key), len(last)) and key[shared] == last[shared]:
            shared += 1
        rest, value = key[shared:], entries[key]
        out += varint(shared) + varint(len(rest)) + varint(len(value)) + rest + value
        last = key
    return out + struct.pack("<II", 0, 1) + bytes(5)  # one restart; not packed; a checksum


def write_bundle(folder: Path, tensors: Mapping[str, Array], **changes: int) -> tuple[Path, Path]:
    """An index of two blocks and its data; `changes` alter what is said of the last tensor."""
    index, data = folder / "model.index", folder / "model.data-00000-of-00001"
    entries: dict[bytes, bytes] = {b"": field(1, 1)}
    at = 0
    with data.open("wb") as file:
        for name in sorted(tensors):
            value = np.asarray(tensors[name], "<f4")
            sizes = b"".join(field(2, field(1, size)) for size in value.shape)
            said = {"kind": 1, "shard": 0, "start": at, "size": value.nbytes}
            if name == max(tensors):
                said |= changes
            entries[name.encode()] = (
                field(1, said["kind"])
                + field(2, sizes)
                + field(3, said["shard"])
                + field(4, said["start"])
                + field(5, said["size"])
                + varint(6 << 3 | 5)
                + bytes(4)
            )
            file.write(value.tobytes())
            at += value.nbytes
    names = sorted(entries)
    table, handles = b"", {}
    for half in (names[: len(names) // 2], names[len(names) // 2 :]):
        if half:
            written = block({name: entries[name] for name in half})
            handles[half[-1]] = varint(len(table)) + varint(len(written) - 5)
            table += written
    top = block(handles)
    footer = varint(0) + varint(0) + varint(len(table)) + varint(len(top) - 5)
    index.write_bytes(table + top + footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC))
    return index, data


def tensors() -> dict[str, Array]:
    rng = np.random.default_rng(3)
    shapes = {"net/kernel": (5, 5, 2, 3), "net/bias": (3,), "net_1/kernel": (1, 300), "z": ()}
    return {
        name: np.asarray(rng.standard_normal(shape), np.float32) for name, shape in shapes.items()
    }


def test_tensors_come_back_by_their_names(tmp_path: Path) -> None:
    wanted = tensors()
    found = read_bundle(*write_bundle(tmp_path, wanted))
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        assert found[name].shape == value.shape
        np.testing.assert_array_equal(found[name], value)


def test_other_types_are_left_out(tmp_path: Path) -> None:
    found = read_bundle(*write_bundle(tmp_path, tensors(), kind=9))
    assert set(found) == set(tensors()) - {"z"}


@pytest.mark.parametrize("change", [{"size": 8}, {"start": 1 << 40}, {"shard": 1}])
def test_a_tensor_that_is_not_there_is_told(change: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="does not hold its tensor z"):
        read_bundle(*write_bundle(tmp_path, tensors(), **change))


@settings(max_examples=60)
@given(cut=st.integers(0, 400), at=st.integers(0, 400), byte=st.integers(0, 255))
def test_damage_is_told_or_harmless(
    cut: int, at: int, byte: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    index, data = write_bundle(tmp_path_factory.mktemp("bundle"), tensors())
    whole = bytearray(index.read_bytes())
    whole[at % len(whole)] = byte
    index.write_bytes(bytes(whole[: len(whole) - cut % len(whole)]))
    try:
        found = read_bundle(index, data)
    except BadCheckpoint as error:
        assert "model.index" in str(error)  # noqa: PT017
    else:
        assert cut == 0
        assert all(value.nbytes <= data.stat().st_size for value in found.values())
