"""What torch and safetensors write is read the same here; what is broken gets a typed error."""

import io
import json
import struct
import tempfile
import zipfile
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from stream.errors import BadCheckpoint, HostileFile, TimbralError
from stream.importer.tensors import read_tensors

TYPES = (
    *(torch.float16, torch.float32, torch.float64, torch.bfloat16),
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool),
)


def many_kinds() -> dict[str, Any]:
    """Every way a tensor can lie in its storage, and every kind of plain entry."""
    draw = torch.Generator().manual_seed(5)
    rows = torch.randn(6, 8, generator=draw)
    shared = torch.randn(10, generator=draw)
    return {
        "turned": rows.t(),
        "stepped": rows[::2, 1::3],
        "late": rows[4],
        "spread": rows[0].expand(3, 8),
        "one": torch.tensor(7.5),
        "none": torch.zeros(0, 4),
        "tied": shared,
        "tied too": shared[3:],
        "parameter": torch.nn.Parameter(torch.randn(2, 3, generator=draw)),
        "inside": OrderedDict(a=[torch.ones(2), "text", 3, (1.5, None, True)]),
        "kinds": {str(kind): rows.to(kind) for kind in TYPES},
        "plain": {
            "size": torch.Size([2, 3]),
            5: {"x", "y"},
            "bytes": b"\x00\xff",
            "kind": torch.half,
        },
    }


@pytest.mark.parametrize("legacy", [False, True])
def test_every_view_and_number_type_is_read_as_torch_reads_it(tmp_path: Path, legacy: bool) -> None:
    held = many_kinds()
    path = tmp_path / "named.wrong"
    torch.save(held, path, _use_new_zipfile_serialization=not legacy)
    file = read_tensors(path)
    assert file.kind == ("old torch" if legacy else "torch")
    for name in ("turned", "stepped", "late", "spread", "one", "none", "tied", "tied too"):
        assert np.array_equal(file.tensors[name], held[name].numpy()), name
    assert np.array_equal(file.tensors["parameter"], held["parameter"].detach().numpy())
    assert np.array_equal(file.tensors["inside.a.0"], np.ones(2, np.float32))
    for kind in TYPES:
        value = held["kinds"][str(kind)]
        wanted = value.float() if kind is torch.bfloat16 else value
        read = file.tensors[f"kinds.{kind}"]
        assert read.dtype == wanted.numpy().dtype
        assert np.array_equal(read, wanted.numpy()), kind
    assert file.extra["inside"] == {"a": [None, "text", 3, (1.5, None, True)]}
    assert file.extra["plain"]["size"] == (2, 3)
    assert file.extra["plain"][5] == {"x", "y"}
    assert file.extra["plain"]["bytes"] == b"\x00\xff"
    assert not file.tensors["turned"].flags.writeable or file.tensors["turned"].flags.owndata


def test_numbers_of_numpy_are_read(tmp_path: Path) -> None:
    held = {
        "median": np.float64(181.5),
        "count": np.int32(3),
        "table": np.arange(6.0).reshape(2, 3),
    }
    torch.save(held, tmp_path / "a.pth")
    extra = read_tensors(tmp_path / "a.pth").extra
    assert (extra["median"], extra["count"]) == (181.5, 3)
    assert np.array_equal(extra["table"], held["table"])


def test_safetensors_are_read_with_what_their_header_says(tmp_path: Path) -> None:
    held = {str(kind): torch.arange(6).reshape(2, 3).to(kind) for kind in TYPES}
    path = tmp_path / "a.safetensors"
    save_file(held, path, metadata={"sr": "40k"})
    file = read_tensors(path)
    assert (file.kind, file.extra) == ("safetensors", {"sr": "40k"})
    for name, value in held.items():
        wanted = value.float() if value.dtype is torch.bfloat16 else value
        assert np.array_equal(file.tensors[name], wanted.numpy()), name


def test_safetensors_whose_length_begins_like_a_pickle_are_read(tmp_path: Path) -> None:
    text = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    text = text.ljust(0x80)
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    assert list(read_tensors(tmp_path / "a.safetensors").tensors) == ["w"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "LFS pointer"),
        (b"RIFF\x00\x00\x00\x00WAVE", "sound file"),
        (b"\x08\x09\x12\x07pytorch", "ONNX"),
        (b"IwFl" + bytes(60), "--index"),
        (b"Rar!\x1a\x07\x00", "unpack it first"),
        (b"what is this?", "unknown kind"),
    ],
)
def test_files_of_another_kind_are_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "voice.pth").write_bytes(content)
    with pytest.raises(BadCheckpoint, match=said):
        read_tensors(tmp_path / "voice.pth")


