"""Jobs on the machines of a Ray cluster."""

import os
import time
from pathlib import Path

import labour
import pytest

from offline.jobs.cluster import RayExecutor
from offline.jobs.job import Job
from offline.jobs.queue import Queue
from offline.jobs.store import JobStore

MOST_SECONDS = 120.0
HERE = Path(labour.__file__).parent
FOLDERS = [*filter(None, [os.environ.get("PYTHONPATH")]), str(HERE), str(HERE.parent)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_two_workers_do_jobs_side_by_side_and_end_what_is_cancelled(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'timbral[cluster]'")
    store = JobStore(tmp_path / "jobs" / "jobs.sqlite3")
    executor = RayExecutor(
        labour.labour,
        address=None,
        cores=1,
        num_cpus=2,
        include_dashboard=False,
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(FOLDERS)}},
    )
    queue = Queue(store, executor, tmp_path)
    for words in ("wait", "wait", "bad", "dies once"):
        song = tmp_path / f"{len(store.jobs())}.txt"
        song.write_text(words)
        store.add("ada", words, song, song.with_suffix(".out"), {})

    def turn(enough: int) -> list[Job]:
        """Until so many have ended, and everything that may run does."""
        end = time.monotonic() + MOST_SECONDS
        while True:
            queue.look()
            jobs = store.jobs()[::-1]
            if sum(job.over for job in jobs) >= enough and len(labour.begun(tmp_path)) >= 2:
                return jobs
            assert time.monotonic() < end, [job.told() for job in jobs]
            time.sleep(0.05)

    try:
        assert executor.places == 2
        jobs = turn(0)
        assert [job.state for job in jobs[:3]] == ["running", "running", "waiting"]
        assert len({process for process, _ in labour.begun(tmp_path)}) == 2
        store.cancel(jobs[0].id)
        jobs = turn(3)
        assert [job.state for job in jobs] == ["cancelled", "running", "failed", "done"]
        assert jobs[3].tries == 2
        assert jobs[2].why.endswith("2.txt holds no sound.")
        (tmp_path / "go").touch()
        done = turn(4)[1]
        assert (done.state, done.seconds, done.steps["work"]) == ("done", 60.0, (1, 1))
    finally:
        queue.close()
        store.close()
