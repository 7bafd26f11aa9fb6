"""What whoever waits for a training sees, and how they stop it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from offline.train.loop import Show


@contextmanager
def steps_shown(name: str) -> Generator[Show, None, None]:
    """A line with the step, the losses and the time that is left, on the error output."""
    columns = (
        TextColumn("Training {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[losses]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=None, losses="")

        def show(step: int, steps: int | None, told: Mapping[str, float]) -> None:
            losses = " ".join(f"{key} {value:.3g}" for key, value in told.items())
            bar.update(task, completed=step, total=steps, losses=losses)

        yield show


@contextmanager
def stoppable() -> Generator[Callable[[], bool], None, None]:
    """Whether somebody wishes to stop: Ctrl-C or a request to end. The second one stops at once."""
    wished: list[int] = []

    def wish(number: int, frame: object) -> None:
        if wished:
            raise KeyboardInterrupt
        wished.append(number)

    before: dict[int, Any] = {
        number: signal.signal(number, wish) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield lambda: bool(wished)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
