"""A song from an address: a sound file as it is, anything else by yt-dlp, where installed."""

import hashlib
import http.client
import os
import shutil
import urllib.request
from collections.abc import Callable
from importlib import import_module
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlsplit

from offline.cover.batch import SONGS
from stream.errors import AudioError, ConfigError

Progress = Callable[[int, int], None]

CHUNK, MOST_BYTES = 1 << 18, 4_000_000_000
PATIENCE = 30.0  # s without a byte


def fetch(address: str, folder: Path, progress: Progress | None = None) -> Path:
    """The sound at `address`, downloaded into `folder`; what is there already is not fetched again.

    `progress` is told bytes that are here, and of how many (0: unknown). Raises `ConfigError`
    without yt-dlp, unless the address is that of a sound file, and `AudioError` when nothing can be
    fetched.
    """
    name = PurePosixPath(unquote(urlsplit(address).path))
    if name.suffix.lower() in SONGS:
        mark = hashlib.sha256(address.encode()).hexdigest()[:8]
        stem = "".join(char if char.isalnum() or char in " -_" else "_" for char in name.stem)
        target = folder / f"{stem[:80]} [{mark}]{name.suffix.lower()}"
        return target if target.is_file() else _file(address, target, progress)
    tool = _tool(address)

    def told(state: dict[str, Any]) -> None:
        if progress and state.get("status") == "downloading":
            total = state.get("total_bytes") or state.get("total_bytes_estimate") or 0
            progress(int(state.get("downloaded_bytes") or 0), int(total))

    options = {
        "format": "bestaudio/best",
        "outtmpl": str(folder / "%(title).80s [%(id)s].%(ext)s"),
        "progress_hooks": [told],
        "noplaylist": True,
        "noprogress": True,
        "quiet": True,
        "no_warnings": True,
    }
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tool.YoutubeDL(options) as loader:
            facts = loader.extract_info(address, download=True)
            files = [Path(one["filepath"]) for one in facts.get("requested_downloads", ())]
    except tool.utils.DownloadError as error:
        raise AudioError(
            f"{address} cannot be fetched: {error}. Is it right, and is the network there? "
            "Otherwise download it elsewhere and name the file."
        ) from error
    if not files:
        raise AudioError(f"{address} holds no single song. Name the page of one.")
    return files[0]


def _file(address: str, target: Path, progress: Progress | None) -> Path:
    """A file, downloaded; `target` is there whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with urllib.request.urlopen(address, timeout=PATIENCE) as there, beside.open("wb") as out:
            total, done = int(there.headers.get("Content-Length") or 0), 0
            if total > shutil.disk_usage(target.parent).free:
                raise AudioError(
                    f"{address} has {total / 1e6:.0f} MB: the disk has no room for it."
                )
            while chunk := there.read(CHUNK):
                out.write(chunk)
                done += len(chunk)
                if done > MOST_BYTES:
                    raise AudioError(f"{address} is longer than {MOST_BYTES // 10**9} GB.")
                if progress:
                    progress(done, total)
        if done < total:
            raise AudioError(f"{address} broke off after {done} of {total} bytes. Try again.")
        os.replace(beside, target)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise AudioError(
            f"{address} cannot be fetched: {error}. Is it right, and is the network there?"
        ) from error
    finally:
        beside.unlink(missing_ok=True)
    return target


def _tool(address: str) -> ModuleType:
    try:
        return import_module("yt_dlp")
    except ImportError as error:
        raise ConfigError(
            f"Fetching {address} needs the package yt-dlp: pip install 'timbral[fetch]'. Or "
            "download the song yourself and name the file."
        ) from error
