"""The table of jobs, which outlives its processes."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline.jobs.job import Job
from offline.jobs.store import JobStore
from stream.errors import ConfigError, JobNotFound

ROOT = Path(__file__).parents[3]


def add(store: JobStore, owner: str = "ada", name: str = "song") -> Job:
    return store.add(owner, name, Path("a"), Path("b"), {"voice": "starter"})


def test_what_was_put_in_is_found_by_another_process(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "deep" / "jobs.sqlite3", lambda: 7.0)
    job = add(store, name="Zoë")
    store.close()
    code = (
        "import sys; from pathlib import Path; from offline.jobs.store import JobStore;"
        "(job,) = JobStore(Path(sys.argv[1])).jobs(); print(job.id, job.owner, job.made)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(store.path)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.split() == [job.id, "ada", "7.0"]
    assert (job.state, job.name, job.settings, job.tries) == (
        *("waiting", "Zoë"),
        *({"voice": "starter"}, 0),
    )
    assert os.name != "posix" or store.path.stat().st_mode & 0o777 == 0o600


def test_no_job_is_taken_twice_by_threads_that_take_at_once(tmp_path: Path) -> None:
    stores = [JobStore(tmp_path / "jobs.sqlite3") for _ in range(4)]
    wanted = {add(stores[0]).id for _ in range(40)}
    taken: list[str] = []

    def take(store: JobStore) -> None:
        while job := store.take():
            taken.append(job.id)

    threads = [threading.Thread(target=take, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(wanted)
    for store in stores:
        store.close()


def test_who_has_less_running_goes_first(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.sqlite3")
    for owner in ("ada", "ada", "ada", "ben"):
        add(store, owner)
    owners = [job.owner for job in iter(store.take, None) if job]
    assert owners == ["ada", "ben", "ada", "ada"]
    store.close()


CHANGES = ("take", "cancel", "back", "done", "failed", "report", "forget")


@given(st.lists(st.sampled_from(CHANGES), max_size=12))
@settings(max_examples=30)
def test_what_has_ended_stays_as_it_is(changes: list[str]) -> None:
    folder = TemporaryDirectory()
    store = JobStore(Path(folder.name) / "jobs.sqlite3")
    identity, ended = add(store).id, None
    try:
        for change in changes:
            if change == "take":
                store.take()
            elif change == "cancel":
                store.cancel(identity)
            elif change == "back":
                store.back(identity)
            elif change == "report":
                store.report(identity, {"read": (1, 2)})
            elif change == "forget":
                store.forget(identity)
            elif change == "done":
                store.end(identity, "done", seconds=3.0)
            else:
                store.end(identity, "failed", "why")
            job = store.job(identity)
            assert ended is None or job == ended
            ended = job if job.over else None
            assert job.over == (job.ended is not None)
    except JobNotFound:
        assert ended is not None
    finally:
        store.close()
        folder.cleanup()


def test_each_job_that_was_done_is_charged_once(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.sqlite3")
    for state in ("done", "failed", "done"):
        add(store)
        taken = store.take()
        assert taken
        store.end(taken.id, state, seconds=5.0)
    assert [job.seconds for job in store.uncharged()] == [5.0, 5.0]
    store.close()
    again = JobStore(store.path)
    assert again.uncharged() == []
    again.close()


def test_a_file_that_is_no_table_of_ours_is_told(tmp_path: Path) -> None:
    bad = tmp_path / "bad.sqlite3"
    bad.write_bytes(b"not a table" * 200)
    with pytest.raises(ConfigError, match=r"bad\.sqlite3 cannot be used"):
        JobStore(bad)
    newer = tmp_path / "newer.sqlite3"
    db = sqlite3.connect(newer)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(ConfigError, match="another version"):
        JobStore(newer)


def test_what_is_told_of_a_job_names_no_path(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.sqlite3")
    job = store.add("ada", "song", tmp_path / "song.wav", tmp_path / "cover.flac", {})
    assert str(tmp_path) not in json.dumps(job.told())
    with pytest.raises(JobNotFound, match="No job 'x'"):
        store.job("x")
    store.close()