def test_archives_that_torch_does_not_write_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(BadCheckpoint, match="not one that torch writes"):
        read_tensors(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", b"\x80\x02N.")
        archive.writestr("net/constants.pkl", b"\x80\x02).")
    with pytest.raises(BadCheckpoint, match="TorchScript"):
        read_tensors(path)


def test_a_missing_file_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="cannot be read"):
        read_tensors(tmp_path / "nowhere.pth")


def zip_with(path: Path, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"a/{name.replace('__', '/')}", data)


def saved(held: object, *, legacy: bool = False) -> bytes:
    sink = io.BytesIO()
    torch.save(held, sink, _use_new_zipfile_serialization=not legacy)
    return sink.getvalue()


def test_a_small_file_cannot_ask_for_much_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(saved({"wide": torch.zeros(1).expand(1 << 19, 1 << 20)}))
    with pytest.raises(HostileFile, match="claim more numbers"):
        read_tensors(path)


def test_a_storage_that_is_shorter_than_it_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(io.BytesIO(saved({"w": torch.zeros(100)}))) as archive:
        pickle = next(archive.read(n) for n in archive.namelist() if n.endswith("data.pkl"))
    zip_with(path, **{"data.pkl": pickle, "data__0": bytes(40)})
    with pytest.raises(BadCheckpoint, match="too short"):
        read_tensors(path)
    zip_with(path, **{"data.pkl": pickle})
    with pytest.raises(BadCheckpoint, match="missing"):
        read_tensors(path)


def header(entries: object, data: bytes = b"") -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 12]},
        {"dtype": "F32", "shape": [1 << 39, 1 << 39], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [4], "data_offsets": [4, 20]},
        {"dtype": "C64", "shape": [2], "data_offsets": [0, 16]},
        {"shape": [4], "data_offsets": [0, 16]},
        [1, 2],
    ],
)
def test_safetensors_that_contradict_themselves_are_refused(tmp_path: Path, entry: object) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(header({"w": entry}, bytes(16)))
    with pytest.raises(BadCheckpoint):
        read_tensors(path)


def test_safetensors_that_lie_on_top_of_each_other_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    one = {"dtype": "F32", "shape": [64], "data_offsets": [0, 256]}
    path.write_bytes(header({f"w{i}": one for i in range(100)}, bytes(256)))
    with pytest.raises(HostileFile, match="on top of each other"):
        read_tensors(path)


def test_a_header_longer_than_the_file_or_nested_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
    with pytest.raises(BadCheckpoint, match="longer than the file"):
        read_tensors(path)
    deep = b'{"a":' + b"[" * 200_000
    path.write_bytes(struct.pack("<Q", len(deep)) + deep)
    with pytest.raises((BadCheckpoint, HostileFile)):
        read_tensors(path)


SMALL = {
    "weight": {"a": torch.arange(6.0).reshape(2, 3).t(), "b": torch.ones(4).half()},
    "sr": "40k",
}


def safe() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save_file(
            {"a": torch.arange(6.0), "b": torch.ones(4)}, Path(folder, "a"), metadata={"k": "v"}
        )
        return Path(folder, "a").read_bytes()


ORIGINALS = [saved(SMALL), saved(SMALL, legacy=True), safe()]


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(range(3)),
    st.lists(
        st.tuples(st.floats(0.0, 0.999, allow_subnormal=False), st.integers(0, 255)), max_size=6
    ),
    st.one_of(st.none(), st.floats(0.0, 1.0, allow_subnormal=False)),
)
def test_damaged_files_give_typed_errors_only(
    original: int, changes: list[tuple[float, int]], cut: float | None
) -> None:
    data = bytearray(ORIGINALS[original])
    for where, value in changes:
        data[int(where * len(data))] = value
    if cut is not None:
        del data[int(cut * len(data)) :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.pth")
        path.write_bytes(data)
        with suppress(TimbralError):
            read_tensors(path)
