"""A song from an address, by yt-dlp, where that is installed."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from stream.errors import AudioError, ConfigError

Progress = Callable[[int, int], None]


def fetch(address: str, folder: Path, progress: Progress | None = None) -> Path:
    """The sound at `address`, downloaded into `folder`; what is there already is not fetched again.

    `progress` is told bytes that are here, and of how many (0: unknown). Raises `ConfigError`
    without yt-dlp, and `AudioError` when nothing can be fetched.
    """
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


def _tool(address: str) -> ModuleType:
    try:
        return import_module("yt_dlp")
    except ImportError as error:
        raise ConfigError(
            f"Fetching {address} needs the package yt-dlp: pip install yt-dlp. Or download the "
            "song yourself and name the file."
        ) from error
