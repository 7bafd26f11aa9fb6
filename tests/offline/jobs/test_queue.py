"""Jobs are done, in processes of their own, whatever happens to these."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import labour
import pytest

from offline.jobs.job import Job
from offline.jobs.local import LocalExecutor, places_for
from offline.jobs.queue import MOST_TRIES, Claim, Queue
from offline.jobs.runner import Runner
from offline.jobs.store import JobStore

ROOT = Path(__file__).parents[3]
MOST_SECONDS = 60.0


class Works:
    """A folder with jobs and a queue, which is turned by hand."""

    def __init__(self, home: Path, places: int = 2, patience: float = 5.0) -> None:
        self.home = home
        self.store = JobStore(home / "jobs" / "jobs.sqlite3")
        executor = LocalExecutor(labour.labour, places)
        self.queue = Queue(self.store, executor, home, patience=patience)

    def add(self, words: str, owner: str = "ada") -> str:
        folder = self.home / "jobs" / f"{owner}-{len(self.store.jobs())}"
        (folder / "song").mkdir(parents=True)
        source = folder / "song" / "song.txt"
        source.write_text(words, "utf-8")
        target = folder / "cover.txt"
        return self.store.add(owner, words, source, target, {}, identity=folder.name).id

    def turn(self, until: Callable[[], bool]) -> None:
        """Look after the jobs until something is so."""
        end = time.monotonic() + MOST_SECONDS
        while not until():
            assert time.monotonic() < end, [job.told() for job in self.store.jobs()]
            self.queue.look()
            time.sleep(0.02)

    def finish(self) -> dict[str, Job]:
        """All jobs, when all are over."""
        self.turn(lambda: all(job.over for job in self.store.jobs()))
        return {job.name: job for job in self.store.jobs()}


@pytest.fixture
def works(tmp_path: Path) -> Generator[Works]:
    made = Works(tmp_path)
    yield made
    made.queue.close()
    made.store.close()


def test_jobs_are_done_and_their_songs_go(works: Works) -> None:
    works.add("quick")
    works.add("bad")
    ended = works.finish()
    quick, bad = ended["quick"], ended["bad"]
    assert (quick.state, quick.seconds, quick.steps) == (
        *("done", 60.0),
        {"read": (1, 1), "work": (1, 1)},
    )
    assert quick.target.read_text() == "quick"
    assert (bad.state, bad.why) == ("failed", "song.txt holds no sound.")
    assert not quick.source.exists()
    assert not bad.source.exists()


def test_a_song_that_lies_elsewhere_stays(works: Works, tmp_path: Path) -> None:
    song = tmp_path / "mine.txt"
    song.write_text("quick")
    works.store.add("ada", "quick", song, tmp_path / "cover.txt", {})
    assert works.finish()["quick"].state == "done"
    assert song.exists()


def test_a_process_that_dies_is_tried_again_but_not_for_ever(works: Works) -> None:
    works.add("die")
    ended = works.finish()
    assert ended["die"].state == "failed"
    assert f"died {MOST_TRIES} times" in ended["die"].why
    assert len(labour.begun(works.home)) == MOST_TRIES
    (works.home / "died").unlink()
    works.add("dies once")
    assert works.finish()["dies once"].state == "done"


@pytest.mark.parametrize("words", ["wait", "deaf"])
def test_a_running_job_that_is_cancelled_ends(tmp_path: Path, words: str) -> None:
    works = Works(tmp_path, places=1, patience=0.3)
    running, waiting = works.add(words), works.add("quick")
    works.turn(lambda: bool(labour.begun(tmp_path)))
    works.store.cancel(running)
    works.store.cancel(waiting)
    ended = works.finish()
    assert [ended[name].state for name in (words, "quick")] == ["cancelled", "cancelled"]
    assert len(labour.begun(tmp_path)) == 1
    assert not ended[words].target.exists()
    works.queue.close()
    works.store.close()


def test_what_runs_when_the_queue_closes_waits_for_the_next(tmp_path: Path) -> None:
    works = Works(tmp_path)
    works.add("wait")
    works.turn(lambda: bool(labour.begun(tmp_path)))
    works.queue.close()
    (job,) = works.store.jobs()
    assert (job.state, job.tries) == ("waiting", 0)
    (tmp_path / "go").touch()
    assert works.finish()["wait"].state == "done"
    works.queue.close()
    works.store.close()


def test_only_one_queue_works_on_a_folder(works: Works) -> None:
    works.add("quick")
    first, second = Claim(works.home / "jobs"), Claim(works.home / "jobs")
    assert first.hold()
    assert not second.hold()
    works.queue.look()
    assert works.store.jobs()[0].state == "waiting"
    first.release()
    assert works.finish()["quick"].state == "done"


KILLED = """
import sys, time
from pathlib import Path
import labour
from offline.jobs.runner import Runner

if __name__ == "__main__":
    runner = Runner(Path(sys.argv[1]), work=labour.labour)
    time.sleep(120)
"""


@pytest.mark.slow
def test_after_a_kill_the_jobs_go_on_and_no_process_is_left(tmp_path: Path) -> None:
    works = Works(tmp_path)
    works.add("wait")
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    run = subprocess.Popen(
        [sys.executable, script, tmp_path], env=os.environ | {"PYTHONPATH": path}
    )
    try:
        until(lambda: bool(labour.begun(tmp_path)))
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    (worker, _), *_ = labour.begun(tmp_path)
    until(lambda: not alive(worker))
    assert works.store.jobs()[0].state == "running"  # nobody could say otherwise
    (tmp_path / "go").touch()
    ended = works.finish()
    assert (ended["wait"].state, ended["wait"].tries) == ("done", 2)
    works.queue.close()
    works.store.close()


def test_a_runner_works_by_itself_and_takes_the_song(tmp_path: Path) -> None:
    song = tmp_path / "song.txt"
    song.write_text("quick")
    runner = Runner(tmp_path, work=labour.labour)
    job = runner.submit("ada", song, "A song", {"format": "mp3"})
    until(lambda: runner.job(job.id).over)
    assert not song.exists()
    assert runner.result(job.id) == tmp_path / "jobs" / job.id / "cover.mp3"
    assert [done.id for done in runner.uncharged()] == [job.id]
    runner.forget(job.id)
    assert runner.jobs() == []
    assert not (tmp_path / "jobs" / job.id).exists()
    runner.close()


def test_as_many_at_once_as_the_machine_bears() -> None:
    assert places_for(1, 10**9) == 1
    assert places_for(64, 10 * 10**9) == 5
    assert places_for(8, 10**12) == 2


def until(so: Callable[[], bool]) -> None:
    """Wait for it."""
    end = time.monotonic() + MOST_SECONDS
    while not so():
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(process: int) -> bool:
    """Whether it runs; one that only waits for its parent to ask does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
