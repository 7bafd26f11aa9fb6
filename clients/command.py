"""The verbs of the command `timbral` that talk to a server.

What a verb does is imported when it is called.
"""

from typing import Annotated, Any

import typer

from stream.options import ProfileName, Source, Target, VoiceName, controllable, progress

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)


@app.command()
@controllable
def send(
    source: Source,
    target: Target,
    server: Annotated[str, typer.Option(help="Its address.")] = "ws://127.0.0.1:8765",
    voice: VoiceName = "starter",
    profile: ProfileName = "auto",
    token: Annotated[
        str | None, typer.Option(envvar="TIMBRAL_TOKEN", help="If the server asks for one.")
    ] = None,
    faster_than_realtime: Annotated[
        bool, typer.Option("--faster-than-realtime", help="Do not keep the pace of speech.")
    ] = False,
    *,
    controls: dict[str, Any],
) -> None:
    """Send a file through a server, live.

    Keeps the pace of speech, writes what comes back, and prints the latency budget.

    \b
    Examples:
      timbral send speech.wav out.wav
      timbral send speech.wav out.wav --pitch -3.5 --profile low
      timbral send long.mp3 out.flac --faster-than-realtime
    """
    from clients.file import SendSettings, send_file
    from server.protocol import ControlValues

    settings = SendSettings(
        server=server,
        voice=voice,
        profile=profile,
        controls=ControlValues(**controls),
        token=token,
        realtime=not faster_than_realtime,
    )
    with progress(f"Sending {source.name}") as show:
        report = send_file(source, target, settings, show)
    typer.echo(f"{report.table()}\n\n{target}: {report.summary()}")
    for refusal in report.refused:
        typer.echo(f"timbral: the server said: {refusal}", err=True)
