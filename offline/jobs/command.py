"""The verbs of `timbral jobs`: covers that wait, here or on many machines.

What a verb does is imported when it is called.
"""

from pathlib import Path
from typing import Annotated

import typer

from stream.device import AUTO
from stream.options import DeviceName

app = typer.Typer(help="Covers that wait, and who makes them.", no_args_is_help=True)

Identity = Annotated[str, typer.Argument(metavar="ID", help="One of `timbral jobs list`.")]
Songs = Annotated[
    list[str], typer.Argument(metavar="SONG...", help="Files, folders, lists (.txt, .m3u).")
]
Settings = Annotated[
    Path | None, typer.Option("--settings", help="A TOML file, as of `timbral cover`.")
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray", help="Make them on this Ray cluster: an address, or auto for the one here."
    ),
]


@app.command("add")
def add(
    songs: Songs,
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder of the covers.")] = Path(),
    voice: Annotated[
        str | None, typer.Option("--voice", help="Who sings.  [default: of the settings]")
    ] = None,
    settings: Settings = None,
) -> None:
    """Put songs in, to be made into covers by `timbral jobs run` or by a server of this home.

    Files are read when their turn comes: leave them where they are.

    \b
    Example:
      timbral jobs add album/ --voice ada -o covers/
    """
    from offline.jobs.console import put

    for job in put(songs, out, voice, settings):
        typer.echo(f"{job.id}  {job.target}")


@app.command("list")
def show_all() -> None:
    """Show all jobs, one a line, the newest first.

    \b
    Example:
      timbral jobs list
    """
    from offline.jobs.console import line, looking

    with looking() as runner:
        for job in runner.jobs():
            typer.echo(line(job))


@app.command("show")
def show(identity: Identity) -> None:
    """Show all that is known of a job, as JSON.

    \b
    Example:
      timbral jobs show 0123456789abcdef
    """
    import json

    from offline.jobs.console import looking

    with looking() as runner:
        job = runner.job(identity)
    typer.echo(json.dumps({**job.told(), "target": str(job.target)}, indent=1, ensure_ascii=False))


@app.command("cancel")
def cancel(identity: Identity) -> None:
    """End a job that waits or runs; drop one that is over from the list.

    The cover of a song that is over stays where it is.

    \b
    Example:
      timbral jobs cancel 0123456789abcdef
    """
    from offline.jobs.console import looking

    with looking() as runner:
        if runner.job(identity).over:
            runner.forget(identity)
        else:
            runner.cancel(identity)


@app.command("run")
def run(device: DeviceName = AUTO, ray: Ray = None) -> None:
    """Make what waits, until nothing does.

    As many at once as this machine bears, or all machines of a Ray cluster, which share the home
    folder. Ctrl-C ends it; the next run goes on there. Exit status 1 when a job failed.

    \b
    Examples:
      timbral jobs run
      timbral jobs run --ray auto
    """
    from offline.jobs.console import line, work

    failed = work(str(device), ray, lambda job: typer.echo(line(job)))
    raise typer.Exit(1 if failed else 0)
