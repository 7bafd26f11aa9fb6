"""Tests of many songs at once."""

from pathlib import Path
from typing import Any

import pytest

from offline.cover.batch import Request, Result, batch, done, kept, sources_of, targets_of
from offline.cover.make import Cover
from offline.cover.settings import checked
from stream.errors import AudioError, Cancelled, ConfigError


def request(*sources: str, **more: Any) -> Request:
    plain: dict[str, Any] = {"out": "/covers", "single": False, "format": "mp3"}
    return Request(sources=sources, settings=checked({"voice": "ada"}), **(plain | more))


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    (folder / "cd2").mkdir(parents=True)
    for name in ("b.mp3", "a.FLAC", "cover.jpg", ".hidden.mp3", "cd2/c.m4a", "notes.txt"):
        (folder / name).touch()
    return folder


def test_a_folder_is_its_songs_in_order(album: Path) -> None:
    wanted = tuple(str(album / name) for name in ("a.FLAC", "b.mp3", "cd2/c.m4a"))
    assert sources_of([str(album)]) == wanted
    assert sources_of([str(album / "b.mp3"), str(album)]) == (wanted[1], wanted[0], wanted[2])


def test_a_list_names_songs_from_where_it_is(album: Path) -> None:
    (album / "list.m3u").write_text("#EXTM3U\n\nb.mp3\ncd2/c.m4a\nhttps://example.org/d\n")
    assert sources_of([str(album / "list.m3u")]) == (
        str(album / "b.mp3"),
        str(album / "cd2" / "c.m4a"),
        "https://example.org/d",
    )


def test_nothing_to_do_is_told(album: Path) -> None:
    (album / "empty").mkdir()
    with pytest.raises(AudioError, match="holds no songs"):
        sources_of([str(album / "empty")])
    with pytest.raises(AudioError, match="No file"):
        sources_of([str(album / "none.mp3")])


def test_covers_are_called_after_song_and_voice_and_never_alike() -> None:
    wanted = request("/a/song.mp3", "/b/song.wav", "https://example.org/w?v=1", "/b/song.flac")
    assert [path.name for path in targets_of(wanted)] == [
        "song (ada).mp3",
        "song (ada) #2.mp3",
        "w_v_1 (ada).mp3",
        "song (ada) #3.mp3",
    ]
    assert targets_of(request("/a/x.mp3", single=True, out="/c/y.ogg")) == (Path("/c/y.ogg"),)
    steps = targets_of(request("/a/x.mp3", "/a/y.mp3", step="f0", out="/c"))
    assert steps == (Path("/c/x (ada)"), Path("/c/y (ada)"))


def test_a_song_that_fails_ends_nothing() -> None:
    made: list[str] = []

    def make(source: str, target: Path) -> Cover:
        made.append(source)
        if source == "/b.mp3":
            raise AudioError("it is silent")
        return Cover.__new__(Cover)

    told: list[Result] = []
    results = batch(request("/a.mp3", "/b.mp3", "/c.mp3"), make, told.append)
    assert made == ["/a.mp3", "/b.mp3", "/c.mp3"]
    assert [bool(result.cover) for result in results] == [True, False, True]
    assert results[1].why == "it is silent"
    assert told == results


@pytest.mark.parametrize("error", [KeyboardInterrupt, Cancelled, ZeroDivisionError])
def test_whoever_ends_it_ends_all_of_it(error: type[BaseException]) -> None:
    made: list[str] = []

    def make(source: str, target: Path) -> Cover:
        made.append(source)
        raise error

    with pytest.raises(error):
        batch(request("/a.mp3", "/b.mp3"), make, lambda _: None)
    assert made == ["/a.mp3"]


def test_what_was_broken_off_is_known_afterwards(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name the songs"):
        kept(tmp_path)
    wanted = request("/a.mp3", step="f0", f0_out="/x.csv")
    wanted.keep(tmp_path / "home")
    assert kept(tmp_path / "home") == wanted
    done(tmp_path / "home")
    with pytest.raises(ConfigError, match="No cover was broken off"):
        kept(tmp_path / "home")
    (tmp_path / "cover.json").write_text("{")
    with pytest.raises(ConfigError, match="name the songs again"):
        kept(tmp_path)
