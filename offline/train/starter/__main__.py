"""`python -m offline.train.starter`: makes the starter voices, step by step.

Each step leaves its result in the work folder and is passed over when that is there already, so a
run that was stopped goes on where it was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer

from offline.train.export import export_student
from offline.train.starter import distil, speech, target, teacher, voice
from offline.train.student import Student
from stream.models.store import PACKAGE

log = logging.getLogger(__name__)

REPOSITORY = Path(__file__).parents[3]
RECORDINGS = REPOSITORY / "tests" / "speech"

Step = Callable[[Path, float, str], object]
"""work folder, minutes of training, device"""

app = typer.Typer(add_completion=False, help=__doc__)
Names = Annotated[list[str] | None, typer.Argument(help="Voices.")]
Work = Annotated[Path, typer.Option(help="Folder for everything that is fetched and made.")]


def export(work: Path) -> None:
    """Put the trained student into the package."""
    student = Student()
    student.load_state_dict(torch.load(work / "student.pt", weights_only=True))
    export_student(student, PACKAGE / "assets" / f"student-{student.shape.features}")


def speak(work: Path) -> None:
    """Let every target read its sentences."""
    for spoken in target.TARGETS:
        target.speak(work, spoken)


def voices(work: Path, minutes: float, device: str) -> None:
    """Train every target's synthesizer and put its bundle into the package."""
    for spoken in target.TARGETS:
        voice.make(work, spoken, minutes, device, PACKAGE / spoken.name)


STEPS: dict[str, Step] = {
    "speech": lambda work, *_: speech.gather(work),
    "teacher": lambda work, *_: teacher.teach(work),
    "student": lambda work, minutes, device: distil.distil(work, minutes, device=device),
    "encoder": lambda work, *_: export(work),
    "targets": lambda work, *_: speak(work),
    "voices": voices,
}


@app.callback(invoke_without_command=True)
def make(
    context: typer.Context,
    work: Work = Path("starter-work"),
    minutes: Annotated[float, typer.Option(help="Training time of each part.")] = 60.0,
    threads: Annotated[int, typer.Option(help="Threads for training.")] = 1,
    device: Annotated[str, typer.Option(help="Where to train: cpu, cuda, cuda:1 ...")] = "cpu",
) -> None:
    """Make the starter voices; a folder WORK/start may hold weights to go on from."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if context.invoked_subcommand is not None:
        return
    torch.set_num_threads(threads)
    for name, step in STEPS.items():
        log.info("step: %s", name)
        step(work, minutes, device)


@app.command()
def evaluate(work: Work = Path("starter-work"), names: Names = None) -> None:
    """Judge voices on the held-out people; by default those of the package."""
    from offline.train.starter import evaluate as judged

    chosen = names or [spoken.name for spoken in target.TARGETS]
    typer.echo(judged.table(judged.evaluate(work, RECORDINGS, chosen)))


@app.command()
def picture(before: Path, after: Path, png: Path) -> None:
    """Draw the spectrograms of a recording and its conversion."""
    from offline.train.starter import picture as drawn

    drawn.picture(before, after, png)


if __name__ == "__main__":
    app()
