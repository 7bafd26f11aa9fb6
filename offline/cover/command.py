"""The verbs `timbral cover` and `timbral cache`.

What a verb does is imported when it is called.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from stream.device import AUTO
from stream.options import AnyVoice, DeviceName, controllable

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)
cache = typer.Typer(help="What the steps of covers and trainings made.", no_args_is_help=True)
app.add_typer(cache, name="cache", rich_help_panel=None)

Songs = Annotated[
    list[str] | None,
    typer.Argument(metavar="SONG", help="Files, folders, lists (.txt, .m3u), addresses."),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "-o", "--out", help="The cover; of many songs a folder.  [default: after song and voice]"
    ),
]
Settings = Annotated[
    Path | None, typer.Option("--settings", help="A TOML file with any of these settings.")
]
Key = Annotated[
    int | None,
    typer.Option(min=-12, max=12, help="Semitones for the whole song.  [default: 0]"),
]
Octave = Annotated[
    int | None, typer.Option(min=-2, max=2, help="Of the voice alone, beside what suits it.")
]
Models = Annotated[
    list[str] | None,
    typer.Option("--separate", help="Takes the voice out; again to combine.  [default: spleeter]"),
]
Blend = Annotated[
    Literal["mean", "median", "min", "max"] | None,
    typer.Option("--ensemble", help="What combines several.  [default: mean]"),
]
Lead = Annotated[str | None, typer.Option(help="A model that tells lead from backing.")]
Dereverb = Annotated[str | None, typer.Option(help="A model that takes reverb off the lead.")]
Denoise = Annotated[str | None, typer.Option(help="A model that takes noise off the lead.")]
Backing = Annotated[str | None, typer.Option(help="Who sings the backing; needs --lead.")]
Effects = Annotated[
    str | None, typer.Option(help="For the new voice: a preset, or its .toml file.")
]
Decibel = Annotated[float | None, typer.Option(min=-60.0, max=24.0, help="In the mix.")]
Lufs = Annotated[
    str | None,
    typer.Option(help="How loud: as the song, a number of LUFS, or off.  [default: song]"),
]
Format = Annotated[
    Literal["wav", "flac", "mp3", "ogg", "m4a"],
    typer.Option("--format", help="Of covers that OUT does not name."),
]
PitchIn = Annotated[Path | None, typer.Option(help="Sing this pitch: .csv, .tsv or .json.")]
PitchOut = Annotated[Path | None, typer.Option(help="Write the pitch here, to edit it.")]
OneStep = Annotated[
    str | None, typer.Option("--step", help="Go no further; its files go into the folder OUT.")
]
Again = Annotated[bool, typer.Option("--again", help="Make that step, or the mix, anew.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan, and what is kept of it.")]
Report = Annotated[
    bool, typer.Option("--report/--no-report", help="A page about each cover, beside it: .html.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what was broken off.")]


@app.command()
@controllable
def cover(
    songs: Songs = None,
    out: Out = None,
    voice: AnyVoice = None,
    settings: Settings = None,
    key: Key = None,
    octave: Octave = None,
    separate: Models = None,
    ensemble: Blend = None,
    lead: Lead = None,
    dereverb: Dereverb = None,
    denoise: Denoise = None,
    backing_voice: Backing = None,
    effects: Effects = None,
    voice_db: Decibel = None,
    backing_db: Decibel = None,
    band_db: Decibel = None,
    lufs: Lufs = None,
    format: Format = "flac",
    f0_in: PitchIn = None,
    f0_out: PitchOut = None,
    step: OneStep = None,
    again: Again = False,
    dry_run: DryRun = False,
    resume: Resume = False,
    report: Report = True,
    device: DeviceName = AUTO,
    *,
    controls: dict[str, Any],
) -> None:
    """Make a cover of a song: the same song, sung by another voice.

    Separate, find the pitch, convert, move the key, mix: every step is kept in a cache, and only
    what a change touches is made again. The pitch is matched by whole octaves.

    \b
    Examples:
      timbral cover song.mp3 --voice ada -o cover.flac
      timbral cover album/ --voice ada --key -2 --format mp3 -o covers/
      timbral cover song.mp3 --f0-out song.csv --step f0 -o parts/
      timbral cover song.mp3 --f0-in song.csv --voice-db 2 --dry-run
      timbral cover --resume
    """
    from offline.cover.console import Options, run

    said = {name: value for name, value in locals().items() if name in Options.model_fields}
    said["device"] = str(device)
    raise typer.Exit(run(Options(**said), typer.echo))


@cache.command("info")
def show_cache() -> None:
    """Show how much the cache holds, and where.

    \b
    Example:
      timbral cache info
    """
    from offline.cache import Cache

    info = Cache().info()
    for name, (entries, size) in info.by_step.items():
        typer.echo(f"{name:14} {entries:6} entries {size / 1e6:10.1f} MB")
    typer.echo(f"{info.folder}: {info.entries} entries, {info.bytes / 1e6:.1f} MB")


@cache.command("prune")
def prune_cache(
    to: Annotated[float, typer.Option(min=0.0, help="GB that may stay.")] = 10.0,
) -> None:
    """Remove what was used longest ago.

    \b
    Examples:
      timbral cache prune
      timbral cache prune --to 0
    """
    from offline.cache import Cache

    freed = Cache().prune(round(to * 1e9))
    typer.echo(f"Removed {freed / 1e6:.1f} MB.")


@cache.command("verify")
def verify_cache() -> None:
    """Read everything again, and drop what is not as it was made.

    Exit status 1 when something was dropped.

    \b
    Example:
      timbral cache verify
    """
    from offline.cache import Cache

    bad = Cache().verify()
    typer.echo(f"Dropped {len(bad)} damaged entries." if bad else "All is as it was made.")
    raise typer.Exit(1 if bad else 0)
