"""The verb `timbral train`: from recordings to a voice.

What a verb does is imported when it is called; PyTorch comes with the extra `train`.
"""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from offline.train.options import trainable
from stream.options import progress

FamilyName = Literal["auto", "narrow", "rvc-v1", "rvc-v2"]
Where = Literal["auto", "cpu", "cuda", "mps"]
Speakers = Literal["one", "folders"]
INTERRUPTED = 130
CONSENT = (
    "Whose voice is it, and did this person agree to be imitated by a computer? "
    "Say it in a sentence; it becomes part of the voice"
)


class _WithDefault(TyperGroup):
    """A group that takes what is none of its verbs as arguments of `default`."""

    default = "voice"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "--help"}:
            args = [self.default, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_WithDefault,
    help="Train a voice: `timbral train recordings/ --name ada`.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Replace = Annotated[bool, typer.Option("--replace", help="Replace the voice of that name.")]
Classic = Annotated[
    Path | None, typer.Option(help="Also write .pth and .index there, for other programs.")
]


@app.command("voice")
@trainable
def voice(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="DATA...", help="Audio files and folders; NAME=PATH: a speaker."),
    ] = None,
    name: Annotated[str, typer.Option(help="What the voice is to be called.")] = "",
    family: Annotated[
        FamilyName, typer.Option(help="narrow: small, live anywhere; rvc: wants a GPU.")
    ] = "auto",
    device: Annotated[Where, typer.Option(help="What to train on.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="How many GPUs.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with --name.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only judge the recordings.")] = False,
    report: Annotated[Path | None, typer.Option(help="Where --check writes its page.")] = None,
    consent: Annotated[str, typer.Option(help="Who agreed; asked for if missing.")] = "",
    licence: Annotated[str, typer.Option(help="Of the voice.")] = "unknown",
    speakers: Annotated[
        Speakers, typer.Option(help="All recordings one, or each folder another.")
    ] = "one",
    seed: Annotated[int, typer.Option(help="Of all chance: same seed, same voice.")] = 0,
    replace: Replace = False,
    classic: Classic = None,
    *,
    training: dict[str, Any],
    data: dict[str, Any],
) -> None:
    """Train a voice from recordings, and add it.

    Ctrl-C stops it; --resume goes on. Ten minutes of clean speech are good. The page report.html
    in the training's folder shows how it goes.

    \b
    Examples:
      timbral train recordings/ --name ada
      timbral train recordings/ --check
      timbral train recordings/ --name ada --minutes 20 --consent "My own voice."
      timbral train --name ada --resume
      timbral train ada=a/ bob=b/ --name two --family rvc-v2 --rate 40000 --devices 2
    """
    with _torch():
        if resume:
            plan = _resumed(name, files)
        else:
            from offline.train.asked import Asked

            given = tuple(files or ())
            asked = Asked(given, name, family, device, speakers, licence, seed, training, data)
            if check:
                _check(asked, report)
            plan = asked.plan(consent or _consent(asked))
        _run(plan, device, devices, resume, replace, classic)


@app.command("export")
def export(
    name: Annotated[str, typer.Argument(help="A training.")],
    step: Annotated[int | None, typer.Option(help="Of its checkpoints.  [default: best]")] = None,
    as_name: Annotated[str | None, typer.Option("--as", help="The voice's name.")] = None,
    replace: Replace = False,
    classic: Classic = None,
) -> None:
    """Make a voice of any checkpoint that a training has kept.

    \b
    Examples:
      timbral train export ada --step 1200 --as ada-1200
      timbral train export ada --replace --classic for-rvc/
    """
    with _torch():
        from offline.train.plan import folder_of
        from offline.train.trained import trained
        from stream.home import default_home

        _finish(trained(folder_of(default_home(), name), step), as_name or name, replace, classic)


@contextmanager
def _torch() -> Generator[None, None, None]:
    """Say how to install PyTorch where it is missing."""
    from stream.errors import ConfigError

    try:
        yield
    except ModuleNotFoundError as error:
        if error.name in ("torch", "safetensors"):
            raise ConfigError(
                "Training needs PyTorch. Install it: pip install 'timbral[train]'"
            ) from error
        raise


def _consent(asked: Any) -> str:
    """The consent statement, from whoever sits there."""
    from stream.errors import ConfigError

    asked.checked()
    if not sys.stdin.isatty():
        raise ConfigError('Say who agreed to be imitated: --consent "My own voice."')
    return typer.prompt(CONSENT)


def _check(asked: Any, report: Path | None) -> None:
    """Judge the recordings and end; exit status 1 when nothing can be trained on."""
    from offline.cache import Cache
    from offline.dataset import inspect, write_report
    from stream.home import default_home

    home = default_home()
    with progress("Listening to the recordings") as show:
        found = inspect(
            asked.files,
            speakers=asked.speakers,
            settings=asked.data_settings,
            cache=Cache(home / "cache"),
            home=home,
            progress=show,
        )
    for advice in found.advice:
        typer.echo(f"{advice.mood:5} {advice.text}")
    for path, why in found.refused:
        typer.echo(f"left out: {path}: {why}")
    typer.echo(f"{found.usable_seconds / 60:.1f} minutes can be used.")
    typer.echo(f"Report: {write_report(found, report or Path('recordings.html'))}")
    raise typer.Exit(0 if found.usable else 1)


def _resumed(name: str, files: list[str] | None) -> Any:
    from offline.train.plan import folder_of, read_plan
    from stream.errors import ConfigError
    from stream.home import default_home

    if files or not name:
        raise ConfigError("--resume needs the name alone: timbral train --name ada --resume")
    return read_plan(folder_of(default_home(), name))


def _run(
    plan: Any, where: Where, devices: int, resume: bool, replace: bool, classic: Path | None
) -> None:
    """Gather the data, train, and make the voice; problems are raised before anything starts."""
    from offline.train.distributed import launched
    from offline.train.plan import abandon, begin, folder_of
    from offline.train.trained import trained
    from offline.train.training import check, device_of, gather
    from stream.errors import ConfigError, TimbralError
    from stream.home import default_home
    from stream.models.store import Store

    home, device, part = default_home(), device_of(where), launched()
    folder = folder_of(home, plan.name)
    if plan.name in Store(home).names() and not (replace or part):
        raise ConfigError(
            f"There is a voice '{plan.name}' already: add --replace, or choose another --name."
        )
    base = check(plan, home, device)
    if not (resume or part):
        begin(plan, folder)
    try:
        with progress("Preparing the recordings") as show:
            data = gather(plan, folder, home, show)
    except TimbralError:
        if not (resume or part):
            abandon(folder)  # nothing to go on with
        raise
    if devices > 1 and not part:
        _spawn(plan.name, where, devices)
    else:
        _train(plan, data, folder, home, device, base, resume or part)
    if not part:
        _finish(trained(folder), plan.name, replace, classic)


def _train(
    plan: Any, data: Any, folder: Path, home: Path, device: Any, base: Path | None, resume: bool
) -> None:
    """Train in this process; exit status 130 when it was interrupted."""
    from offline.train.progress import steps_shown, stoppable
    from offline.train.training import train

    with stoppable() as stopping, steps_shown(plan.name) as show:
        outcome = train(
            plan, data, folder, home, device, base, resume=resume, show=show, stopping=stopping
        )
    if outcome.end == "stopped":
        typer.echo(
            f"Stopped; step {outcome.step} is kept. "
            f"Go on with: timbral train --name {plan.name} --resume",
            err=True,
        )
        raise typer.Exit(INTERRUPTED)
    why = "done" if outcome.end == "done" else "nothing was gained any more"
    typer.echo(f"Trained {outcome.step} steps ({why}); the best is step {outcome.best}.")


def _spawn(name: str, where: Where, devices: int) -> None:
    """Train in several processes; this one waits. Ctrl-C reaches them, and they end themselves."""
    import subprocess

    from offline.train.distributed import launch
    from offline.train.progress import stoppable
    from stream.errors import TrainingError

    words = ["-m", "timbral", "train", "voice", "--name", name, "--resume", "--device", where]
    with stoppable() as stopped:
        status = subprocess.run(launch(devices, words), check=False).returncode
    if stopped() or status == INTERRUPTED:
        raise typer.Exit(INTERRUPTED)
    if status:
        raise TrainingError(f"A process of the training ended with status {status}; see above.")


def _finish(run: Any, name: str, replace: bool, classic: Path | None) -> None:
    """Export the voice, prove it, and add it to the store."""
    import logging

    logging.basicConfig(level=logging.WARNING)  # before ONNX Runtime's quantizer sets its own
    from offline.train.result import finish
    from stream.models.store import Store

    store, plan = Store(), run.plan
    with progress("Making the voice") as show:
        card = finish(
            run,
            store=store,
            name=name,
            consent=plan.consent,
            licence=plan.licence,
            replace=replace,
            progress=show,
        )
    if classic is not None:
        from offline.train.classic import export_classic

        with progress("Writing the voice for other programs") as show:
            written = export_classic(run, classic, name=name, home=store.home, progress=show)
        typer.echo(f"Written: {written.pth} and {written.index}")
    typer.echo(f"Voice '{card.name}' is there: timbral convert IN OUT --voice {card.name}")
    typer.echo(f"Report: {run.folder / 'report.html'}")
