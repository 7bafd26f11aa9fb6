"""What a step has made before, found again by everything that it was made from."""

import errno
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from stream.errors import ConfigError
from stream.home import default_home
from stream.models.digest import sha256

META = "meta.json"
FORMAT = 1  # of the store; an entry of another one is not found
FULL = {errno.ENOSPC, errno.EDQUOT}
CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}
WAIT_SECONDS = 0.05  # between two tries to get a lock


@dataclass(frozen=True)
class Step:
    """One step of a computation: everything on which what it makes depends.

    name        what it does, as "separate"
    version     of its code: raised when the same inputs give another result
    parameters  JSON: numbers, texts, lists and mappings of them
    inputs      content hashes of what goes in, or the keys of the steps that make it
    models      sha256 of every model that it uses

    File names are no part of it: only what is in the files counts.
    """

    name: str
    version: int
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    inputs: tuple[str, ...] = ()
    models: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Canonical JSON; raises `ValueError` for NaN and `TypeError` for what is no JSON."""
        said = {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "parameters": dict(self.parameters),
            "inputs": self.inputs,
            "models": self.models,
        }
        return json.dumps(said, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @property
    def key(self) -> str:
        """sha256 of `text`: equal for equal steps, and for no others."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class Info:
    """What a cache holds."""

    folder: Path
    by_step: Mapping[str, tuple[int, int]]  # name of the step: entries, bytes

    @property
    def entries(self) -> int:
        """How many results of steps."""
        return sum(entries for entries, _ in self.by_step.values())

    @property
    def bytes(self) -> int:
        """How much they take on the disk."""
        return sum(size for _, size in self.by_step.values())


