"""Tests of speaking texts, and of `timbral say` as it is typed."""

import stat
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from assets import home_with
from typer.testing import CliRunner

from offline.say import engines
from offline.say.engines import Edge, open_engine
from offline.say.make import lines_of
from offline.say.speak import PAUSE, speak
from offline.say.text import Line
from stream.audio import Audio
from stream.errors import AudioError, ConfigError
from timbral import app


class Hum:
    """Says everything as a hum of as many tenths of a second as there are letters."""

    rate = 16_000
    name = "hum"

    def say(self, text: str) -> Audio:
        n = 1600 * len(text)
        return (0.3 * np.sin(2 * np.pi * 150.0 * np.arange(n) / self.rate)).astype(np.float32)


def begins(path: Path) -> list[float]:
    """When each sound begins, in s."""
    samples, rate = soundfile.read(path)
    loud = np.convolve(np.abs(samples) > 1e-4, np.ones(400), "same") > 0
    return [round(float(i) / rate, 1) for i in np.flatnonzero(np.diff(loud.astype(int)) == 1) + 200]


def test_lines_follow_each_other_or_their_times(tmp_path: Path) -> None:
    target, told = tmp_path / "out.wav", list[tuple[int, int]]()
    lines = (Line("aaaaa", 0.5), Line("bb", 2.0), Line("c"), Line("ddd", 4.0))
    done = speak(lines, Hum(), target, lambda *now: told.append(now))
    assert begins(target) == [0.5, 2.0, 2.2 + PAUSE, 4.0]
    assert done.seconds == pytest.approx(4.3)
    assert (done.lines, done.late) == (4, 0)
    assert told[-1] == (4, 4)


def test_a_line_that_is_late_is_counted_and_nothing_is_lost(tmp_path: Path) -> None:
    lines = (Line("a" * 20, 0.0), Line("bb", 1.0), Line("c", 3.0))
    done = speak(lines, Hum(), tmp_path / "out.wav")
    assert done.late == 1
    assert done.seconds == pytest.approx(3.1)
    with pytest.raises(AudioError, match="hours after"):
        speak((Line("a", 1e6),), Hum(), tmp_path / "late.wav")
    assert not (tmp_path / "late.wav").exists()


def test_a_text_is_itself_and_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("One.\n\nTwo.")
    assert lines_of(str(file)) == (Line("One."), Line("Two."))
    assert lines_of("Read readme.md") == (Line("Read readme.md"),)
    with pytest.raises(AudioError, match="No file"):
        lines_of("missing.txt")
    with pytest.raises(AudioError, match="no words"):
        lines_of("...")


def test_a_text_is_said_by_a_voice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMBRAL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(engines, "open_engine", lambda *_: Hum())
    target = tmp_path / "out.wav"
    run = CliRunner().invoke(app, ["say", "aaaaaaaaaa", "-o", str(target), "--seed", "1"])
    assert run.exit_code == 0, run.output
    assert "1.0 s, 1 lines, by hum" in run.output
    samples, rate = soundfile.read(target)
    assert len(samples) / rate == pytest.approx(1.0, abs=0.01)
    assert np.std(samples) > 0.001


def test_without_anything_that_speaks_it_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"timbral models pull piper-joe.*espeak-ng.*--by edge"):
        open_engine("auto", tmp_path)
    with pytest.raises(ConfigError, match="No Piper voice is installed"):
        open_engine("piper", tmp_path)
    with pytest.raises(ConfigError, match="apt-get install espeak-ng"):
        open_engine("espeak", tmp_path)
    with pytest.raises(ConfigError, match=r"voice\.onnx\.json beside it"):
        open_engine("auto", tmp_path, str(tmp_path / "voice.onnx"))
    monkeypatch.setattr(engines, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'timbral\[edge\]'"):
        open_engine("edge", tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="runs a script")
def test_espeak_is_asked_when_there_is_no_piper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "tone.wav", 0.1 * np.ones(22_050), 22_050)
    program = tmp_path / "espeak-ng"
    program.write_text(
        f'#!/bin/sh\n[ "$2" = xx ] && {{ echo no such language >&2; exit 1; }}\n'
        f'cat > {tmp_path}/heard\n/bin/cp {tmp_path}/tone.wav "$7"\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    found = open_engine("auto", tmp_path, "de")
    assert len(found.say("Grüße; $(rm -r x)")) == 22_050
    assert (tmp_path / "heard").read_text("utf-8") == "Grüße; $(rm -r x)"
    with pytest.raises(ConfigError, match="no such language"):
        open_engine("espeak", tmp_path, "xx").say("a")


def test_a_service_that_is_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    edge_tts = pytest.importorskip("edge_tts")

    class Away:
        def __init__(self, *_: str) -> None:
            pass

        def stream_sync(self) -> None:
            raise OSError("no route")

    monkeypatch.setattr(edge_tts, "Communicate", Away)
    with pytest.raises(AudioError, match=r"no route.*--by piper"):
        Edge("en-US-AriaNeural").say("hello")


@pytest.mark.slow
def test_piper_speaks(tmp_path: Path) -> None:
    pytest.importorskip("piper")
    home = home_with("piper-joe")
    speaker = open_engine("auto", home)
    assert speaker.name == "en_US-joe-medium"
    said = speaker.say("It is a truth universally acknowledged.")
    assert 1.0 < len(said) / speaker.rate < 6.0
    assert np.std(said) > 0.01
