"""What a run tells: a line of JSON for each report, and the same as TensorBoard reads it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from offline.train.tensorboard import Scalars

EVENTS, BOARD = "events.jsonl", "tensorboard"


class Journal:
    """`events.jsonl` in a run's folder, one event a line, and a TensorBoard file beside.

    A report: {"kind": "step", "step", "seconds", figures}; an examination: {"kind": "exam", ...}.
    Without `writes` nothing is written: all but the leader of a team.
    """

    def __init__(self, folder: Path, *, writes: bool = True) -> None:
        self.path, self._writes = folder / EVENTS, writes
        self._board = Scalars(folder / BOARD) if writes else None
        self._marks: list[tuple[int, float]] = []

    def tell(self, step: int, seconds: float, figures: Mapping[str, float]) -> None:
        """The figures of the steps since the last report, and the seconds trained so far."""
        self._write("step", step, {"seconds": round(seconds, 3), **figures}, "train")

    def examined(self, step: int, figures: Mapping[str, float]) -> None:
        """What an examination has found."""
        self._write("exam", step, dict(figures), "exam")

    def _write(self, kind: str, step: int, figures: Mapping[str, Any], group: str) -> None:
        if self._board is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, "step": step, **figures}) + "\n")
        for name, value in figures.items():
            self._board.add(f"{group}/{name}", step, float(value), time.time())

    def back_to(self, step: int) -> None:
        """Forget what was told of later steps: they are about to come again."""
        if not self._writes or not self.path.is_file():
            return
        kept = [event for event in events(self.path.parent) if event["step"] <= step]
        draft = self.path.with_suffix(".draft")
        draft.write_text("".join(json.dumps(event) + "\n" for event in kept), "utf-8")
        os.replace(draft, self.path)

    def close(self) -> None:
        """Let go of the files."""
        if self._board is not None:
            self._board.close()


def events(folder: Path) -> list[dict[str, Any]]:
    """All events of the run in `folder`; a line that was cut short by a power cut is left out."""
    path = folder / EVENTS
    if not path.is_file():
        return []
    lines = path.read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]
