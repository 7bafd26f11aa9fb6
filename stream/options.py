"""Options that several verbs of the command `timbral` share. Light: loads typer, no model."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from stream.device import KINDS, Device

Profile = Literal["auto", "low", "balanced", "quality", "relaxed"]
F0Blend = Literal["median", "mean", "min", "max"]
Scale = Literal["chromatic", "major", "minor"]

Source = Annotated[Path, typer.Argument(metavar="IN", help="The file to read.")]
Target = Annotated[
    Path, typer.Argument(metavar="OUT", help="The file to write: .wav, .flac, .ogg or .mp3.")
]
VoiceName = Annotated[str, typer.Option("--voice", help="One of `timbral voices list`.")]
AnyVoice = Annotated[  # None: that of a preset or of settings, else the starter
    str | None, typer.Option("--voice", help="One of `timbral voices list`.  [default: starter]")
]
ProfileName = Annotated[
    Profile,
    typer.Option("--profile", help="Low latency, or little computing; auto measures the machine."),
]


def _device(given: str | Device) -> Device:
    return given if isinstance(given, Device) else Device.parse(given)


DeviceName = Annotated[
    Device,
    typer.Option(
        "--device",
        parser=_device,
        metavar="DEVICE",
        help=f"What the models run on: {', '.join(KINDS)}; cuda:1 is the second GPU.",
    ),
]

# name: (option, type, range, what it does); the same controls as in stream.controls
CONTROLS: dict[str, tuple[str, Any, tuple[float, float] | None, str]] = {
    "pitch": ("--pitch", float, (-24.0, 24.0), "Semitones up or down.  [default: 0]"),
    "auto_pitch": (
        "--auto-pitch/--no-auto-pitch",
        bool,
        None,
        "First move the speaker's pitch to the voice's.  [default: auto-pitch]",
    ),
    "formant": (
        "--formant",
        float,
        (-6.0, 6.0),
        "Semitones: a smaller (+) or larger (-) throat.  [default: 0]",
    ),
    "index_rate": (
        "--index-rate",
        float,
        (0.0, 1.0),
        "How much of the voice's own sounds to retrieve.  [default: 0]",
    ),
    "protect": (
        "--protect",
        float,
        (0.0, 0.5),
        "Keep breath and consonants; 0.5 is off.  [default: 0.33]",
    ),
    "f0_methods": (
        "--f0",
        list[str],
        None,
        "The pitch detector; give it again to combine several.  [default: swift]",
    ),
    "f0_blend": ("--f0-blend", F0Blend, None, "What combines several.  [default: median]"),
    "f0_min_hz": (
        "--f0-min-hz",
        float,
        (50.0, 550.0),
        "A lower pitch counts as unvoiced.  [default: 50]",
    ),
    "f0_max_hz": (
        "--f0-max-hz",
        float,
        (200.0, 1100.0),
        "A higher pitch counts as unvoiced.  [default: 1100]",
    ),
    "autotune": (
        "--autotune",
        float,
        (0.0, 1.0),
        "Bring every note onto the scale, by this much.  [default: 0]",
    ),
    "autotune_scale": ("--autotune-scale", Scale, None, "Its notes.  [default: chromatic]"),
    "autotune_key": ("--autotune-key", int, (0, 11), "Its first: 0 C .. 11 B.  [default: 0]"),
    "loudness": (
        "--loudness",
        float,
        (0.0, 1.0),
        "Follow the speaker's loudness, by this much.  [default: 0]",
    ),
    "speaker": ("--speaker", int, (0, 9999), "For voices with several.  [default: 0]"),
    "speaker_b": ("--speaker-b", int, (0, 9999), "Another, to morph towards.  [default: 0]"),
    "morph": ("--morph", float, (0.0, 1.0), "How far: 1 is speaker-b.  [default: 0]"),
    "gate_db": (
        "--gate-db",
        float,
        (-90.0, 0.0),
        "What is quieter, in dBFS, is silence; -90 is off.  [default: -60]",
    ),
}


def controllable(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb an option for every control; those that were given arrive as `controls`."""
    own = [p for p in signature(verb).parameters.values() if p.name != "controls"]
    added = [
        Parameter(
            name,
            Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                kind | None,
                typer.Option(
                    option,
                    min=limits[0] if limits else None,
                    max=limits[1] if limits else None,
                    help=text,
                ),
            ],
        )
        for name, (option, kind, limits, text) in CONTROLS.items()
    ]

    @wraps(verb)
    def with_controls(**options: Any) -> None:
        given = {name: options.pop(name) for name in CONTROLS}
        given = {name: value for name, value in given.items() if value is not None}
        if "f0_methods" in given:
            given["f0_methods"] = tuple(given["f0_methods"])
        verb(**options, controls=given)

    with_controls.__signature__ = Signature([*own, *added])  # pyright: ignore[reportAttributeAccessIssue]
    return with_controls


@contextmanager
def progress(title: str) -> Generator[Callable[[int, int], None], None, None]:
    """A bar with the time that is left, on the terminal's error output."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None)

        yield show


@contextmanager
def transfer(title: str) -> Generator[Callable[[int, int], None], None, None]:
    """The same for downloads: bytes that are here, how fast they come, and the time left."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None)

        yield show
