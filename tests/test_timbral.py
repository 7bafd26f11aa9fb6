import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from tiny_server import mirror, refuse, running
from typer.main import get_command
from typer.testing import CliRunner

import timbral
from stream import options
from stream.controls import F0_BLENDS, LIMITS, SCALES, Controls
from stream.profiles import CHOICES

ROOT = Path(__file__).parent.parent
SPEECH = ROOT / "tests" / "speech" / "sense-and-sensibility-0880.wav"
TREE: Any = get_command(timbral.app)


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "timbral", *words], cwd=ROOT, capture_output=True, text=True
    )


def test_our_errors_are_one_line_and_exit_status_1(tmp_path: Path) -> None:
    done = run("send", str(tmp_path / "none.wav"), str(tmp_path / "out.wav"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.strip() == f"timbral: No file {tmp_path / 'none.wav'}."


def test_a_server_that_is_not_there_says_how_to_start_one(tmp_path: Path) -> None:
    done = run("send", str(SPEECH), str(tmp_path / "out.wav"), "--server", "127.0.0.1:1")
    assert done.returncode == 1
    assert "timbral serve" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words", [["sing"], ["send"], ["send", "a", "b", "--pitch", "99"], ["serve", "--port", "x"]]
)
def test_wrong_usage_is_exit_status_2(words: list[str]) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert "Usage:" in done.stderr


def test_a_file_goes_through_a_server_and_the_budget_is_printed(tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    with running(mirror()) as url:
        done = run("send", str(SPEECH), str(out), "--server", url, "--faster-than-realtime")
    assert done.returncode == 0, done.stderr
    assert out.is_file()
    for word in ["algorithmic", "compute p50 / p95 / p99", "queue", "network", str(out)]:
        assert word in done.stdout


def test_what_a_server_refuses_is_said_in_its_words(tmp_path: Path) -> None:
    with running(refuse) as url:
        done = run("send", str(SPEECH), str(tmp_path / "out.wav"), "--server", url)
    assert done.returncode == 1
    assert done.stderr.strip() == "timbral: No voice 'starter'."


def test_choices_of_the_command_are_those_of_the_areas() -> None:
    assert get_args(options.Profile) == CHOICES
    assert get_args(options.F0Blend) == F0_BLENDS
    assert get_args(options.Scale) == SCALES


@pytest.mark.parametrize("verb", ["send", "convert"])
def test_defaults_of_the_controls_in_the_help_are_those_of_the_engine(verb: str) -> None:
    params = {param.name: param for param in TREE.commands[verb].params}
    absent = {"input_gain_db", "output_gain_db"}
    assert set(options.CONTROLS) == set(Controls.names()) - absent
    for name in options.CONTROLS:
        value = getattr(Controls(), name)
        shown = name.replace("_", "-") if value is True else value
        shown = value[0] if isinstance(value, tuple) else shown
        shown = f"{shown:g}" if isinstance(shown, float) else shown
        assert f"[default: {shown}]" in params[name].help


@pytest.mark.parametrize("name", [name for name in LIMITS if name in options.CONTROLS])
def test_limits_of_the_controls_are_those_of_the_engine(name: str) -> None:
    low, high = LIMITS[name]
    for value, status in [(low, 1), (high, 1), (low - 0.01, 2), (high + 0.01, 2)]:
        words = ["send", "none.wav", "out.wav", "--" + name.replace("_", "-"), f"{value:.6g}"]
        assert CliRunner().invoke(timbral.app, words).exit_code == status, words


def test_defaults_keep_to_the_limits_of_their_own_options() -> None:
    """Typer holds an option's default to its range too, so such a command never runs."""
    seen = 0
    for verb, command in verbs(TREE):
        for param in command.params:
            limits = getattr(param, "type", param)  # older typers keep them in click's type
            low, high = (getattr(limits, end, None) for end in ("min", "max"))
            if isinstance(param.default, (int, float)):
                assert low is None or param.default >= low, f"{verb} {param.name}"
                assert high is None or param.default <= high, f"{verb} {param.name}"
                seen += low is not None
    assert seen > 3


def verbs(command: Any, path: str = "timbral") -> Iterator[tuple[str, Any]]:
    """Every verb under `command`, with the words that call it."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from verbs(inner, f"{path} {name}")


def test_bench_measures_every_stage_without_further_options() -> None:
    """A busy machine may be too late: then the exit status is 1, and the tables are there."""
    done = run("bench", "--profile", "low", "--seconds", "1")
    assert done.returncode in (0, 1)
    assert done.stderr == ""
    assert "| **whole hop** |" in done.stdout


def test_a_control_that_is_given_reaches_the_server_and_only_that() -> None:
    protocol = import_module("server.protocol")
    given: list[dict[str, Any]] = []
    command = typer.Typer()
    command.command()(options.controllable(lambda *, controls: given.append(controls)))
    words = ["--pitch", "-3.5", "--f0", "swift", "--f0", "crepe-tiny"]
    assert CliRunner().invoke(command, words).exit_code == 0
    assert given == [{"pitch": -3.5, "f0_methods": ("swift", "crepe-tiny")}]
    assert protocol.ControlValues(**given[0]).pitch == -3.5
