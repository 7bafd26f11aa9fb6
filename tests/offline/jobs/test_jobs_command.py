"""`timbral jobs`, as it is typed."""

import json
from pathlib import Path

import labour
import pytest
from typer.testing import CliRunner

from offline.jobs import console
from offline.jobs.command import app
from offline.jobs.covers import settings_of
from offline.jobs.queue import Claim
from stream.errors import ConfigError, JobNotFound


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIMBRAL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def typed(*words: str | Path) -> str:
    run = CliRunner().invoke(app, [str(word) for word in words])
    if run.exception:
        raise run.exception
    return run.output


def test_songs_are_put_in_made_shown_and_dropped(home: Path, tmp_path: Path) -> None:
    for name, words in (("a", "quick"), ("b", "bad")):
        (tmp_path / f"{name}.wav").write_text(words)
    songs = tmp_path / "a.wav", tmp_path / "b.wav"
    put = typed("add", *songs, "--voice", "ada", "-o", tmp_path / "out").splitlines()
    assert [line.split()[1:] for line in put] == [
        [str(tmp_path / "out" / f"{name}"), "(ada).flac"] for name in "ab"
    ]
    identity = put[0].split()[0]
    assert "waiting    b.wav" in typed("list")
    seen: list[str] = []
    failed = console.work("cpu", None, lambda job: seen.append(job.name), labour.labour)
    assert sorted(seen) == ["a.wav", "b.wav"]
    assert [job.name for job in failed] == ["b.wav"]
    shown = json.loads(typed("show", identity))
    assert (shown["state"], shown["settings"]) == ("done", {"voice": "ada"})
    assert Path(shown["target"]).read_text() == "quick"
    assert all(song.exists() for song in songs)
    typed("cancel", identity)
    assert len(typed("list").splitlines()) == 1
    assert Path(shown["target"]).exists()
    with pytest.raises(JobNotFound):
        typed("show", identity)
    claim = Claim(home / "jobs")
    typed("add", songs[0], "-o", tmp_path)
    assert claim.hold()
    with pytest.raises(ConfigError, match="Another process"):
        console.work("cpu", None, lambda job: seen.append(job.name), labour.labour)
    claim.release()


def test_what_cannot_be_is_told_when_it_is_put_in(home: Path, tmp_path: Path) -> None:
    del home
    with pytest.raises(ConfigError, match="fetch what is elsewhere"):
        typed("add", "https://example.org/song")
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('format = "exe"')
    (tmp_path / "a.wav").touch()
    with pytest.raises(ConfigError, match="format is one of"):
        typed("add", tmp_path / "a.wav", "--settings", wrong)
    assert settings_of({"key": 1})[1] == "flac"
