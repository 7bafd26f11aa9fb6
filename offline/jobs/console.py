"""What `timbral jobs` does."""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from offline.cover.batch import Request, is_address, sources_of, targets_of
from offline.cover.settings import read_settings
from offline.jobs.cluster import RayExecutor
from offline.jobs.covers import make, settings_of
from offline.jobs.job import Executor, Job, Work
from offline.jobs.local import CORES_A_JOB, LocalExecutor
from offline.jobs.queue import LOOK_SECONDS, Queue
from offline.jobs.runner import Runner
from stream.errors import ConfigError
from stream.home import default_home

OWNER = "(local)"  # as of a server that asks for no token


@contextmanager
def looking() -> Generator[Runner]:
    """The jobs of this home, to look at and to put some in."""
    with closing(Runner(default_home(), working=False)) as runner:
        yield runner


def put(songs: Sequence[str], out: Path, voice: str | None, settings: Path | None) -> list[Job]:
    """New jobs for the songs; raises `ConfigError` and `AudioError`."""
    values: dict[str, Any] = read_settings(settings) if settings else {}
    if voice is not None:
        values["voice"] = voice
    checked, ending = settings_of(values)
    sources = sources_of(songs)
    if any(map(is_address, sources)):
        raise ConfigError("Jobs are made of files: fetch what is elsewhere first.")
    folder = out.absolute()
    request = Request(
        sources=sources, out=str(folder), single=False, format=ending, settings=checked
    )
    folder.mkdir(parents=True, exist_ok=True)
    with looking() as runner:
        return [
            runner.store.add(OWNER, Path(source).name, Path(source), target, values)
            for source, target in zip(sources, targets_of(request), strict=True)
        ]


def line(job: Job) -> str:
    """A job for people, in one line.

    >>> steps = {"read": (1, 1), "mix": (1, 4)}
    >>> line(Job("07", "ada", "song.wav", "running", Path(), Path(), {}, 0.0, steps=steps))
    '07  running    song.wav  mix 25 %'
    """
    under_way = {name: now for name, now in job.steps.items() if now[0] < now[1]}
    shares = {name: 100 * done // most for name, (done, most) in under_way.items()}
    steps = ", ".join(f"{name} {share} %" for name, share in shares.items())
    facts = {"running": steps, "failed": job.why, "done": str(job.target)}.get(job.state, "")
    return f"{job.id}  {job.state:9}  {job.name}  {facts}".rstrip()


def work(
    device: str, ray: str | None, told: Callable[[Job], Any], work_of: Work = make
) -> list[Job]:
    """Make all that waits; those that failed. `told` hears of each that is over.

    Raises `ConfigError` when another process makes them already, or without the cluster.
    """
    home = default_home()
    with looking() as runner:
        local = LocalExecutor(work_of)
        executor: Executor = RayExecutor(work_of, ray) if ray else local
        threads = CORES_A_JOB if ray else local.threads
        queue = Queue(runner.store, executor, home, device=device, threads=threads)
        left = {job.id for job in runner.jobs() if not job.over}
        ended: list[Job] = []
        try:
            while left or any(job.state == "waiting" for job in runner.jobs()):
                if not queue.look() and not queue.leading:
                    raise ConfigError("Another process makes the jobs of this home already.")
                now = {job.id: job for job in runner.jobs()}
                over = [now[each] for each in left if each in now and now[each].over]
                for job in over:
                    told(job)
                ended += over
                left = {each for each, job in now.items() if not job.over}
                time.sleep(LOOK_SECONDS)
        finally:
            queue.close()
    return [job for job in ended if job.state == "failed"]
