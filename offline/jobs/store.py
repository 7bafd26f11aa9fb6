"""The table of jobs: one file of SQLite, which outlives every process that looks at it."""

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from offline.jobs.job import ENDED, Job, State, Steps
from stream.errors import ConfigError, JobNotFound

FORMAT = 1
WAIT_SECONDS = 10.0  # for another process that writes
TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    settings TEXT NOT NULL,
    made REAL NOT NULL,
    began REAL,
    ended REAL,
    steps TEXT NOT NULL DEFAULT '{}',
    why TEXT NOT NULL DEFAULT '',
    seconds REAL NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    stop INTEGER NOT NULL DEFAULT 0,
    charged INTEGER NOT NULL DEFAULT 0
)
"""
NEXT = """
SELECT id FROM jobs AS mine WHERE state = 'waiting' ORDER BY
    (SELECT count(*) FROM jobs AS theirs WHERE theirs.owner = mine.owner
        AND theirs.state = 'running'), number
LIMIT 1
"""


class JobStore:
    """The jobs in the file at `path`, which is made when there is none.

    now  tells the time, s since 1970

    Laws: a change is whole or not at all, whatever process is killed when; of several that take,
    no two get the same job; what has ended stays as it is; a job that waits is taken sooner or
    later, and of two owners the one of whom less is running goes first.

    Methods raise `ConfigError` when the file cannot be used, and `JobNotFound`. They may be called
    from any thread.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self.path = path
        self._now = now
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._db = sqlite3.connect(
                path, WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise _unusable(path, error) from error
        try:
            self._db.row_factory = sqlite3.Row
            with self._changing() as db:
                found = db.execute("PRAGMA user_version").fetchone()[0]
                if found not in (0, FORMAT):
                    raise ConfigError(f"{path} is of another version of timbral: move it away.")
                db.execute(TABLE)
                db.execute(f"PRAGMA user_version = {FORMAT}")
            self._db.execute("PRAGMA journal_mode = WAL")
        except (ConfigError, sqlite3.Error) as error:
            self._db.close()
            raise error if isinstance(error, ConfigError) else _unusable(path, error) from error

    def close(self) -> None:
        """Leave the file."""
        with self._lock:
            self._db.close()

    def add(
        self,
        owner: str,
        name: str,
        source: Path,
        target: Path,
        settings: Mapping[str, Any],
        *,
        identity: str = "",
    ) -> Job:
        """A new job, which waits; `identity` is its id, by default a fresh one."""
        chosen = identity or new_id()
        with self._changing() as db:
            db.execute(
                "INSERT INTO jobs (id, owner, name, state, source, target, settings, made)"
                " VALUES (?, ?, ?, 'waiting', ?, ?, ?, ?)",
                (
                    *(chosen, owner, name, str(source), str(target)),
                    *(json.dumps(dict(settings), allow_nan=False), self._now()),
                ),
            )
        return self.job(chosen)

    def job(self, identity: str) -> Job:
        """The job of that id."""
        found = self._rows("SELECT * FROM jobs WHERE id = ?", identity)
        if not found:
            raise JobNotFound(identity)
        return found[0]

    def jobs(self, owner: str | None = None) -> list[Job]:
        """All of an owner, or of all; the newest first."""
        whose = ("WHERE owner = ?", owner) if owner is not None else ("",)
        return self._rows(f"SELECT * FROM jobs {whose[0]} ORDER BY number DESC", *whose[1:])

    def take(self) -> Job | None:
        """One that waits, which is running from now on; None when none does."""
        with self._changing() as db:
            found = db.execute(NEXT).fetchone()
            if found is not None:
                db.execute(
                    "UPDATE jobs SET state = 'running', began = ?, tries = tries + 1 WHERE id = ?",
                    (self._now(), found["id"]),
                )
        return self.job(found["id"]) if found is not None else None

    def report(self, identity: str, steps: Steps) -> None:
        """How far the steps of a running job are."""
        self._change(
            "UPDATE jobs SET steps = ? WHERE id = ? AND state = 'running'",
            *(json.dumps(dict(steps)), identity),
        )

    def end(self, identity: str, state: State, why: str = "", seconds: float = 0.0) -> None:
        """A running job has come to this end."""
        self._change(
            "UPDATE jobs SET state = ?, why = ?, seconds = ?, ended = ?"
            " WHERE id = ? AND state = 'running'",
            *(state, why, seconds, self._now(), identity),
        )

    def back(self, identity: str, *, counts: bool = True) -> None:
        """A running job waits again; it counts as a try, or does not."""
        self._change(
            "UPDATE jobs SET state = 'waiting', tries = tries - ? WHERE id = ?"
            " AND state = 'running'",
            *(0 if counts else 1, identity),
        )

    def cancel(self, identity: str) -> Job:
        """It is not wanted any more: cancelled if it waits, told to end if it runs."""
        self.job(identity)
        with self._changing() as db:
            db.execute(
                "UPDATE jobs SET state = 'cancelled', ended = ? WHERE id = ? AND state = 'waiting'",
                (self._now(), identity),
            )
            db.execute("UPDATE jobs SET stop = 1 WHERE id = ? AND state = 'running'", (identity,))
        return self.job(identity)

    def forget(self, identity: str) -> None:
        """Remove a job that has ended."""
        self._change(f"DELETE FROM jobs WHERE id = ? AND state IN {ENDED}", identity)

    def running(self) -> list[Job]:
        """Those that run, the oldest first."""
        return self._rows("SELECT * FROM jobs WHERE state = 'running' ORDER BY number")

    def uncharged(self) -> list[Job]:
        """Those that were done since this was last asked: each is given once, for ever."""
        with self._changing() as db:
            rows = db.execute("SELECT * FROM jobs WHERE state = 'done' AND charged = 0").fetchall()
            db.execute("UPDATE jobs SET charged = 1 WHERE state = 'done' AND charged = 0")
        return [_job(row) for row in rows]

    def _rows(self, query: str, *values: object) -> list[Job]:
        try:
            with self._lock:
                return [_job(row) for row in self._db.execute(query, values).fetchall()]
        except (sqlite3.Error, ValueError) as error:
            raise _unusable(self.path, error) from error

    def _change(self, statement: str, *values: object) -> None:
        with self._changing() as db:
            db.execute(statement, values)

    @contextmanager
    def _changing(self) -> Generator[sqlite3.Connection]:
        """One change of the file: all of it, or nothing."""
        try:
            with self._lock:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                    self._db.execute("COMMIT")
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
        except sqlite3.Error as error:
            raise _unusable(self.path, error) from error


def new_id() -> str:
    """An id that nobody can guess, and that may be part of an address and a file's name."""
    return secrets.token_hex(8)


def _job(row: sqlite3.Row) -> Job:
    names = [name for name in row.keys() if name not in {"number", "charged"}]  # noqa: SIM118
    facts: dict[str, Any] = {name: row[name] for name in names}
    steps = json.loads(row["steps"])
    facts |= {
        "source": Path(row["source"]),
        "target": Path(row["target"]),
        "settings": json.loads(row["settings"]),
        "steps": {name: (now[0], now[1]) for name, now in steps.items()},
        "stop": bool(row["stop"]),
    }
    return Job(**facts)


def _unusable(path: Path, error: Exception) -> ConfigError:
    return ConfigError(f"The jobs in {path} cannot be used: {error}. Is the disk full, or damaged?")
