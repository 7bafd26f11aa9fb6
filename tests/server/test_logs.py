"""Logs: one line each, whatever is in it; the audit log holds what happened, and no more."""

import json
import logging
import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.config import ServerConfig
from server.logs import FACTS, Audit, JsonLines, Lines, close_logs, open_logs
from stream.errors import ConfigError


@pytest.fixture(autouse=True)
def closed() -> Generator[None, None, None]:
    yield
    close_logs()


def record(event: str, **facts: object) -> logging.LogRecord:
    made = logging.LogRecord("timbral.server", logging.WARNING, "", 0, event, (), None)
    setattr(made, FACTS, facts)
    return made


@given(st.text(), st.text())
@settings(max_examples=30)
def test_a_record_is_one_line_whatever_a_client_put_into_it(event: str, fact: str) -> None:
    for style in (Lines(), JsonLines()):
        line = style.format(record(event, voice=fact))
        assert len(line.splitlines()) == 1, "a client could forge lines"
    told = json.loads(JsonLines().format(record(event, voice=fact)))
    assert (told["event"], told["voice"], told["level"]) == (event, fact, "warning")
    assert told["time"].endswith("Z")


def test_facts_are_shown_to_people_as_words() -> None:
    line = Lines().format(record("stream began", voice="ada", address="2001:db8::1", why="a b"))
    assert line.endswith('warning stream began voice=ada address=2001:db8::1 why="a b"')


def test_an_error_keeps_its_traceback() -> None:
    made = record("failed")
    try:
        raise RuntimeError("on fire")
    except RuntimeError as error:
        made.exc_info = (RuntimeError, error, error.__traceback__)
    assert "on fire" in json.loads(JsonLines().format(made))["traceback"]
    assert "on fire" in Lines().format(made)


def test_json_goes_to_the_error_output(capsys: pytest.CaptureFixture[str]) -> None:
    open_logs(ServerConfig(log="json"))
    Audit().say("voice added", voice="ada", session=None)
    logging.getLogger("timbral.server").debug("not shown")
    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert (told["logger"], told["event"], told["voice"]) == (
        "timbral.audit",
        "voice added",
        "ada",
    )
    assert "session" not in told


def test_the_audit_log_has_a_file_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "deep" / "audit.jsonl"
    open_logs(ServerConfig(audit=path, log_level="error"))
    Audit().say("stream began", voice="ada")
    path.rename(tmp_path / "audit.1")
    Audit().say("stream over", voice="ada")
    events = [json.loads(p.read_text())["event"] for p in (tmp_path / "audit.1", path)]
    assert events == ["stream began", "stream over"]
    assert capsys.readouterr().err == ""
    if os.name == "posix":
        assert (tmp_path / "audit.1").stat().st_mode & 0o077 == 0


def test_an_audit_log_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        open_logs(ServerConfig(audit=tmp_path / "file" / "audit.jsonl"))


def test_opening_twice_says_things_once(capsys: pytest.CaptureFixture[str]) -> None:
    open_logs(ServerConfig())
    open_logs(ServerConfig())
    Audit().say("server stopped")
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no disk that is always full")
def test_a_full_disk_under_the_audit_log_is_told_once_and_stops_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "logs"
    path = folder / "audit.jsonl"
    open_logs(ServerConfig(audit=path))
    path.unlink()
    path.symlink_to("/dev/full")
    for _ in range(3):
        Audit().say("stream began")
    folder.rename(tmp_path / "away")  # nor can it be opened anew
    for _ in range(3):
        Audit().say("stream began")
    (error,) = capsys.readouterr().err.splitlines()
    assert "audit.jsonl cannot be written: No space left" in error
    folder.mkdir()
    Audit().say("stream over")
    assert json.loads(path.read_text().splitlines()[-1])["event"] == "stream over"
    (better,) = capsys.readouterr().err.splitlines()
    assert "written again" in better
