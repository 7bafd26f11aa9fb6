"""Tests of `timbral cover` and `timbral cache` as they are typed."""

from pathlib import Path
from typing import Any

import halves
import pytest
from typer.testing import CliRunner

from offline.cache import Cache, Step
from offline.cover import console
from offline.cover.console import Options, requested, settings_of
from offline.curve import read_curve
from stream.errors import ConfigError
from timbral import app


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, where nothing has to be fetched."""
    home = tmp_path / "home"
    monkeypatch.setenv("TIMBRAL_HOME", str(home))
    monkeypatch.setattr(console, "standard_tools", lambda store, device: halves.tools(store.home))
    monkeypatch.setattr(console, "bring_separators", lambda *_: None)
    return home


def typed(*words: str | Path) -> tuple[int, str]:
    run = CliRunner().invoke(app, [str(word) for word in words])
    if run.exception and not isinstance(run.exception, SystemExit):
        raise run.exception
    return run.exit_code, run.output


def options(**given: Any) -> Options:
    return Options(songs=["song.wav"], **given)


def test_a_plan_is_shown_and_nothing_is_made(home: Path, tmp_path: Path) -> None:
    song = halves.write_song(tmp_path / "song.wav")
    status, said = typed("cover", song, "--key", "2", "-o", tmp_path / "cover.flac", "--dry-run")
    assert status == 0
    lines = [line.split() for line in said.splitlines()[1:]]
    assert [line[0] for line in lines] == ["read", "separate", "key-band", "f0", "convert", "mix"]
    assert all("to do" in line for line in said.splitlines()[1:])
    assert not home.exists()
    assert not (tmp_path / "cover.flac").exists()


def test_what_is_kept_is_shown_in_the_plan(home: Path, tmp_path: Path) -> None:
    song = halves.write_song(tmp_path / "song.wav")
    status, said = typed("cover", song, "--step", "separate", "-o", tmp_path / "parts")
    assert status == 0
    assert "1.5 s of song" in said
    assert {path.name for path in (tmp_path / "parts").iterdir()} == {
        "vocals.wav",
        "instrumental.wav",
    }
    said = typed("cover", song, "--dry-run")[1]
    state = {line.split()[0]: "kept" in line for line in said.splitlines()[1:]}
    assert state == {"read": True, "separate": True, "f0": False, "convert": False, "mix": False}


def test_a_bad_song_ends_no_batch_and_the_rest_can_be_resumed(home: Path, tmp_path: Path) -> None:
    album = tmp_path / "album"
    album.mkdir()
    halves.write_song(album / "good.wav")
    (album / "bad.wav").write_bytes(b"")
    status, said = typed("cover", album, "--step", "f0", "-o", tmp_path / "out")
    assert status == 1
    assert "bad.wav is empty (0 bytes)" in said
    assert "1 of 2 covers were made." in said
    assert len(read_curve(tmp_path / "out" / "good (starter)" / "f0.csv").hz) == 150
    halves.write_song(album / "bad.wav")
    status, said = typed("cover", "--resume")
    assert (status, "2 of 2 covers were made." in said) == (0, True)
    with pytest.raises(ConfigError, match="No cover was broken off"):
        typed("cover", "--resume")


def test_a_cover_has_its_page_unless_it_is_not_wanted(home: Path, tmp_path: Path) -> None:
    song = halves.write_song(tmp_path / "song.wav")
    status, said = typed("cover", song, "-o", tmp_path / "cover.flac")
    assert (status, f"all about it: {tmp_path / 'cover.html'}" in said) == (0, True)
    assert "sung by starter" in (tmp_path / "cover.html").read_text("utf-8")
    status, said = typed("cover", song, "-o", tmp_path / "bare.flac", "--no-report")
    assert (status, "all about it" in said) == (0, False)
    assert not (tmp_path / "bare.html").exists()


def test_nothing_named_is_told(home: Path) -> None:
    with pytest.raises(ConfigError, match="Name a song"):
        typed("cover")


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "cover.toml"
    file.write_text(
        'voice = "ada"\nkey = 2\nband_db = -1.5\n[controls]\nautotune = 0.5\npitch = 1\n'
        '[separate]\nmodels = ["a", "b"]\nensemble = "max"\n'
    )
    given = options(
        settings=file, key=-1, octave=1, lufs="-14", ensemble="min", controls={"autotune": 0.75}
    )
    found = settings_of(given)
    assert (found.voice, found.key, found.band_db, found.lufs) == ("ada", -1, -1.5, -14.0)
    assert (found.controls.autotune, found.controls.pitch) == (0.75, 13.0)
    assert (found.separate.models, found.separate.ensemble) == (("a", "b"), "min")
    assert found.controls.loudness == 1.0


@pytest.mark.parametrize(
    ("text", "why"), [("voice = ", "holds no settings"), ("voic = 'a'", "setting voic")]
)
def test_a_wrong_file_of_settings_is_told(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "cover.toml").write_text(text)
    with pytest.raises(ConfigError, match=why):
        settings_of(options(settings=tmp_path / "cover.toml"))
    with pytest.raises(ConfigError, match="No file"):
        settings_of(options(settings=tmp_path / "none.toml"))


def test_a_wrong_loudness_is_told() -> None:
    with pytest.raises(ConfigError, match="--lufs is song, off or a number"):
        settings_of(options(lufs="loud"))


def test_a_pitch_file_is_for_one_song(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match="one song at a time"):
        requested(Options(songs=[str(tmp_path)], f0_in=tmp_path / "f0.csv"))


@pytest.mark.parametrize(
    ("out", "single", "name"),
    [
        (None, False, "song (starter).flac"),
        ("x.mp3", True, "x.mp3"),
        ("folder", False, "song (starter).flac"),
    ],
)
def test_where_a_cover_goes(tmp_path: Path, out: str | None, single: bool, name: str) -> None:
    (tmp_path / "song.wav").touch()
    given = Options(songs=[str(tmp_path / "song.wav")], out=Path(out) if out else None)
    found = requested(given)
    assert found.single == single
    assert console.targets_of(found)[0].name == name


def test_the_cache_is_told_of_and_pruned(home: Path) -> None:
    assert "0 entries" in typed("cache", "info")[1]
    made = Cache(home / "cache").make(Step("mix", 1), lambda out: _write(out / "a", 2_000_000))
    assert "mix" in typed("cache", "info")[1]
    assert "1 entries, 2.0 MB" in typed("cache", "info")[1]
    assert typed("cache", "verify") == (0, "All is as it was made.\n")
    (made / "a").write_bytes(b"altered")
    assert typed("cache", "verify") == (1, "Dropped 1 damaged entries.\n")
    Cache(home / "cache").make(Step("mix", 1), lambda out: _write(out / "a", 2_000_000))
    assert "Removed 0.0 MB." in typed("cache", "prune")[1]
    assert "Removed 2.0 MB." in typed("cache", "prune", "--to", "0")[1]


def _write(path: Path, size: int) -> None:
    path.write_bytes(bytes(size))
