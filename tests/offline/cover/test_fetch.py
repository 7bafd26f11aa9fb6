"""Tests of songs from addresses, with a tool that needs no network."""

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
    with pytest.raises(ConfigError, match=r"pip install 'timbral\[fetch\]'"):
        fetch(ADDRESS, tmp_path)


class Shelf(BaseHTTPRequestHandler):
    """Serves one sound, half of another, and nothing else; counts what is asked of it."""

    asked = 0

    def do_GET(self) -> None:
        Shelf.asked += 1
        if "song" not in self.path:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(bytes(500 if "half" in self.path else 1000))

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def host() -> Iterator[str]:
    """The address of a server on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Shelf) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_sound_file_needs_no_tool_and_is_fetched_once(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    told: list[tuple[int, int]] = []
    path = fetch(f"{host}/a%2F..%20song.MP3?x=1", tmp_path / "in", lambda *now: told.append(now))
    assert path.parent == tmp_path / "in"
    assert path.suffix == ".mp3"
    assert path.read_bytes() == bytes(1000)
    assert told[-1] == (1000, 1000)
    asked = Shelf.asked
    assert fetch(f"{host}/a%2F..%20song.MP3?x=1", tmp_path / "in") == path
    assert Shelf.asked == asked
    assert fetch(f"{host}/a%2F..%20song.MP3?x=2", tmp_path / "in") != path


@pytest.mark.parametrize(("name", "why"), [("none.wav", "404"), ("half-song.wav", "broke off")])
def test_half_a_file_is_none(host: str, tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(AudioError, match=why):
        fetch(f"{host}/{name}", tmp_path)
    assert not list(tmp_path.iterdir())