class Cache:
    """A store of what steps made, by their keys: a folder of plain files for each.

    folder  where it is; by default `TIMBRAL_HOME`/cache. Several machines may share it.

    Laws: what `find` gives was made by `make` for an equal step and is complete: a process killed
    at any moment leaves nothing that looks finished. Of all processes and threads that want the
    same step at once, one makes it and the others wait. Whoever gets an entry only reads it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder if folder is not None else default_home() / "cache"

    def has(self, step: Step) -> bool:
        """Whether it is there; unlike `find`, this does not count as use."""
        return (self._entry(step.key) / META).is_file()

    def find(self, step: Step) -> Path | None:
        """The folder with what the step made; None when it has to be made."""
        if not self.has(step):
            return None
        entry = self._entry(step.key)
        with suppress(OSError):  # a cache that is only read cannot tell that it is used
            os.utime(entry / META)
        return entry

    def make(self, step: Step, build: Callable[[Path], None]) -> Path:
        """The folder with what the step made: found, or filled by `build`, which gets it empty.

        When `build` raises, nothing is kept. Raises `ConfigError` when the cache cannot be written
        to or its disk is full.
        """
        found = self.find(step)
        if found is not None:
            return found
        with self._explained(), self._locked(step.key):
            found = self.find(step)  # somebody else may have made it in the meantime
            return found if found is not None else self._make(step, build)

    def forget(self, step: Step) -> None:
        """Drop what the step made, so that it is made anew."""
        self._remove(step.key)

    def info(self) -> Info:
        """How much is in it."""
        by_step: dict[str, tuple[int, int]] = {}
        for _, meta in self._entries():
            count, size = by_step.get(meta["step"]["name"], (0, 0))
            by_step[meta["step"]["name"]] = (count + 1, size + _size(meta))
        return Info(self.folder, dict(sorted(by_step.items())))

    def prune(self, most_bytes: int, *, spare_seconds: float = 0.0) -> int:
        """Remove what was used longest ago until at most `most_bytes` are left; bytes freed.

        spare_seconds  what was used within that time stays, whatever it takes: it may be read now

        What broken-off steps left behind goes as well.
        """
        self._sweep()
        entries = [(_used(entry), _size(meta), entry.name) for entry, meta in self._entries()]
        left, freed = sum(size for _, size, _ in entries), 0
        newest = time.time() - spare_seconds
        for used, size, key in sorted(entries):
            if left - freed <= most_bytes or used > newest:
                break
            self._remove(key)
            freed += size
        return freed

    def verify(self) -> tuple[str, ...]:
        """Read every file again and drop the entries that are not as they were made; their keys."""
        bad = tuple(entry.name for entry, meta in self._entries() if not _unchanged(entry, meta))
        for key in bad:
            self._remove(key)
        return bad

    def _make(self, step: Step, build: Callable[[Path], None]) -> Path:
        key, entry = step.key, self._entry(step.key)
        making = self.folder / "making" / key
        for left_over in (making, entry):
            shutil.rmtree(left_over, ignore_errors=True)
        making.mkdir(parents=True)
        try:
            begun = time.monotonic()
            build(making)
            _describe(making, step, time.monotonic() - begun)
            entry.parent.mkdir(parents=True, exist_ok=True)
            os.replace(making, entry)
        finally:
            shutil.rmtree(making, ignore_errors=True)
        return entry

    def _entry(self, key: str) -> Path:
        return self.folder / "entries" / key[:2] / key

    def _entries(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        for path in sorted((self.folder / "entries").glob(f"??/*/{META}")):
            with suppress(FileNotFoundError):  # another process removes it just now
                yield path.parent, json.loads(path.read_text("utf-8"))

    def _remove(self, key: str) -> None:
        """First its description goes, so that a half removed entry is none."""
        (self._entry(key) / META).unlink(missing_ok=True)
        shutil.rmtree(self._entry(key), ignore_errors=True)

    def _sweep(self) -> None:
        """Drop what nobody makes any more, and what was half removed."""
        for left_over in (self.folder / "making").glob("*"):
            with suppress(BlockingIOError), self._locked(left_over.name, wait=False):
                shutil.rmtree(left_over, ignore_errors=True)
        for entry in (self.folder / "entries").glob("??/*"):
            if not (entry / META).is_file():
                shutil.rmtree(entry, ignore_errors=True)

    @contextmanager
    def _locked(self, key: str, *, wait: bool = True) -> Generator[None]:
        """Only one thread of all processes is inside; else `BlockingIOError`, if not `wait`.

        The lock ends with the process that holds it, however that ends.
        """
        path = self.folder / "locks" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with _lock(path, wait):
            try:
                yield
            finally:
                with suppress(PermissionError):  # Windows keeps what is open; there it stays
                    path.unlink()

    @contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in FULL:
                why = "has no room left: make some, for example by `timbral cache prune --to 0`"
            elif error.errno in CLOSED and self._holds(error.filename):
                why = "cannot be written to: change its rights"
            else:
                raise
            elsewhere = "or let TIMBRAL_HOME name another folder."
            raise ConfigError(f"The cache {self.folder} {why}, {elsewhere}") from error

    def _holds(self, name: object) -> bool:
        return isinstance(name, str | Path) and (
            Path(name).is_relative_to(self.folder) or self.folder.is_relative_to(name)
        )


@contextmanager
def _lock(path: Path, wait: bool) -> Generator[None]:
    """`path` open and locked for this thread alone."""
    while True:
        with path.open("ab") as file:
            if _locked_now(file):
                # its last holder may have removed it: then it locks nobody out any more
                if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    yield
                    return
                continue
        if not wait:
            raise BlockingIOError
        time.sleep(WAIT_SECONDS)


def _locked_now(file: IO[bytes]) -> bool:
    """Lock `file`, at once or not at all."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EAGAIN, errno.EDEADLK}:
            return False
        raise
    return True


def _describe(folder: Path, step: Step, seconds: float) -> None:
    """Write `meta.json`: the step, every file's sha256, what it took."""
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    meta = {"step": json.loads(step.text), "files": files, "seconds": round(seconds, 3)}
    with (folder / META).open("w", encoding="utf-8") as file:
        json.dump(meta, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def _size(meta: dict[str, Any]) -> int:
    return sum(file["bytes"] for file in meta["files"].values())


def _used(entry: Path) -> float:
    return (entry / META).stat().st_mtime


def _unchanged(entry: Path, meta: dict[str, Any]) -> bool:
    files = meta["files"]
    found = {path.relative_to(entry).as_posix() for path in entry.rglob("*") if path.is_file()}
    return found - {META} == set(files) and all(
        sha256(entry / name) == file["sha256"] for name, file in files.items()
    )
