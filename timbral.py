"""The command `timbral`: puts together the verbs of all areas, and says errors in one line."""

import sys
from typing import Annotated

import typer

import clients.command
import offline.command
import server.command
import stream.command
from stream.errors import TimbralError

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
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    typer.echo(installed("timbral"))


def main() -> None:
    """Run the command; an error that we raise on purpose is one line and exit status 1."""
    try:
        app()
    except TimbralError as error:
        typer.echo(f"timbral: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
