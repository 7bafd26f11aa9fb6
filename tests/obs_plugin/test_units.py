"""The OBS filter's parts without OBS, how it is built, and that it stays readable."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from obs_bench import PLUGIN, ROOT, build, require, require_libobs

SOURCES = sorted([*PLUGIN.glob("src/*.[ch]"), *PLUGIN.glob("tests/*.[ch]")])
LOCALES = sorted(PLUGIN.glob("data/locale/*.ini"))
LONGEST_FUNCTION, LONGEST_FILE = 60, 450  # lines


def run(*command: object) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "tests"), [("plain", "."), ("asan", "."), ("tsan", "ring|link")])
def test_the_parts_keep_their_laws(kind: str, tests: str) -> None:
    require("cmake", "cc")
    run("ctest", "--test-dir", build(kind), "-j2", "--output-on-failure", "-R", tests)


@pytest.mark.slow
def test_the_plugin_needs_libc_alone() -> None:
    require_libobs()
    require("readelf")
    plugin = build("plain") / "timbral.so"
    needed = re.findall(r"NEEDED.*\[(.*)\]", run("readelf", "-d", plugin))
    assert needed == ["libc.so.6"]
    symbols = run("readelf", "--dyn-syms", "--wide", plugin)
    wanted = set(re.findall(r"GLOBAL DEFAULT +UND (\w+)$", symbols, re.MULTILINE))
    assert not [name for name in wanted if "circlebuf" in name or "deque" in name]
    listed = (PLUGIN / "cmake/obs.def").read_text().split("EXPORTS")[1].split()
    assert wanted == set(listed), "cmake/obs.def, from which Windows links, is out of date"


@pytest.mark.slow
def test_it_cross_compiles_for_windows() -> None:
    require_libobs()
    require("x86_64-w64-mingw32-gcc")
    tools = PLUGIN / "cmake/mingw.cmake"
    options = [f"-DCMAKE_TOOLCHAIN_FILE={tools}", "-DWITH_TESTS=OFF"]
    headers = run("pkg-config", "--variable=includedir", "libobs").strip()
    folder = build("windows", f"-DOBS_HEADERS={headers}", *options)
    needed = run("x86_64-w64-mingw32-objdump", "-p", folder / "timbral.dll")
    libraries = set(re.findall(r"DLL Name: (\S+)", needed))
    assert libraries == {"KERNEL32.dll", "msvcrt.dll", "WS2_32.dll", "obs.dll"}


def texts(path: Path) -> dict[str, str]:
    return dict(re.findall(r'^([\w.]+)="(.*)"$', path.read_text("utf-8"), re.MULTILINE))


@pytest.mark.parametrize("path", LOCALES, ids=lambda path: path.stem)
def test_every_language_says_everything(path: Path) -> None:
    english, own = texts(PLUGIN / "data/locale/en-US.ini"), texts(path)
    assert len(LOCALES) == 7
    assert list(own) == list(english)
    assert len(path.read_text("utf-8").splitlines()) == len(own)
    for key, text in own.items():
        assert text.strip(), key
        assert text.count("{}") == english[key].count("{}"), key


def test_the_code_asks_for_texts_that_there_are() -> None:
    code = "".join(path.read_text("utf-8") for path in PLUGIN.glob("src/*.c"))
    keys = set(texts(PLUGIN / "data/locale/en-US.ini"))
    asked = re.findall(
        r'(?:T|obs_module_text|say|say_number)\((?:\w*text, |&text, )?"([\w.]+)"', code
    )
    assert len(asked) > 20
    assert set(asked) <= keys


def test_versions_agree() -> None:
    version = json.loads((PLUGIN / "buildspec.json").read_text())["version"]
    assert json.loads((PLUGIN / "data/manifest.json").read_text())["version"] == version
    assert f'version = "{version}"' in (ROOT / "pyproject.toml").read_text("utf-8")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_c_is_licensed_and_readable(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert lines[0] == "/* SPDX-License-Identifier: GPL-2.0-or-later */"
    assert len(lines) <= LONGEST_FILE
    begun = 0
    for number, line in enumerate(lines):
        if line == "{":
            begun = number
        if line == "}":
            assert number - begun < LONGEST_FUNCTION, f"{path.name}:{begun}"
