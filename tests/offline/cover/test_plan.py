"""Tests of plans of steps, and of running them."""

import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from offline.cache import Cache, Step
from offline.cover.plan import Build, Plan, Progress, Task, step_after
from offline.cover.run import run
from stream.errors import Cancelled, ConfigError


class Kitchen:
    """Makes tasks that write down what they read, and counts what was done."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.begun: list[str] = []
        self.builds: dict[str, Build] = {}

    def task(self, name: str, *needs: Task, value: int = 0) -> Task:
        def build(folders: Mapping[str, Path], out: Path, progress: Progress) -> None:
            self.begun.append(name)
            if name in self.builds:
                self.builds[name](folders, out, progress)
            read = [(folders[need.name] / "out").read_text() for need in needs]
            (out / "out").write_text(f"{name}{value}({','.join(read)})")
            self.done.append(name)

        step = step_after(name, 1, {"value": value}, needs)
        return Task(name, step, tuple(need.name for need in needs), build)


@pytest.fixture
def kitchen() -> Kitchen:
    return Kitchen()


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path)


def song(kitchen: Kitchen, *, gain: int = 0, tune: int = 0) -> Plan:
    read = kitchen.task("read")
    voice, band = kitchen.task("voice", read), kitchen.task("band", read)
    sung = kitchen.task("sung", voice, value=tune)
    return Plan((read, voice, band, sung, kitchen.task("mix", sung, band, value=gain)))


def result(folders: Mapping[str, Path], name: str = "mix") -> str:
    return (folders[name] / "out").read_text()


def test_everything_runs_once_after_what_it_needs(kitchen: Kitchen, cache: Cache) -> None:
    folders = run(song(kitchen), cache, ["mix"], workers=3)
    assert result(folders) == "mix0(sung0(voice0(read0())),band0(read0()))"
    assert sorted(kitchen.done) == ["band", "mix", "read", "sung", "voice"]
    assert kitchen.done[0] == "read"
    assert kitchen.done[-1] == "mix"


def test_a_second_run_does_only_what_its_changes_touch(kitchen: Kitchen, cache: Cache) -> None:
    run(song(kitchen), cache, ["mix"])
    kitchen.done.clear()
    run(song(kitchen), cache, ["mix"])
    assert kitchen.done == []
    run(song(kitchen, gain=1), cache, ["mix"])
    assert kitchen.done == ["mix"]
    kitchen.done.clear()
    run(song(kitchen, gain=1, tune=1), cache, ["mix"])
    assert kitchen.done == ["sung", "mix"]


def test_what_only_finished_steps_need_is_not_made_again(kitchen: Kitchen, cache: Cache) -> None:
    plan = song(kitchen)
    run(plan, cache, ["mix"])
    cache.forget(plan.task("voice").step)
    assert plan.missing(cache, ["mix"]) == ()
    cache.forget(plan.task("mix").step)
    assert [task.name for task in plan.missing(cache, ["mix"])] == ["mix"]
    cache.forget(plan.task("sung").step)
    assert [task.name for task in plan.missing(cache, ["mix"])] == ["voice", "sung", "mix"]


def test_a_goal_in_the_middle_runs_no_further(kitchen: Kitchen, cache: Cache) -> None:
    folders = run(song(kitchen), cache, ["voice"])
    assert kitchen.done == ["read", "voice"]
    assert result(folders, "voice") == "voice0(read0())"


def test_steps_that_do_not_need_each_other_run_side_by_side(kitchen: Kitchen, cache: Cache) -> None:
    meet = threading.Barrier(2, timeout=20.0)

    def waits(*_: object) -> None:
        meet.wait()

    kitchen.builds |= {"voice": waits, "band": waits}
    run(song(kitchen), cache, ["mix"], workers=2)  # with one after the other the barrier breaks
    assert len(kitchen.done) == 5


def test_an_error_ends_the_others_and_keeps_what_was_finished(
    kitchen: Kitchen, cache: Cache
) -> None:
    begun = threading.Event()

    def fails(*_: object) -> None:
        begun.wait(20.0)
        raise ValueError("no band")

    def goes_on(_folders: Mapping[str, Path], _out: Path, progress: Progress) -> None:
        begun.set()
        for second in range(2_000):
            progress(second, 2_000)
            time.sleep(0.01)

    kitchen.builds |= {"band": fails, "voice": goes_on}
    plan = song(kitchen)
    with pytest.raises(ValueError, match="no band"):
        run(plan, cache, ["mix"], workers=2)
    assert kitchen.done == ["read"]
    kitchen.builds.clear()
    kitchen.done.clear()
    run(plan, cache, ["mix"])
    assert "read" not in kitchen.done
    assert "mix" in kitchen.done


def test_control_c_ends_all_and_the_next_run_goes_on(kitchen: Kitchen, cache: Cache) -> None:
    def interrupted(_folders: Mapping[str, Path], _out: Path, progress: Progress) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        for second in range(2_000):
            progress(second, 2_000)
            time.sleep(0.01)

    kitchen.builds["sung"] = interrupted
    plan = song(kitchen)
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # runners in parallel ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            run(plan, cache, ["sung"], workers=2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert kitchen.done == ["read", "voice"]
    kitchen.builds.clear()
    run(plan, cache, ["mix"], workers=2)
    assert sorted(kitchen.done[2:]) == ["band", "mix", "sung"]


class Impatient:
    """A watcher that wants no more once a task is half done."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, int]] = []
        self.plans: list[tuple[tuple[str, ...], tuple[str, ...]]] = []

    def planned(self, missing: tuple[str, ...], kept: tuple[str, ...]) -> None:
        self.plans.append((missing, kept))

    def progress(self, name: str, done: int, total: int) -> None:
        self.told.append((name, done, total))
        if total == 2 and done == 1:
            raise Cancelled("enough")


def test_a_watcher_is_told_and_may_end_it(kitchen: Kitchen, cache: Cache) -> None:
    kitchen.builds["sung"] = lambda _folders, _out, progress: progress(1, 2)
    plan, watcher = song(kitchen), Impatient()
    run(plan, cache, ["voice"], watcher=watcher)
    assert watcher.plans == [(("read", "voice"), ())]
    assert watcher.told == [("read", 0, 0), ("read", 1, 1), ("voice", 0, 0), ("voice", 1, 1)]
    with pytest.raises(Cancelled):
        run(plan, cache, ["voice", "mix"], watcher=watcher)
    assert watcher.plans[1][1] == ("voice",)
    assert not cache.has(plan.task("sung").step)


def test_a_step_that_there_is_not_is_told(kitchen: Kitchen) -> None:
    with pytest.raises(ConfigError, match=r"no step 'dance' here\. There are: read, voice"):
        song(kitchen).task("dance")


def test_a_plan_out_of_order_is_refused() -> None:
    def nothing(*_: object) -> None:
        pass

    with pytest.raises(ValueError, match="before what it needs"):
        Plan((Task("mix", Step("mix", 1), ("read",), nothing),))
