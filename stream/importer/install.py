"""Folders that appear whole, or not at all."""

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def installing(target: Path) -> Generator[Path]:
    """An empty folder to fill; when nothing is raised, it becomes `target`.

    What was at `target` stays until then, and steps aside for good only when the new one is there.
    """
    beside = target.with_name(f".{target.name}.adding")
    aside = target.with_name(f".{target.name}.old")
    for left_over in (beside, aside):
        shutil.rmtree(left_over, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        yield beside
        if target.exists():
            target.rename(aside)
        try:
            beside.rename(target)
        except OSError:
            if aside.exists():
                aside.rename(target)
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)
