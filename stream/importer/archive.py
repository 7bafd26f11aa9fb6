"""Find what is worth importing in a zip archive or a folder that somebody made."""

import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from stream.errors import BadCheckpoint, HostileFile

CARD: Final = "voice.json"
MODELS = frozenset({".pth", ".pt", ".bin", ".ckpt", ".safetensors", ".onnx"})
INDICES = frozenset({".index", ".faiss"})
OTHERS = frozenset({".json", ".wav", ".md"})  # the rest of a bundle
ARCHIVES = frozenset({".zip", ".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz"})
MOST_MEMBERS: Final = 10_000
MOST_BYTES: Final = 2 << 30  # unpacked, all together
MOST_RATIO: Final = 20  # a member's length to its packed length; weights hardly shrink
SMALL: Final = 1 << 20  # bytes below which the ratio does not matter
CHUNK: Final = 1 << 20
BROKEN = (  # what zipfile raises over a damaged archive
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError),
    *(ValueError, LookupError, OverflowError),
)


@dataclass(frozen=True)
class Found:
    """What a folder holds.

    bundle   the folder with a `voice.json`, if there is one
    models   files that may hold weights
    indices  files that may be a faiss index
    """

    bundle: Path | None
    models: tuple[Path, ...]
    indices: tuple[Path, ...]


def is_archive(path: Path) -> bool:
    """Whether it is a zip with files in it; torch's files are zips too, and no archives."""
    try:
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            names = [PurePosixPath(name) for name in archive.namelist()[:MOST_MEMBERS]]
    except (*BROKEN, OSError):
        return True  # let `unpack` say what is wrong with it
    return not any(name.name == "data.pkl" for name in names)


def unpack(path: Path, into: Path) -> None:
    """Unpack from the zip at `path` what may belong to a voice, into folders below `into`.

    Files that lay together lie together; their names are kept as far as they are harmless.
    Law: nothing is written outside `into`, and never more than the archive itself declared. Raises
    `HostileFile` for names that lead elsewhere, links, and bombs by declared or by real size, and
    `BadCheckpoint` for encrypted and damaged archives; then `into` may hold a part.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = _checked(archive, path)
            folders: dict[str, Path] = {}
            for info, name in members:
                parent = folders.setdefault(str(name.parent), into / f"{len(folders):03}")
                parent.mkdir(exist_ok=True)
                target = parent / _safe(name.name)
                if target.exists():
                    raise BadCheckpoint(path, f"it has two files of the name {name.name!r}.")
                _copy(archive, info, target, path)
    except BROKEN as error:
        raise BadCheckpoint(path, f"it is a damaged archive ({error}). Get it again.") from error
    except OSError as error:
        raise BadCheckpoint(path, f"it cannot be unpacked ({error.strerror or error}).") from error


def look(folder: Path) -> Found:
    """What there is in a folder and in those below it. Raises `HostileFile` for a link out of it,
    and `BadCheckpoint` when there is nothing to import.
    """
    files = list(_files(folder))
    cards = [path for path in files if path.name == CARD]
    models = [path for path in files if path.suffix.lower() in MODELS]
    indices = [path for path in files if path.suffix.lower() in INDICES]
    if not cards and not models:
        inner = next((path.name for path in files if path.suffix.lower() in ARCHIVES), None)
        why = (
            f"it holds another archive, {inner}: unpack that one first."
            if inner
            else "there is no voice in it (no .pth, .safetensors or .onnx file)."
        )
        raise BadCheckpoint(folder, why)
    if len(cards) > 1:
        raise BadCheckpoint(folder, f"there are {len(cards)} voices in it: add them one by one.")
    return Found(cards[0].parent if cards else None, tuple(models), tuple(indices))


def _files(folder: Path) -> Iterator[Path]:
    root = folder.resolve()
    count = 0
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _hidden(name))
        for name in sorted(names):
            path = Path(where, name)
            count += 1
            if count > MOST_MEMBERS:
                raise BadCheckpoint(folder, f"it holds more than {MOST_MEMBERS} files.")
            if _hidden(name) or not path.is_file():
                continue
            if not path.resolve().is_relative_to(root):
                raise HostileFile(folder, f"{name} is a link that leads out of the folder")
            yield path


def _checked(archive: zipfile.ZipFile, path: Path) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """The members to unpack, after all were found harmless."""
    infos = archive.infolist()
    if len(infos) > MOST_MEMBERS:
        raise HostileFile(path, f"it has more than {MOST_MEMBERS} members")
    wanted: list[tuple[zipfile.ZipInfo, PurePosixPath]] = []
    total = 0
    for info in infos:
        name = PurePosixPath(info.filename.replace("\\", "/"))
        shown = repr(info.filename[:80])
        if name.is_absolute() or ".." in name.parts or re.match(r"[A-Za-z]:", info.filename):
            raise HostileFile(path, f"its member {shown} would be written outside its folder")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise HostileFile(path, f"its member {shown} is a link")
        if info.flag_bits & 1:
            raise BadCheckpoint(path, "it is encrypted: unpack it and add what is inside.")
        if info.file_size > SMALL and info.file_size > MOST_RATIO * max(info.compress_size, 1):
            raise HostileFile(path, f"its member {shown} swells more than {MOST_RATIO} times")
        total += info.file_size
        if not info.is_dir() and not any(map(_hidden, name.parts)) and _wanted(name):
            wanted.append((info, name))
    if total > MOST_BYTES:
        raise HostileFile(path, f"it would take {total >> 20} MiB, more than {MOST_BYTES >> 20}")
    return wanted


def _wanted(name: PurePosixPath) -> bool:
    suffix = name.suffix.lower()
    return suffix in MODELS | INDICES | OTHERS or suffix in ARCHIVES


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _copy(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, path: Path) -> None:
    with archive.open(info) as source, target.open("wb") as sink:
        written = 0
        while chunk := source.read(CHUNK):
            written += len(chunk)
            if written > info.file_size:
                raise HostileFile(path, f"{info.filename[:80]!r} is longer than it says")
            sink.write(chunk)
    if written != info.file_size:
        raise BadCheckpoint(path, f"{info.filename[:80]!r} is cut short.")


def _safe(name: str) -> str:
    """A file name that every system takes, with the same ending."""
    stem, dot, suffix = name.rpartition(".")
    return re.sub(r"[^\w .()+-]", "_", stem)[:100].strip(" .") + dot + suffix
