"""The verbs of the command `timbral` that show and keep voices and models.

What a verb does is imported when it is called.
"""

from pathlib import Path
from typing import Annotated

import typer

from stream.options import DeviceName, Profile, VoiceName

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)
voices = typer.Typer(help="List, inspect, add and remove voices.", no_args_is_help=True)
models = typer.Typer(help="The models that voices share.", no_args_is_help=True)
app.add_typer(voices, name="voices", rich_help_panel=None)
app.add_typer(models, name="models", rich_help_panel=None)


@voices.command("list")
def list_voices() -> None:
    """Show every voice, one a line.

    \b
    Example:
      timbral voices list
    """
    from stream.models.store import Store

    store = Store()
    for name in store.names():
        card = store.card(name)
        typer.echo(f"{name:20} {card.sample_rate:6} Hz  {card.description or card.source}")


@voices.command("info")
def show_voice(name: Annotated[str, typer.Argument(help="One of `timbral voices list`.")]) -> None:
    """Show what a voice says of itself.

    That is its licence, consent, source, pitch and needs.

    \b
    Example:
      timbral voices info starter
    """
    from stream.models.store import Store

    store = Store()
    for key, value in store.card(name).model_dump().items():
        if not isinstance(value, dict):
            shown = ", ".join(value) if isinstance(value, tuple) else value
            typer.echo(f"{key:14} {shown}")
    typer.echo(f"{'folder':14} {store.folder(name)}")


@voices.command("add")
def add_voice(
    folder: Annotated[Path, typer.Argument(help="A bundle: a folder with voice.json in it.")],
) -> None:
    """Check a voice and copy it into the store.

    \b
    Example:
      timbral voices add ~/Downloads/ada
    """
    from stream.models.store import Store

    card = Store().add(folder)
    typer.echo(
        f"Added {card.name}. Hear it: timbral convert speech.wav out.wav --voice {card.name}"
    )


@voices.command("remove")
def remove_voice(
    name: Annotated[str, typer.Argument(help="One of `timbral voices list`.")],
) -> None:
    """Delete a voice from the store.

    \b
    Example:
      timbral voices remove ada
    """
    from stream.models.store import Store

    Store().remove(name)
    typer.echo(f"Removed {name}.")


@models.command("list")
def list_models() -> None:
    """Show encoders and pitch detectors.

    \b
    Example:
      timbral models list
    """
    from stream.models.store import Store

    for model in Store().models():
        typer.echo(f"{model.id:16} {model.kind:8} {model.size / 1e6:6.1f} MB  {model.where}")


@app.command()
def bench(
    voice: VoiceName = "starter",
    device: DeviceName = "auto",
    profile: Annotated[Profile, typer.Option(help="auto measures all of them.")] = "auto",
    seconds: Annotated[float, typer.Option(min=1.0, help="Of sound, for each profile.")] = 20.0,
) -> None:
    """Measure what a voice costs here.

    Prints Markdown: each stage, and the whole against its budget. Exit status 1 when a profile is
    not always in time.

    \b
    Examples:
      timbral bench
      timbral bench --profile low --seconds 60
    """
    from stream.bench import bench as run
    from stream.controls import Controls
    from stream.models.store import Store
    from stream.profiles import PROFILES

    chosen = list(PROFILES.values()) if profile == "auto" else [PROFILES[profile]]
    in_time = True
    for piece, kept_up in run(Store().load(voice, device), chosen, seconds, Controls()):
        in_time &= kept_up
        typer.echo(piece)
    raise typer.Exit(0 if in_time else 1)
