"""The verb `timbral say`. What it does is imported when it is called."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from stream.device import AUTO
from stream.options import DeviceName, VoiceName, controllable, progress

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)


@app.command()
@controllable
def say(
    text: Annotated[
        str,
        typer.Argument(
            metavar="TEXT", help="What to say, or a .txt, .md, .srt, .epub, .docx or .pdf file."
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="The sound file to write.")],
    voice: VoiceName = "starter",
    by: Annotated[
        Literal["auto", "piper", "espeak", "edge"],
        typer.Option(help="What speaks first; edge sends the text to Microsoft."),
    ] = "auto",
    reader: Annotated[
        str, typer.Option(help="Its own: a Piper .onnx, an espeak-ng language, an Edge voice.")
    ] = "",
    device: DeviceName = AUTO,
    seed: Annotated[int, typer.Option(help="Of the voice's noise.")] = 0,
    *,
    controls: dict[str, Any],
) -> None:
    """Say a text in one of the voices.

    Piper speaks, where it is installed (pip install 'timbral[say]', timbral models pull
    piper-joe), else espeak-ng; then the voice takes over. Subtitles are said at their times.

    \b
    Examples:
      timbral say "It is a truth universally acknowledged." -o truth.wav
      timbral say book.epub --voice ada -o book.m4a
      timbral say film.srt --by espeak --reader de -o film.flac
    """
    from offline.say.engines import open_engine
    from offline.say.make import lines_of
    from offline.say.make import say as run
    from offline.sound import check_target
    from stream.controls import Controls
    from stream.models.store import Store

    check_target(out)
    lines, wanted, store = lines_of(text), Controls(**controls), Store()
    engine = open_engine(by, store.home, reader)
    loaded = store.load(voice, device)
    with progress(f"Saying it as {voice}") as show:
        done = run(lines, out, loaded, engine, controls=wanted, seed=seed, progress=show)
    late = f", {done.said.late} of them late" if done.said.late else ""
    typer.echo(f"{out}: {done.seconds:.1f} s, {done.said.lines} lines{late}, by {done.engine}")
