"""Fetches one file of known content over HTTP, from whichever of its addresses gives it."""

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from stream.errors import ConfigError, DownloadFailed
from stream.models.assets import RemoteFile, Wheel, megabytes

CHUNK = 1 << 18  # bytes read at a time
ROOM = 16 << 20  # bytes that stay free on the disk
LONGEST_PAUSE = 60.0  # seconds that a server may ask us to wait
TRY_LATER = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}

Progress = Callable[[int], None]
"""Called with the bytes of a file that are here."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to put up with a bad line.

    attempts   how often in a row an address may fail without a single new byte; one that never
               answered at all is asked twice at most
    pause      seconds before the second attempt; each further pause is twice as long
    timeout    seconds without an answer or a byte
    sleep      waits that many seconds
    """

    attempts: int = 4
    pause: float = 1.0
    timeout: float = 30.0
    sleep: Callable[[float], None] = time.sleep


class _Refused(Exception):
    """This address will not give the file, however often it is asked."""

    def __init__(self, why: str, *, silent: bool = False) -> None:
        super().__init__(why)
        self.silent = silent  # its host never answered


@dataclass(frozen=True)
class _Trouble:
    """Why it did not work this time."""

    why: str
    wait: str = ""  # seconds that the server asks us to wait, if it does
    silent: bool = False  # no answer came


def fetch(
    file: RemoteFile,
    addresses: Iterable[str],
    target: Path,
    *,
    progress: Progress,
    patience: Patience,
) -> None:
    """Make `target` hold exactly `file`, asking the addresses in turn.

    What arrived before a connection broke, or before the program was stopped, lies in
    `target`.part and is not asked for again. `target` appears only when its sha256 is right.
    Raises `DownloadFailed` with what each address said, and `ConfigError` for an address that is
    not http(s).
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    _check_room(part, file)
    said: list[str] = []
    silent: set[str] = set()
    for url in addresses:
        host = urlsplit(url).netloc
        if urlsplit(url).scheme not in {"http", "https"} or not host:
            raise ConfigError(f"{url} is no http:// or https:// address to download from.")
        if host in silent:
            continue
        try:
            _from_one(url, file, part, progress, patience)
        except _Refused as refusal:
            said.append(f"  {url}: {refusal}")
            silent |= {host} if refusal.silent else set()
            continue
        os.replace(part, target)
        return
    raise DownloadFailed(
        f"{target.name} could not be downloaded:\n" + "\n".join(said) + "\nSee whether this "
        "machine reaches the internet (a proxy is taken from HTTPS_PROXY), choose another place "
        "with --mirror, or bring the file from another machine and say where it is: --from-dir DIR"
    )


def holds(path: Path, file: RemoteFile | Wheel) -> bool:
    """Whether `path` is exactly `file`."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest() == file.sha256


def no_room(place: Path, need: int) -> DownloadFailed:
    """The error for a disk that cannot take `need` more bytes."""
    free = shutil.disk_usage(place).free
    return DownloadFailed(
        f"{megabytes(need)} are needed in {place}, where {megabytes(free)} are free. "
        "Make room there, or set TIMBRAL_HOME to a folder on another disk."
    )


def _check_room(part: Path, file: RemoteFile) -> None:
    need = file.size - _size(part)
    if shutil.disk_usage(part.parent).free < need + ROOM:
        raise no_room(part.parent, need)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _from_one(
    url: str, file: RemoteFile, part: Path, progress: Progress, patience: Patience
) -> None:
    """Complete `part` from `url`, or raise `_Refused`."""
    failures, most, silent = 0, _size(part), True
    while True:
        trouble = _attempt(url, file, part, progress, patience.timeout)
        if trouble is None:
            return
        silent = silent and trouble.silent and _size(part) <= most
        failures = 0 if _size(part) > most else failures + 1
        most = max(most, _size(part))
        if failures >= (min(2, patience.attempts) if silent else patience.attempts):
            raise _Refused(trouble.why, silent=silent)
        pause = patience.pause * 2.0 ** max(failures - 1, 0)
        wait = trouble.wait
        patience.sleep(min(float(wait), LONGEST_PAUSE) if wait.isdigit() else pause)


def _attempt(
    url: str, file: RemoteFile, part: Path, progress: Progress, timeout: float
) -> _Trouble | None:
    """Ask once; returns why it did not work, or raises `_Refused`, if asking again is no use."""
    resumed = _size(part) > 0
    try:
        _append(url, file, part, progress, timeout)
    except HTTPError as error:
        why = f"{error.code} {error.reason}"
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)
        elif error.code < 500 and error.code not in TRY_LATER:
            raise _Refused(why) from error
        return _Trouble(why, wait=error.headers.get("Retry-After", ""))
    except (OSError, HTTPException) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise no_room(part.parent, file.size - _size(part)) from error
        why = str(getattr(error, "reason", "") or error or type(error).__name__)
        return _Trouble(why, silent=True)
    if holds(part, file):
        return None
    part.unlink(missing_ok=True)
    if not resumed:
        raise _Refused("it sends another file: its sha256 is not the one that is known")
    return _Trouble("what was here before did not belong to it")


def _append(url: str, file: RemoteFile, part: Path, progress: Progress, timeout: float) -> None:
    """Ask for what `part` lacks, and write it there as it comes."""
    if _size(part) > file.size:
        part.unlink()
    had = _size(part)
    if had == file.size:
        return
    headers = {"User-Agent": "timbral", "Accept-Encoding": "identity"}
    if had:
        headers["Range"] = f"bytes={had}-"
    request = Request(url, headers=headers)
    with _opener().open(request, timeout=timeout) as response:
        partial = response.status == HTTPStatus.PARTIAL_CONTENT
        begins = response.headers.get("Content-Range", "")
        if partial and not begins.startswith(f"bytes {had}-"):
            raise _Refused(f"it was asked for bytes from {had} on and sends {begins!r}")
        done = had if partial else 0
        length = response.headers.get("Content-Length", "")
        if length.isdigit() and done + int(length) != file.size:
            raise _Refused(f"its file has {done + int(length)} bytes, not {file.size}")
        with part.open("r+b" if done else "wb") as out:
            out.seek(done)
            while chunk := response.read1(min(CHUNK, file.size - done + 1)):
                if done + len(chunk) > file.size:
                    raise _Refused(f"it sends more than the {file.size} bytes of the file")
                out.write(chunk)
                done += len(chunk)
                progress(done)
    if done < file.size:
        raise ConnectionError(f"the connection ended after {done} of {file.size} bytes")


def _opener() -> OpenerDirector:
    """What asks over HTTP only: a redirect to a file of this machine leads nowhere."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(),
        UnknownHandler(),
        HTTPDefaultErrorHandler(),
        HTTPRedirectHandler(),
        HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener
