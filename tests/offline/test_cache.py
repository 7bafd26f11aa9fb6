"""Tests of what steps made before."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from offline.cache import META, Cache, Step
from stream.errors import ConfigError

STEP = Step("mix", 1, {"gain_db": -3.0}, ("a1",), ("b2",))
OTHERS = (
    replace(STEP, name="mixdown"),
    replace(STEP, version=2),
    replace(STEP, parameters={"gain_db": -3.5}),
    replace(STEP, parameters={"gain_db": -3.0, "pan": 0.0}),
    replace(STEP, inputs=("a2",)),
    replace(STEP, inputs=("a1", "a1")),
    replace(STEP, models=("b3",)),
    replace(STEP, inputs=("b2",), models=("a1",)),
)


def writes(text: str) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        (folder / "out.txt").write_text(text)

    return build


def read(folder: Path) -> str:
    return (folder / "out.txt").read_text()


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def test_what_was_made_is_found_and_not_made_again(cache: Cache) -> None:
    assert cache.find(STEP) is None
    assert read(cache.make(STEP, writes("first"))) == "first"
    assert read(cache.make(STEP, writes("second"))) == "first"
    found = cache.find(replace(STEP))
    assert found is not None
    assert read(found) == "first"


@pytest.mark.parametrize("other", OTHERS)
def test_whatever_a_step_depends_on_makes_it_another(cache: Cache, other: Step) -> None:
    cache.make(STEP, writes("first"))
    assert cache.find(other) is None
    assert read(cache.make(other, writes("other"))) == "other"


def test_the_order_of_parameters_makes_no_other_step() -> None:
    one = Step("mix", 1, {"a": 1, "b": {"c": 2, "d": (3, 4)}})
    assert one.key == Step("mix", 1, {"b": {"d": [3, 4], "c": 2}, "a": 1}).key


def test_no_number_is_no_parameter() -> None:
    with pytest.raises(ValueError, match="JSON"):
        _ = Step("mix", 1, {"gain_db": float("nan")}).key


def test_a_step_that_fails_leaves_nothing(cache: Cache) -> None:
    def fails(folder: Path) -> None:
        (folder / "out.txt").write_text("half")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        cache.make(STEP, fails)
    assert cache.find(STEP) is None
    assert [path for path in cache.folder.rglob("*") if path.is_file()] == []
    assert read(cache.make(STEP, writes("whole"))) == "whole"


KILLED = """
import sys, time
from pathlib import Path
from offline.cache import Cache, Step

def build(folder):
    (folder / "out.txt").write_text("half")
    print("begun", flush=True)
    time.sleep(60)

Cache(Path(sys.argv[1])).make(Step("mix", 1, {"gain_db": -3.0}, ("a1",), ("b2",)), build)
"""


def test_a_killed_process_leaves_no_entry_and_no_lock(cache: Cache) -> None:
    command = [sys.executable, "-c", KILLED, str(cache.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        freed = cache.prune(0)  # what is being made stays
        assert freed == 0
        assert list(cache.folder.glob("making/*/out.txt"))
        process.send_signal(signal.SIGKILL)
    assert cache.find(STEP) is None
    cache.prune(10**9)
    assert list(cache.folder.glob("making/*")) == []
    assert read(cache.make(STEP, writes("whole"))) == "whole"


def test_of_many_who_want_the_same_one_makes_it(cache: Cache) -> None:
    made: list[int] = []
    results: list[str] = []

    def build(folder: Path) -> None:
        made.append(1)
        time.sleep(0.02)
        (folder / "out.txt").write_text("once")

    def ask() -> None:
        results.append(read(cache.make(STEP, build)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (made, results) == ([1], ["once"] * 8)
    assert list((cache.folder / "locks").iterdir()) == []


def test_a_step_may_make_another(cache: Cache) -> None:
    inner = replace(STEP, name="inner")
    outer = cache.make(STEP, lambda out: writes(read(cache.make(inner, writes("deep"))))(out))
    assert read(outer) == "deep"


def test_pruning_takes_what_was_used_longest_ago(cache: Cache) -> None:
    steps = [replace(STEP, version=version) for version in range(4)]
    for age, step in enumerate(steps):
        entry = cache.make(step, writes("0123456789"))
        os.utime(entry / META, (0.0, time.time() - 1000 + age))
    cache.find(steps[0])
    assert cache.prune(25) == 20
    assert [cache.has(step) for step in steps] == [True, False, False, True]
    assert cache.prune(0, spare_seconds=500.0) == 10
    assert [cache.has(step) for step in steps] == [True, False, False, False]
    assert cache.prune(0) == 10
    assert cache.info().entries == 0


def test_a_look_does_not_count_as_use(cache: Cache) -> None:
    entry = cache.make(STEP, writes("1"))
    os.utime(entry / META, (5.0, 5.0))
    assert cache.has(STEP)
    assert (entry / META).stat().st_mtime == 5.0


def test_info_counts_by_step(cache: Cache) -> None:
    assert (cache.info().entries, cache.info().bytes) == (0, 0)
    cache.make(STEP, writes("12345"))
    cache.make(replace(STEP, version=2), writes("123"))
    cache.make(replace(STEP, name="f0"), writes("1"))
    assert cache.info().by_step == {"f0": (1, 1), "mix": (2, 8)}


@pytest.mark.parametrize("harm", ["alter", "remove", "add"])
def test_a_damaged_entry_is_found_out_and_dropped(cache: Cache, harm: str) -> None:
    sound = cache.make(replace(STEP, name="sound"), writes("12345"))
    entry = cache.make(STEP, writes("12345"))
    assert cache.verify() == ()
    if harm == "alter":
        (entry / "out.txt").write_text("12346")
    elif harm == "remove":
        (entry / "out.txt").unlink()
    else:
        (entry / "more.txt").touch()
    assert cache.verify() == (STEP.key,)
    assert cache.find(STEP) is None
    assert read(sound) == "12345"


def test_what_is_forgotten_is_made_anew(cache: Cache) -> None:
    cache.make(STEP, writes("old"))
    cache.forget(STEP)
    assert read(cache.make(STEP, writes("new"))) == "new"


def test_a_full_disk_is_told_with_a_way_out(cache: Cache) -> None:
    def build(_folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ConfigError, match=r"no room left.*timbral cache prune"):
        cache.make(STEP, build)


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written to"):
        Cache(tmp_path / "file" / "cache").make(STEP, writes("x"))


def test_an_error_of_the_step_itself_is_not_blamed_on_the_cache(cache: Cache) -> None:
    def build(_folder: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/song.wav")

    with pytest.raises(PermissionError):
        cache.make(STEP, build)


def test_it_lies_in_the_home_unless_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIMBRAL_HOME", str(tmp_path))
    assert Cache().folder == tmp_path / "cache"
