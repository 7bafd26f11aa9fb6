"""`python -m offline.train.starter`: makes the starter voice, step by step.

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
from offline.train.starter import bundle, decoder, distil, prior, speech, target, teacher
from offline.train.student import Student
from stream.models.store import PACKAGE

log = logging.getLogger(__name__)

REPOSITORY = Path(__file__).parents[3]
RECORDINGS = REPOSITORY / "tests" / "speech"

Step = Callable[[Path, float], object]

app = typer.Typer(add_completion=False, help=__doc__)
Work = Annotated[Path, typer.Option(help="Folder for everything that is fetched and made.")]


def export(work: Path) -> None:
    """Put the trained student into the package."""
    student = Student()
    student.load_state_dict(torch.load(work / "student.pt", weights_only=True))
    export_student(student, PACKAGE / "assets" / f"student-{student.shape.features}")


STEPS: dict[str, Step] = {
    "speech": lambda work, _: speech.gather(work),
    "teacher": lambda work, _: teacher.teach(work),
    "student": distil.distil,
    "encoder": lambda work, _: export(work),
    "target": lambda work, minutes: target.speak(work, work / "packages", minutes / 2),
    "decoder": decoder.train,
    "prior": prior.train,
    "tune": decoder.tune,
    "bundle": lambda work, _: bundle.bundle(work, PACKAGE / "starter"),
}


@app.callback(invoke_without_command=True)
def make(
    context: typer.Context,
    work: Work = Path("starter-work"),
    minutes: Annotated[float, typer.Option(help="Training time of each part.")] = 60.0,
    threads: Annotated[int, typer.Option(help="Threads for training.")] = 1,
) -> None:
    """Make the starter voice; a folder WORK/start may hold weights to go on from."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if context.invoked_subcommand is not None:
        return
    torch.set_num_threads(threads)
    for name, step in STEPS.items():
        log.info("step: %s", name)
        step(work, minutes)


@app.command()
def evaluate(work: Work = Path("starter-work"), voice: str = "starter") -> None:
    """Judge the voice in the package on the held-out people."""
    from offline.train.starter import evaluate as judged

    typer.echo(judged.table(judged.evaluate(work, RECORDINGS, voice)))


@app.command()
def picture(before: Path, after: Path, png: Path) -> None:
    """Draw the spectrograms of a recording and its conversion."""
    from offline.train.starter import picture as drawn

    drawn.picture(before, after, png)


if __name__ == "__main__":
    app()
