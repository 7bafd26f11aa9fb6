"""All that one does with jobs: put in, look, cancel, fetch; the server uses it, and the command."""

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from offline.jobs.covers import guard, make, settings_of, voices_of
from offline.jobs.job import Executor, Job, Work
from offline.jobs.local import LocalExecutor
from offline.jobs.queue import Foreman, Queue, drop_song
from offline.jobs.store import JobStore, new_id
from stream.errors import ConfigError

FOLDER, FILE = "jobs", "jobs.sqlite3"
KEEP_SECONDS = 7 * 24 * 3600.0  # that a job is kept after its end
MOST_KEPT = 50  # ended jobs of one owner; the oldest go first


class Runner:
    """The jobs of a home folder.

    work     what a job is; by default a cover
    device   that covers are made on
    working  whether jobs are done here; else they are only looked at and put in

    Laws: of one owner's ended jobs no more than `MOST_KEPT` stay, and none longer than
    `KEEP_SECONDS`; with a job goes all that lay in its folder.
    """

    def __init__(
        self,
        home: Path,
        *,
        device: str = "auto",
        work: Work = make,
        executor: Executor | None = None,
        working: bool = True,
    ) -> None:
        self.home = home
        self.folder = home / FOLDER
        self.store = JobStore(self.folder / FILE)
        self._foreman: Foreman | None = None
        if working:
            local = LocalExecutor(work)
            queue = Queue(self.store, executor or local, home, device=device, threads=local.threads)
            self._foreman = Foreman(queue)

    @property
    def trouble(self) -> str:
        """Why nothing is done at present; "" when all is well."""
        return self._foreman.trouble if self._foreman else ""

    def voices(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """Who is to sing; raises `ConfigError` for settings that are wrong."""
        return voices_of(settings_of(settings)[0])

    def submit(self, owner: str, song: Path, name: str, settings: Mapping[str, Any]) -> Job:
        """A new job for a stranger: the file `song` is moved away.

        Raises `ConfigError` for settings that are wrong or name what is not here, `VoiceNotFound`.
        """
        wanted, ending = settings_of(settings)
        guard(wanted, self.home)
        self.tidy(owner)
        identity = new_id()
        folder = self.folder / identity
        source = folder / "song" / song.name
        try:
            source.parent.mkdir(parents=True)
            os.replace(song, source)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise ConfigError(f"The song cannot be kept: {error.strerror or error}.") from error
        target = folder / f"cover.{ending}"
        return self.store.add(owner, name, source, target, settings, identity=identity)

    def jobs(self, owner: str | None = None) -> list[Job]:
        """All of an owner, or of all; the newest first."""
        return self.store.jobs(owner)

    def job(self, identity: str) -> Job:
        """By its id; raises `JobNotFound`."""
        return self.store.job(identity)

    def cancel(self, identity: str) -> Job:
        """It is not wanted any more; one that has ended stays as it is."""
        job = self.store.cancel(identity)
        if job.state == "cancelled":
            drop_song(self.folder, job)
        return job

    def forget(self, identity: str) -> None:
        """Drop a job that has ended, with what lies in its folder."""
        job = self.store.job(identity)
        if job.over:
            self.store.forget(identity)
            shutil.rmtree(self.folder / job.id, ignore_errors=True)

    def result(self, identity: str) -> Path | None:
        """The file that came out; None as long as there is none."""
        job = self.store.job(identity)
        return job.target if job.state == "done" and job.target.is_file() else None

    def uncharged(self) -> list[Job]:
        """Those that were done since this was last asked; each is given once."""
        return self.store.uncharged()

    def tidy(self, owner: str | None = None) -> None:
        """Forget what ended long ago; of `owner`, also what is more than is kept."""
        before = time.time() - KEEP_SECONDS
        ended = [job for job in self.jobs(owner) if job.over]
        old = [job for job in ended if (job.ended or job.made) < before]
        for job in {*(job.id for job in old), *(job.id for job in ended[MOST_KEPT:] if owner)}:
            self.forget(job)

    def close(self) -> None:
        """Stop; what was running waits, and goes on the next time."""
        if self._foreman:
            self._foreman.close()
        self.store.close()
