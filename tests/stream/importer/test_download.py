import errno
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from shelf import Shelf, serving

from stream.errors import ConfigError, DownloadFailed
from stream.importer import download
from stream.importer.download import Patience, fetch, holds
from stream.models.assets import RemoteFile

CONTENT = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(300_000)


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(Shelf({"/a": CONTENT, "/other": OTHER})) as running:
        yield running


def known(content: bytes = CONTENT) -> RemoteFile:
    return RemoteFile(size=len(content), sha256=sha256(content).hexdigest(), urls=("http://x",))


class Getting:
    """Fetches into a folder, and remembers progress and pauses."""

    def __init__(self, folder: Path, shelf: Shelf) -> None:
        self.target, self.shelf = folder / "deep" / "a.bin", shelf
        self.part = self.target.with_name("a.bin.part")
        self.shown: list[int] = []
        self.paused: list[float] = []

    def __call__(self, *paths: str, file: RemoteFile | None = None, timeout: float = 10.0) -> None:
        urls = [path if "://" in path else self.shelf.url + path for path in paths]
        patience = Patience(timeout=timeout, sleep=self.paused.append)
        wanted = file or known()
        fetch(wanted, urls, self.target, progress=self.shown.append, patience=patience)

    @property
    def asked(self) -> list[tuple[str, str]]:
        return self.shelf.asked

    def leave(self, content: bytes) -> None:
        """As if an earlier run had got so far."""
        self.part.parent.mkdir(parents=True)
        self.part.write_bytes(content)


@pytest.fixture
def get(tmp_path: Path, shelf: Shelf) -> Getting:
    return Getting(tmp_path, shelf)


def done(get: Getting) -> bool:
    """The file is there, whole, and nothing else is."""
    return holds(get.target, known()) and list(get.target.parent.iterdir()) == [get.target]


@pytest.mark.parametrize("lengths", [True, False])
def test_a_file_arrives_whole_and_its_progress_is_shown(get: Getting, lengths: bool) -> None:
    get.shelf.lengths = lengths
    get("/a")
    assert done(get)
    assert get.shown == sorted(get.shown)
    assert get.shown[-1] == len(CONTENT)
    assert get.asked == [("/a", "")]


def test_what_arrived_before_a_cut_is_not_asked_for_again(get: Getting) -> None:
    get.shelf.cuts["/a"] = [100_000, 50_000, 1]
    get("/a")
    assert done(get)
    assert [wanted for _, wanted in get.asked] == [
        "",
        "bytes=100000-",
        "bytes=150000-",
        "bytes=150001-",
    ]
    assert len(get.paused) == 3


@pytest.mark.parametrize("left", [1, 63, 64, 65, len(CONTENT) - 1, len(CONTENT)])
def test_another_run_goes_on_where_the_last_one_stopped(get: Getting, left: int) -> None:
    get.leave(CONTENT[:left])
    get("/a")
    assert done(get)
    assert get.asked == ([("/a", f"bytes={left}-")] if left < len(CONTENT) else [])


def test_a_server_that_cannot_resume_sends_it_all_again(get: Getting) -> None:
    get.shelf.ranges = False
    get.leave(CONTENT[:1000])
    get("/a")
    assert done(get)


@pytest.mark.parametrize("size", [1000, len(CONTENT), len(CONTENT) + 5])
def test_leftovers_of_another_file_are_dropped(get: Getting, size: int) -> None:
    get.leave((OTHER + OTHER)[:size])
    get("/a")
    assert done(get)


def test_wrong_bytes_are_never_kept_and_the_next_address_is_asked(get: Getting) -> None:
    get("/other", "/a")
    assert done(get)
    with pytest.raises(DownloadFailed, match="sha256 is not the one"):
        get("/other")
    assert not get.part.exists()


@pytest.mark.parametrize("lengths", [True, False])
def test_a_file_of_another_size_is_told_before_or_while_it_comes(
    get: Getting, lengths: bool
) -> None:
    get.shelf.lengths = lengths
    get.shelf.files["/long"] = CONTENT + b"more"
    with pytest.raises(DownloadFailed, match="300004 bytes" if lengths else "more than the 300000"):
        get("/long")
    assert not get.target.exists()
    get("/long", "/a")
    assert done(get)


def test_a_missing_file_is_not_asked_for_twice(get: Getting) -> None:
    with pytest.raises(DownloadFailed, match="404 Not Found"):
        get("/none")
    assert get.asked == [("/none", "")]
    get("/none", "/a")
    assert done(get)


def test_a_busy_server_is_asked_again_after_a_pause(get: Getting) -> None:
    get.shelf.statuses["/a"] = [503, 429, 500]
    get("/a")
    assert done(get)
    assert get.paused == [1.0, 2.0, 4.0]
    get.target.unlink()
    get.shelf.statuses["/a"] = [503] * 9
    with pytest.raises(DownloadFailed, match="503"):
        get("/a")
    assert len(get.shelf.statuses["/a"]) == 5


def test_redirects_are_followed_with_the_place_to_go_on_from(get: Getting) -> None:
    get.shelf.redirects = {"/moved": "/a", "/round": "/round", "/out": "file:///etc/hostname"}
    get.leave(CONTENT[:7])
    get("/moved")
    assert done(get)
    assert get.asked[-1] == ("/a", "bytes=7-")
    with pytest.raises(DownloadFailed, match="redirect"):
        get("/round")
    with pytest.raises(DownloadFailed, match="not allowed"):
        get("/out")


def test_a_body_that_stops_coming_is_asked_for_again(get: Getting) -> None:
    short = CONTENT[:16]
    get.shelf.files["/a"] = short
    get.shelf.stall = 60.0
    with pytest.raises(DownloadFailed, match="timed out"):
        get("/a", file=known(short), timeout=0.1)
    assert [wanted for _, wanted in get.asked[:3]] == ["", "bytes=8-", "bytes=12-"]
    get.shelf.stall = 0.0
    get("/a", file=known(short))
    assert get.target.read_bytes() == short


def test_a_host_that_never_answers_is_left_alone_for_its_other_files(get: Getting) -> None:
    dead = "http://127.0.0.1:9"
    get(f"{dead}/1", f"{dead}/2", "/a")
    assert done(get)
    assert len(get.paused) == 1
    with pytest.raises(DownloadFailed, match=r"refused(.|\n)*--mirror(.|\n)*--from-dir"):
        get(f"{dead}/1")


@pytest.mark.parametrize("address", ["file:///etc/hostname", "ftp://x/y", "somewhere", "https://"])
def test_only_http_is_an_address(get: Getting, address: str) -> None:
    with pytest.raises(ConfigError, match="no http"):
        fetch(known(), [address], get.target, progress=get.shown.append, patience=Patience())


def test_too_small_a_disk_is_told_before_anything_is_asked(
    get: Getting, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000)  # pyright: ignore
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DownloadFailed, match=r"0.3 MB are needed in .*TIMBRAL_HOME"):
        get("/a")
    assert get.asked == []


def test_a_disk_that_fills_up_says_so_and_keeps_what_came(
    get: Getting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    get.leave(CONTENT[:9])
    monkeypatch.setattr(download, "_append", full)
    with pytest.raises(DownloadFailed, match="Make room"):
        get("/a")
    assert get.part.read_bytes() == CONTENT[:9]
