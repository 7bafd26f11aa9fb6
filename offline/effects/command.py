"""The verbs `timbral effects`, `timbral shift` and `timbral mix`.

What a verb does is imported when it is called.
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from stream.options import Source, Target, progress

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)

Preset = Annotated[str, typer.Option(help="A name that --list shows, or a .toml file.")]
Tracks = Annotated[
    list[str], typer.Argument(metavar="TRACK...", help="Files, each with words of its own.")
]
Out = Annotated[
    Path, typer.Option("-o", "--out", help="The file to write: .wav .flac .mp3 .ogg or .m4a.")
]


@contextmanager
def _extra() -> Generator[None, None, None]:
    """Say what to install where a package of the extra `offline` is missing."""
    from stream.errors import ConfigError

    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is missing: pip install 'timbral[offline]'.") from error


@app.command()
def effects(
    source: Annotated[Path | None, typer.Argument(metavar="IN", help="The file to read.")] = None,
    target: Annotated[
        Path | None,
        typer.Argument(metavar="OUT", help="The file to write: .wav .flac .mp3 .ogg or .m4a."),
    ] = None,
    preset: Preset = "studio",
    shown: Annotated[bool, typer.Option("--list", help="Show the presets and what each does.")] = (
        False
    ),
) -> None:
    """Put effects on a file: equalisers, compressors, rooms, echoes, old machines.

    \b
    Examples:
      timbral effects vocals.wav out.flac --preset hall
      timbral effects vocals.wav out.wav --preset mine.toml
      timbral effects --list
    """
    from offline.effects.presets import Presets

    presets = Presets()
    if shown:
        for name in presets.names():
            own = "  (yours)" if presets.own(name) else ""
            typer.echo(f"{name:<14}{presets.load(name).title}{own}")
        return
    if source is None or target is None:
        raise typer.BadParameter("Name the file to read and the file to write, or --list.")
    chain = presets.load(preset)
    with _extra():
        from offline.effects.apply import apply

    with progress(f"Effects on {source.name}") as show:
        apply(source, target, chain, show)
    typer.echo(f"{target}: {preset}, {', '.join(effect.kind for effect in chain.effects)}")


@app.command()
def shift(
    source: Source,
    target: Target,
    semitones: Annotated[float, typer.Option(min=-24.0, max=24.0, help="Up, or down below 0.")],
    keep_formants: Annotated[
        bool, typer.Option("--keep-formants", help="For voices: leave the resonances in place.")
    ] = False,
) -> None:
    """Put a file into another key, at the same tempo.

    \b
    Examples:
      timbral shift band.wav higher.wav --semitones 2
      timbral shift choir.wav lower.wav --semitones -3 --keep-formants
    """
    with _extra():
        from offline.keyshift import shift as run

    with progress(f"Shifting {source.name}") as show:
        run(source, target, semitones, keep_formants, show)
    typer.echo(f"{target}: {semitones:+g} semitones")


@app.command()
def mix(
    tracks: Tracks,
    out: Out,
    loudness: Annotated[
        str, typer.Option(help="LUFS, or source=FILE for as loud as that, or off.")
    ] = "-14",
    ceiling: Annotated[
        str, typer.Option(help="True peak in dBTP that the limiter holds, or off.")
    ] = "-1",
) -> None:
    """Mix tracks into one file.

    A track is a path, and after a colon what is done to it: gain (dB), pan (-1 left to 1 right),
    delay (ms), cut (Hz, nothing below), low, mid and high (dB).

    \b
    Examples:
      timbral mix vocals.wav:gain=-1.5,cut=80 band.wav -o song.flac
      timbral mix choir.wav:pan=-0.4,high=2 band.wav -o song.mp3 --loudness source=first.mp3
      timbral mix voice.wav band.wav -o sum.wav --loudness off --ceiling off
    """
    with _extra():
        from offline.mix import mix as run
        from offline.tracks import mix_settings, track

    chosen = [track(text) for text in tracks]
    settings = mix_settings(loudness, ceiling)
    with progress(f"Mixing {len(chosen)} tracks") as show:
        mixed = run(chosen, out, settings, show)
    typer.echo(
        f"{out}: {mixed.seconds:.1f} s, {mixed.lufs:.1f} LUFS, true peak "
        f"{mixed.true_peak_db:.1f} dBTP, gain {mixed.gain_db:+.1f} dB, limited by "
        f"{mixed.reduction_db:.1f} dB at most"
    )
