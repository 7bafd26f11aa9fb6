from pathlib import Path

import pytest

from offline.dataset.recordings import collect
from stream.errors import AudioError, ConfigError


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("bob/b.wav", "bob/deep/a.MP3", "ada/a.flac", "ada/.hidden.wav", "ada/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_a_folder_is_searched_for_audio(place: Path) -> None:
    found = collect([place])
    assert found.speakers == ("voice",)
    assert [s.name for s in found.sources] == ["ada/a.flac", "bob/b.wav", "bob/deep/a.MP3"]


def test_folders_are_speakers_when_asked(place: Path) -> None:
    found = collect([place], "folders")
    assert found.speakers == ("ada", "bob")
    assert [(s.name, s.speaker) for s in found.sources] == [
        ("ada/a.flac", 0),
        ("bob/b.wav", 1),
        ("bob/deep/a.MP3", 1),
    ]
    (place / "stray.wav").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"stray\.wav lies beside"):
        collect([place], "folders")


def test_names_are_speakers_in_whatever_order(place: Path) -> None:
    one = collect([f"Zoë={place / 'ada'}", f"Bob={place / 'bob'}"])
    two = collect([f"Bob={place / 'bob'}", f"Zoë={place / 'ada'}"])
    assert one == two
    assert one.speakers == ("Bob", "Zoë")


def test_a_file_given_twice_is_taken_once(place: Path) -> None:
    assert len(collect([place, place / "bob", place / "bob" / "b.wav"]).sources) == 3


def test_a_path_with_an_equals_sign_is_a_path(place: Path) -> None:
    (place / "x=y").mkdir()
    (place / "x=y" / "c.wav").write_bytes(b"")
    found = collect([str(place / "x=y")])
    assert [s.name for s in found.sources] == ["c.wav"]


def test_names_that_differ_only_by_folder_are_told_apart(place: Path) -> None:
    for folder in ("ada", "bob"):
        (place / folder / "same.wav").write_bytes(b"")
    names = [s.name for s in collect([place / "ada", place / "bob"]).sources]
    assert len(set(names)) == len(names) == 5


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ([], ConfigError, "Name the recordings"),
        (["missing"], AudioError, "No file or folder"),
        (["ada=missing"], AudioError, "No file or folder"),
        (["=x"], ConfigError, "neither a path"),
    ],
)
def test_what_cannot_be_found_is_said(given: list[str], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        collect(given)


def test_an_empty_folder_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(AudioError, match="no audio in"):
        collect([tmp_path])


def test_either_all_have_names_or_none(place: Path) -> None:
    with pytest.raises(ConfigError, match="Either every path"):
        collect([f"ada={place / 'ada'}", place / "bob"])
    with pytest.raises(ConfigError, match="already"):
        collect([f"ada={place / 'ada'}"], "folders")
