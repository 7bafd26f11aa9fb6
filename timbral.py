"""The command `timbral`: puts together the verbs of all areas, and says errors in one line."""

import sys
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import clients.command
import offline.command
import server.command
import stream.command
from stream.device import AUTO, CPU
from stream.errors import TimbralError
from stream.options import DeviceName, Profile, VoiceName

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.config import ServerConfig
    from server.jobs import Jobs
    from stream.models.store import Store
    from stream.models.voice import Voice

app = typer.Typer(
    name="timbral",
    help="Speak, and be heard in another voice a moment later.",
    epilog="Begin with `timbral serve`; then, elsewhere, `timbral send speech.wav out.wav`.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for area in (server.command, clients.command, offline.command, stream.command):
    app.add_typer(area.app)


@app.command()
def doctor(
    port: Annotated[int, typer.Option(help="The port to look at.")] = 8765,
    sound: Annotated[
        bool, typer.Option("--sound/--no-sound", help="Play a burst through the virtual mic.")
    ] = True,
) -> None:
    """Show what is missing here, and the fix.

    Exit status 1 when something must be done.

    \b
    Example:
      timbral doctor
    """
    from clients.checkup import check_sound
    from server.doctor import Finding, examine

    healthy = True
    for finding in examine(port):
        healthy &= finding.healthy
        typer.echo(str(finding))
    for checked in check_sound() if sound else ():
        typer.echo(str(Finding(*checked)))
    raise typer.Exit(0 if healthy else 1)


@app.command()
def bench(
    voice: VoiceName = "starter",
    device: DeviceName = AUTO,
    profile: Annotated[Profile, typer.Option(help="auto measures all of them.")] = "auto",
    seconds: Annotated[
        float | None,
        typer.Option(min=1.0, help="Of sound, for each row.  [default: 20; streams: 6]"),
    ] = None,
    streams: Annotated[
        int | None, typer.Option(min=1, help="Open so many on a server here, one after another.")
    ] = None,
    one_by_one: Annotated[
        bool, typer.Option("--one-by-one", help="With --streams: convert no two together.")
    ] = False,
    easing: Annotated[
        bool, typer.Option(help="With --streams: whether the server may give something up.")
    ] = True,
    speech: Annotated[Path | None, typer.Option(help="What is said.  [default: a preview]")] = None,
    parity: Annotated[
        bool, typer.Option("--parity", help="Also compare the device with the processor.")
    ] = False,
) -> None:
    """Measure what a voice costs here, and how many streams this machine bears.

    Prints Markdown: each stage and the whole against its budget; with --streams a real server with
    real clients, up to the first number of them that is not served in time. Exit status 1 when
    something is not always in time, or --parity finds a difference that could be heard.

    \b
    Examples:
      timbral bench
      timbral bench --profile low --seconds 60
      timbral bench --parity --streams 64 --device cuda
    """
    from stream.bench import bench as run
    from stream.bench import header
    from stream.controls import Controls
    from stream.models.store import STARTER, Store

    store = Store(shared=streams is not None)
    loaded = store.load(voice, device)
    said = speech or store.preview(voice) or store.preview(STARTER)
    assert said is not None  # the package has the starter's
    compared = _compared(store, loaded, said) if parity else ()
    if streams:
        from server.load import Load, load, places

        settings = {"device": str(device), "easing": str(easing).lower(), **places(streams)}
        settings |= {"batch": "1"} if one_by_one else {}
        typer.echo(f"{header(loaded, device)}\n- profile: {profile}, server settings: {settings}\n")
        pieces = load(Load(streams, seconds or 6.0, voice, profile, said, settings))
    else:
        profiles = loaded.profiles
        chosen = list(profiles.values()) if profile == "auto" else [profiles[profile]]
        pieces = run(loaded, device, chosen, seconds or 20.0, Controls())
    in_time = True
    for piece, kept_up in chain(pieces, compared):
        in_time &= kept_up
        typer.echo(piece)
    raise typer.Exit(0 if in_time else 1)


def _compared(store: "Store", voice: "Voice", said: Path) -> "Iterator[tuple[str, bool]]":
    """A report of how far `voice` is from itself on the processor."""
    from stream.parity import parity, speech_of

    return parity(voice, store.load(voice.card.name, CPU), speech_of(said))


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    typer.echo(installed("timbral"))


def open_jobs(config: "ServerConfig") -> "Jobs | None":
    """Who makes covers for a server of these settings; None without the extra `offline`."""
    from importlib.util import find_spec

    if not all(map(find_spec, ("av", "pyloudnorm", "scipy"))):
        return None
    from offline.jobs.runner import Runner
    from stream.home import default_home

    return Runner(config.home or default_home(), device=str(config.devices[0]))


def main() -> None:
    """Run the command; an error that we raise on purpose is one line and exit status 1."""
    try:
        app(obj=open_jobs)
    except TimbralError as error:
        typer.echo(f"timbral: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
