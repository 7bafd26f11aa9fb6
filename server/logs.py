"""Logs: lines for people or for machines, and the audit log of who did what. Never any audio."""

import json
import logging
import sys
from contextlib import suppress
from datetime import datetime, timezone
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

from server.config import ServerConfig
from stream.errors import ConfigError

ROOT = "timbral"
AUDIT = "timbral.audit"
FACTS = "facts"  # the attribute of a record that holds them


class Lines(logging.Formatter):
    """One line for people: time, level, what happened, and its facts as `name=value`.

    Law: a record is one line, whatever a client puts into its facts.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line; an exception's traceback follows it."""
        facts = "".join(f" {name}={_shown(value)}" for name, value in _facts(record).items())
        when = _time(record).strftime("%H:%M:%S")
        line = f"{when} {record.levelname.lower():7} {_flat(record.getMessage())}{facts}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonLines(logging.Formatter):
    """One JSON object a line: `time` (UTC, ISO 8601), `level`, `logger`, `event`, and the facts.

    Law: a record is one line that `json.loads` reads, whatever is in it.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        told: dict[str, Any] = {
            "time": _time(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_facts(record),
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


class AuditFile(WatchedFileHandler):
    """The file of the audit log, which may be moved away at any time.

    Law: that it cannot be written, on a full disk say, keeps nobody from anything: it is told in
    the log, once, and what follows is written as soon as that can be.
    """

    def __init__(self, path: Path) -> None:
        self._failing: OSError | None = None
        super().__init__(path, encoding="utf-8")

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or say why not."""
        before, self._failing = self._failing, None
        try:
            super().emit(record)
        except OSError:  # that it cannot be opened again; the standard library lets it out
            self.handleError(record)
        log = logging.getLogger(f"{ROOT}.server")
        if self._failing is not None and before is None:
            why = self._failing.strerror or self._failing
            log.error("The audit log %s cannot be written: %s.", self.baseFilename, why)
        elif self._failing is None and before is not None:
            log.warning("The audit log %s is written again; lines are missing.", self.baseFilename)

    def handleError(self, record: logging.LogRecord) -> None:
        """An `OSError` is for `emit`; any other is a fault of ours."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            self._failing = error
            with suppress(OSError):
                self.close()  # what it still holds would fail every time; `emit` opens it again
        else:
            super().handleError(record)


class Audit:
    """Who did what: connections refused, streams, voices that came and went, the server itself.

    Law: no audio, no token, and nothing that was said in a stream is ever among the facts.
    """

    def __init__(self) -> None:
        self._log = logging.getLogger(AUDIT)

    def say(self, event: str, **facts: Any) -> None:
        """Something happened; facts that are None are left out."""
        known = {name: value for name, value in facts.items() if value is not None}
        self._log.info(event, extra={FACTS: known})


def open_logs(config: ServerConfig) -> None:
    """Send what the server logs to the standard error output, and the audit log to its file.

    Raises `ConfigError` when the file cannot be opened.
    """
    lines = JsonLines() if config.log == "json" else Lines()
    root, audit = logging.getLogger(ROOT), logging.getLogger(AUDIT)
    close_logs()
    _attach(root, logging.StreamHandler(sys.stderr), lines)
    root.setLevel(config.log_level.upper())
    root.propagate = False
    if config.audit is not None:
        _attach(audit, _appending(config.audit), JsonLines())
        audit.setLevel("INFO")
        audit.propagate = False


def close_logs() -> None:
    """Take back what `open_logs` did."""
    for name in (AUDIT, ROOT):
        log = logging.getLogger(name)
        for handler in list(log.handlers):
            log.removeHandler(handler)
            handler.close()
        log.propagate = True
        log.setLevel(logging.NOTSET)


def _attach(log: logging.Logger, handler: logging.Handler, lines: logging.Formatter) -> None:
    handler.setFormatter(lines)
    log.addHandler(handler)


def _appending(path: Path) -> logging.Handler:
    """A file that only its owner may read."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        return AuditFile(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}.") from error


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    return getattr(record, FACTS, {})


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, timezone.utc)


def _shown(value: Any) -> str:
    """A value that is one word as it is, any other as JSON."""
    text = str(value)
    plain = text.isascii() and text.isprintable() and not set(text) & set(' "=') and text
    return text if plain else json.dumps(text)


def _flat(text: str) -> str:
    return " ".join(text.splitlines())
