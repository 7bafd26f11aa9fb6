"""The verbs of the command `timbral` that work on files.

What a verb does is imported when it is called.
"""

from typing import Annotated, Any

import typer

from stream.options import DeviceName, Source, Target, VoiceName, controllable, progress

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)


@app.command()
@controllable
def convert(
    source: Source,
    target: Target,
    voice: VoiceName = "starter",
    device: DeviceName = "auto",
    seed: Annotated[int, typer.Option(help="Of the voice's noise: same seed, same file.")] = 0,
    *,
    controls: dict[str, Any],
) -> None:
    """Convert a file here, without a server.

    \b
    Examples:
      timbral convert speech.wav out.wav
      timbral convert song.mp3 out.flac --pitch 12 --no-auto-pitch
    """
    from offline.convert import convert as run
    from stream.controls import Controls
    from stream.models.store import Store

    wanted = Controls(**controls)
    loaded = Store().load(voice, device)
    with progress(f"Converting {source.name}") as show:
        summary = run(source, target, loaded, controls=wanted, seed=seed, progress=show)
    typer.echo(
        f"{target}: {summary.seconds:.1f} s at {summary.rate} Hz, in {summary.took:.1f} s "
        f"(RTF {summary.rtf:.2f}), voice {voice} on {loaded.provider}"
    )
