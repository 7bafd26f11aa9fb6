"""Tests of songs from addresses, with a tool that needs no network."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from offline.cover.fetch import fetch
from stream.errors import AudioError, ConfigError

ADDRESS = "https://example.org/song"


class DownloadError(Exception):
    pass


class Loader:
    """Stands for yt-dlp's YoutubeDL."""

    found = True

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def extract_info(self, address: str, download: bool) -> dict[str, Any]:
        if "missing" in address:
            raise DownloadError("HTTP Error 404")
        if not self.found:
            return {}
        path = Path(self.options["outtmpl"]).with_name("song.m4a")
        path.write_bytes(b"sound")
        for hook in self.options["progress_hooks"]:
            hook({"status": "downloading", "downloaded_bytes": 2, "total_bytes": 5})
            hook({"status": "finished"})
        return {"requested_downloads": [{"filepath": str(path)}]}


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(YoutubeDL=Loader, utils=SimpleNamespace(DownloadError=DownloadError))
    monkeypatch.setitem(sys.modules, "yt_dlp", fake)


@pytest.mark.usefixtures("tool")
def test_a_song_is_fetched_into_its_folder(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    path = fetch(ADDRESS, tmp_path / "songs", lambda *now: told.append(now))
    assert path == tmp_path / "songs" / "song.m4a"
    assert path.read_bytes() == b"sound"
    assert told == [(2, 5)]


@pytest.mark.usefixtures("tool")
def test_what_cannot_be_fetched_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AudioError, match=r"404.*download it elsewhere"):
        fetch("https://example.org/missing", tmp_path)
    monkeypatch.setattr(Loader, "found", False)
    with pytest.raises(AudioError, match="no single song"):
        fetch(ADDRESS, tmp_path)


def test_a_missing_tool_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    with pytest.raises(ConfigError, match="pip install yt-dlp"):
        fetch(ADDRESS, tmp_path)
