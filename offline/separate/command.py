"""The verb `timbral separate`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from stream.device import CPU
from stream.options import DeviceName, progress, transfer

Song = Annotated[Path, typer.Argument(metavar="SONG", help="Music or a film, in any format.")]
Folder = Annotated[
    Path | None,
    typer.Option("--stems", help="The folder to write to.  [default: SONG's name, beside it]"),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="What takes the voice out; again for an ensemble: spleeter, a file, the name of one "
        "in the folder separators, audio-separator:NAME.  [default: spleeter]",
    ),
]
Ensemble = Annotated[
    Literal["mean", "median", "min", "max"], typer.Option(help="What joins several models.")
]
Domain = Annotated[
    Literal["wave", "bins"], typer.Option(help="Join samples, or the bins of spectra.")
]
Weights = Annotated[list[float] | None, typer.Option(help="Of each model, in their order.")]
Chain = Annotated[str, typer.Option(help="Several steps: vocals, mdx, roformer, or a .toml file.")]
Lead = Annotated[str, typer.Option(metavar="MODEL", help="Then take the lead out of the voices.")]
Dry = Annotated[str, typer.Option(metavar="MODEL", help="Then take the room away from it.")]
Clean = Annotated[str, typer.Option(metavar="MODEL", help="Then take the noise away from it.")]
Format = Annotated[
    Literal["wav", "w64", "flac", "ogg", "mp3", "m4a"],
    typer.Option("--format", help="Of the stems; WAV holds floats."),
]
Threads = Annotated[int, typer.Option(min=0, help="0: as many as there are cores.")]


def separate(
    song: Song,
    stems: Folder = None,
    model: Models = None,
    ensemble: Ensemble = "mean",
    domain: Domain = "wave",
    weight: Weights = None,
    chain: Chain = "vocals",
    lead: Lead = "",
    dereverb: Dry = "",
    denoise: Clean = "",
    form: Format = "wav",
    device: DeviceName = CPU,
    threads: Threads = 0,
) -> None:
    """Take the voice out of a song: vocals.wav and instrumental.wav.

    Spleeter is fetched once (73 MB). Better models are files of yours: put them into the folder
    separators of the home folder. Stems are as long as the song, and their sum is the song.

    \b
    Examples:
      timbral separate song.mp3
      timbral separate song.mp3 --model Kim_Vocal_2 --model spleeter --ensemble max
      timbral separate song.flac --stems parts --chain mdx --format flac
    """
    from offline.separate.chains import chain_of, open_chain, run_chain, with_models
    from offline.separate.models import fetch_default
    from stream.home import default_home

    home = default_home()
    wanted = with_models(
        chain_of(chain),
        vocals=tuple(model or ()),
        method=ensemble,
        domain=domain,
        weights=tuple(weight or ()),
        lead=lead,
        dereverb=dereverb,
        denoise=denoise,
    )
    names = [name for step in wanted.steps.values() for name in step.models]
    fetch_default(names, home, transfer)
    opened = open_chain(wanted, home, device=device, threads=threads)
    folder = stems or song.with_suffix("")
    written: dict[str, Path] = {}
    with progress(f"Taking {song.name} apart") as show:
        written = run_chain(
            song,
            folder,
            opened,
            suffix="" if form == "wav" else f".{form}",
            progress=lambda done, total: show(done, total),
        )
    for stem, path in written.items():
        typer.echo(f"{stem}: {path}")
