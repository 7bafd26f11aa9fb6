"""Read files of weights without torch: its zip files, its older pickles, and safetensors.

Law: what comes out are arrays and plain data, the same numbers that torch or safetensors would
load; or a typed error. No byte of the file is run, and no memory is taken that the file's own
length does not account for.
"""

import io
import json
import math
import mmap
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, cast

import numpy as np
from numpy.typing import NDArray

from stream.errors import BadCheckpoint, HostileFile
from stream.importer.harmless import BFLOAT16, Array, Element, Inert, Name, Storage, Tensor
from stream.importer.pickles import load

Kind = Literal["torch", "old torch", "safetensors"]
Numbers = NDArray[Any]

ZIP, PICKLE = b"PK\x03\x04", b"\x80"
OLD_MAGIC: Final = 0x1950A86A20F9469CFC6C  # what torch wrote first before 1.6
OLD_PROTOCOL: Final = 1001
MOST_MEMBERS = 50_000
MOST_HEADER = 16 << 20  # bytes of a safetensors header or of a pickle inside a zip
MOST_NODES = 200_000  # of the tree that a pickle describes
MOST_DEPTH = 32
SAFE_TYPES: Mapping[str, str] = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": BFLOAT16, "BOOL": "?"},
    **{f"{kind}{bits}": f"<{kind.lower()}{bits // 8}" for kind in "IU" for bits in (16, 32, 64)},
    **{"I8": "i1", "U8": "u1"},
}
BROKEN = (
    *(ValueError, LookupError, OverflowError, EOFError, NotImplementedError),
    *(struct.error, zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True)
class TensorFile:
    """What a file holds.

    tensors  by their path in it ("weight.enc_p.proj.bias"), in the file's order, in the file's own
             type; bfloat16 comes as float32. Read-only.
    extra    the rest: dicts, lists, tuples, text, numbers, `Inert`; a tensor in a list leaves None
    """

    path: Path
    kind: Kind
    tensors: Mapping[str, Numbers]
    extra: Any


def read_tensors(path: Path, *, inert: Sequence[str] = ()) -> TensorFile:
    """Read a `.pth`, `.pt`, `.bin` or `.safetensors` file, whatever it is called.

    inert  names of classes that are read as `Inert` records instead of being refused, for files
           that keep settings next to the weights; "fairseq." means every name that begins so

    Raises `BadCheckpoint` when it is none of these or is damaged, `HostileFile` when its pickle
    asks for anything but data or it would take more memory than it has bytes.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
            file.seek(0)
            reader = _reader(head, path)
            return reader(file, path, tuple(inert))
    except BROKEN as error:
        raise BadCheckpoint(path, f"it is damaged or cut short ({error}). Get it again.") from error
    except RecursionError as error:
        raise HostileFile(path, "it nests deeper than any model") from error
    except OSError as error:
        raise BadCheckpoint(path, f"it cannot be read ({error.strerror or error}).") from error


def _reader(head: bytes, path: Path) -> Callable[[BinaryIO, Path, tuple[str, ...]], TensorFile]:
    if head.startswith(ZIP):
        return _read_zip
    if head[8:9] == b"{" and (head[7] == 0 or not head.startswith(PICKLE)):
        return _read_safetensors  # a length may begin like a pickle, which never has 0 there
    if head.startswith(PICKLE):
        return _read_old
    raise BadCheckpoint(path, f"{_what(head)}, not a file of weights (.pth, .safetensors).")


def is_onnx(head: bytes) -> bool:
    """Whether a file that begins so seems to be an ONNX model: field 1, a small version number."""
    return len(head) > 1 and head[0] == 0x08 and 3 <= head[1] < 32


def _what(head: bytes) -> str:
    """What a file that is no checkpoint seems to be."""
    text = head.lstrip().lower()
    if not head:
        return "it is empty (0 bytes)"
    if text.startswith((b"<!doctype", b"<html")):
        return "it is a web page: the download went wrong"
    if text.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer: only the address of the file, not the file"
    if text.startswith((b"riff", b"flac", b"oggs", b"id3")):
        return "it is a sound file"
    if head.startswith((b"Rar!", b"7z\xbc\xaf")):
        return "it is a RAR or 7z archive: unpack it first"
    if is_onnx(head):
        return "it is an ONNX model"
    if head.startswith((b"IxF", b"IxM", b"IHN", b"IwF")):
        return "it is a faiss index: give it with --index"
    return "it is of an unknown kind"


def _read_zip(file: BinaryIO, path: Path, inert: tuple[str, ...]) -> TensorFile:
    with zipfile.ZipFile(file) as archive:
        members = _members(archive, path)
        pickles = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise BadCheckpoint(path, "it is a zip archive, but not one that torch writes.")
        root = pickles[0][: -len("data.pkl")]
        if f"{root}constants.pkl" in members:
            raise BadCheckpoint(path, "it is a TorchScript program, not a file of weights.")
        if f"{root}byteorder" in members and archive.read(f"{root}byteorder") != b"little":
            raise BadCheckpoint(path, "its numbers are big-endian.")
        if members[pickles[0]] > MOST_HEADER:
            raise HostileFile(path, f"its pickle is longer than {MOST_HEADER >> 20} MiB")
        tree = load(io.BytesIO(archive.read(pickles[0])), path, inert)

        def row(storage: Storage) -> bytes:
            name = f"{root}data/{storage.key}"
            if name not in members:
                raise ValueError(f"{name} is missing")
            if members[name] < storage.count * _size(storage.element):
                raise ValueError(f"{name} is too short")
            return archive.read(name)

        return _assemble(path, "torch", tree, row)


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, int]:
    """Each member's size in bytes: stored as they are, together no larger than the file."""
    infos = archive.infolist()
    if len(infos) > MOST_MEMBERS:
        raise HostileFile(path, f"it has more than {MOST_MEMBERS} members")
    if any(info.flag_bits & 1 for info in infos):
        raise BadCheckpoint(path, "it is encrypted.")
    if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
        raise BadCheckpoint(path, "it is a compressed archive, not one that torch writes.")
    if sum(info.file_size for info in infos) > path.stat().st_size:
        raise HostileFile(path, "its members claim to be larger than the whole file")
    return {info.filename: info.file_size for info in infos}


def _read_old(file: BinaryIO, path: Path, inert: tuple[str, ...]) -> TensorFile:
    """Five pickles (magic, protocol, machine, tree, keys of storages), then each storage."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
        source = cast(BinaryIO, held)
        if load(source, path, inert) != OLD_MAGIC:
            raise BadCheckpoint(path, "it is a pickle, but not one that torch writes.")
        if load(source, path, inert) != OLD_PROTOCOL:
            raise BadCheckpoint(path, "it is of an unknown version of torch's format.")
        machine = load(source, path, inert)
        if not isinstance(machine, dict) or machine.get("little_endian") is not True:
            raise BadCheckpoint(path, "its numbers are big-endian.")
        tree = load(source, path, inert)
        keys = load(source, path, inert)
        if not isinstance(keys, list):
            raise ValueError("it does not list its storages")
        sizes = {
            tensor.storage.key: _size(tensor.storage.element) for _, tensor in _tensors(tree, path)
        }
        rows: dict[str, bytes] = {}
        for key in keys:
            count = struct.unpack("<q", held.read(8))[0]
            length = count * sizes.get(str(key), 1)
            if not 0 <= length <= len(held) - held.tell() or str(key) in rows:
                raise ValueError(f"storage {str(key)[:40]} is cut short")
            rows[str(key)] = held.read(length)
        return _assemble(path, "old torch", tree, lambda storage: rows[storage.key])


def _read_safetensors(file: BinaryIO, path: Path, _inert: tuple[str, ...]) -> TensorFile:
    length = struct.unpack("<Q", file.read(8))[0]
    room = path.stat().st_size - 8 - length
    if room < 0:
        raise ValueError("its header is longer than the file")
    if length > MOST_HEADER:
        raise HostileFile(path, f"its header is longer than {MOST_HEADER >> 20} MiB")
    header = json.loads(file.read(length).decode("utf-8"))
    if not isinstance(header, dict):
        raise ValueError("its header is no list of tensors")
    extra = header.pop("__metadata__", {})
    held = file.read()
    tensors: dict[str, Numbers] = {}
    used = 0
    for name, entry in header.items():
        tensors[name] = _safe_tensor(name, entry, held)
        used += tensors[name].size
    if used > len(held):
        raise HostileFile(path, "its tensors lie on top of each other")
    return TensorFile(path, "safetensors", tensors, extra)


def _safe_tensor(name: str, entry: object, held: bytes) -> Numbers:
    match entry:
        case {"dtype": str(kind), "shape": [*shape], "data_offsets": [int(start), int(end)]}:
            if kind not in SAFE_TYPES:
                raise ValueError(f"{name} has the unknown type {kind[:20]}")
            if not all(isinstance(n, int) and 0 <= n < 1 << 40 for n in shape):
                raise ValueError(f"{name} has a shape that is none")
            count = math.prod(shape)
            if not 0 <= start <= end <= len(held) or end - start != count * _size(SAFE_TYPES[kind]):
                raise ValueError(
                    f"{name} lies outside the file or has another length than its shape"
                )
            return _numbers(held[start:end], SAFE_TYPES[kind], count).reshape(shape)
        case _:
            raise ValueError(f"{name} is not described as a tensor")


def _assemble(path: Path, kind: Kind, tree: object, row: Callable[[Storage], bytes]) -> TensorFile:
    """The file's tensors, each storage read once however many tensors share it.

    row  the bytes of a whole storage
    """
    allowed = path.stat().st_size
    rows: dict[tuple[str, str], Numbers] = {}
    tensors: dict[str, Numbers] = {}
    for name, tensor in _tensors(tree, path):
        storage = tensor.storage
        at = (storage.key, storage.element)
        if at not in rows:
            data = row(storage)
            rows[at] = _numbers(data, storage.element, len(data) // _size(storage.element))
        allowed -= math.prod(tensor.shape)
        if allowed < 0:
            raise HostileFile(path, "its tensors claim more numbers than the file has bytes")
        if name in tensors:
            raise ValueError(f"{name} is there twice")
        tensors[name] = _view(rows[at], tensor)
    return TensorFile(path, kind, tensors, _plain(tree, path))


def _view(row: Numbers, tensor: Tensor) -> Numbers:
    """Copied out only where the view is no plain stretch of its row."""
    first = tensor.storage.first
    if first + tensor.reach > row.size:
        raise ValueError("a tensor reaches beyond its storage")
    if tensor.reach == 0:
        return np.zeros(tensor.shape, row.dtype)
    steps = [step * row.itemsize for step in tensor.strides]
    view = np.lib.stride_tricks.as_strided(
        row[first + tensor.offset :], tensor.shape, steps, writeable=False
    )
    return view if view.flags.c_contiguous else np.ascontiguousarray(view)


def _numbers(data: bytes, element: str, count: int) -> Numbers:
    if element == BFLOAT16:
        upper = np.frombuffer(data, "<u2", count)
        return (upper.astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, np.dtype(element), count)


def _size(element: str) -> int:
    return 2 if element == BFLOAT16 else np.dtype(element).itemsize


def _tensors(tree: object, path: Path) -> Iterator[tuple[str, Tensor]]:
    """Every tensor with its path, in the file's order; refuses trees without end."""
    waiting: list[tuple[str, object, int]] = [("", tree, 0)]
    left = MOST_NODES
    while waiting:
        name, node, depth = waiting.pop()
        if isinstance(node, Tensor):
            yield name, node
        below: list[tuple[str, object, int]] = []
        for key, value in _inside(node):
            below.append((f"{name}.{key}" if name else str(key), value, depth + 1))
            left -= 1 + len(below[-1][0]) // 64
            if depth == MOST_DEPTH or left < 0:
                raise HostileFile(path, "it nests deeper or wider than any model")
        waiting.extend(reversed(below))


def _inside(node: object) -> Iterator[tuple[object, object]]:
    if isinstance(node, dict):
        yield from cast(dict[object, object], node).items()
    elif isinstance(node, (list, tuple)):
        yield from enumerate(cast("Sequence[object]", node))
    elif isinstance(node, Inert):
        yield from _inside(node.state)


def _plain(node: object, path: Path) -> Any:
    """The tree without its tensors. Its size and depth were checked by `_tensors`."""
    if isinstance(node, Tensor):
        return None
    if isinstance(node, dict):
        entries = cast(dict[object, object], node).items()
        return {key: _plain(item, path) for key, item in entries if not isinstance(item, Tensor)}
    if isinstance(node, (list, tuple)):
        items = [_plain(item, path) for item in cast("Sequence[object]", node)]
        return items if isinstance(node, list) else tuple(items)
    if isinstance(node, Inert):
        return Inert(node.name, _plain(node.state, path))
    if isinstance(node, Array):
        return node.value
    if isinstance(node, Name):
        return node.full
    if isinstance(node, (Element, Storage)):
        return None
    return node
