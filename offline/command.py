"""The verbs of the command `timbral` that work on files.

What a verb does is imported when it is called.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from offline.cover.command import app as covers
from offline.effects.command import app as music
from offline.jobs.command import app as jobs
from offline.say.command import app as speech
from offline.separate.command import separate
from offline.train.command import app as train
from offline.voices.command import add_verbs
from stream.command import voices
from stream.device import AUTO
from stream.options import DeviceName, F0Blend, Source, Target, VoiceName, controllable, progress

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)
app.add_typer(covers)
app.add_typer(music)
app.add_typer(speech)
app.add_typer(jobs, name="jobs", rich_help_panel=None)
app.add_typer(train, name="train", rich_help_panel=None)
app.command()(separate)
add_verbs(voices)

Channels = Literal["mono", "placed", "each"]
PitchIn = Annotated[
    Path | None,
    typer.Option(help="Sing the pitch in this .csv, .tsv or .json: lines of time in s, Hz."),
]


@app.command()
@controllable
def convert(
    source: Source,
    target: Target,
    voice: VoiceName = "starter",
    device: DeviceName = AUTO,
    seed: Annotated[int, typer.Option(help="Of the voice's noise: same seed, same file.")] = 0,
    f0_in: PitchIn = None,
    keep_key: Annotated[
        bool, typer.Option(help="Match the pitch by whole octaves only, as a song needs.")
    ] = False,
    channels: Annotated[
        Channels,
        typer.Option(help="All as one; the voice where it stands in them; each for itself."),
    ] = "mono",
    *,
    controls: dict[str, Any],
) -> None:
    """Convert a file here, without a server.

    \b
    Examples:
      timbral convert speech.wav out.wav
      timbral convert vocals.mp3 out.flac --pitch 12 --no-auto-pitch
      timbral convert vocals.wav out.wav --f0-in edited.csv --keep-key --channels placed
    """
    from offline.convert import convert as run
    from offline.curve import read_curve
    from stream.controls import Controls
    from stream.models.store import Store

    wanted = Controls(**controls)
    curve = read_curve(f0_in) if f0_in else None
    loaded = Store().load(voice, device)
    with progress(f"Converting {source.name}") as show:
        summary = run(
            source,
            target,
            loaded,
            controls=wanted,
            seed=seed,
            curve=curve,
            keep_key=keep_key,
            channels=channels,
            progress=show,
        )
    typer.echo(
        f"{target}: {summary.seconds:.1f} s at {summary.rate} Hz, in {summary.took:.1f} s "
        f"(RTF {summary.rtf:.2f}), voice {voice} on {loaded.provider}"
    )


@app.command()
def f0(
    source: Source,
    target: Annotated[
        Path, typer.Argument(metavar="OUT", help="The file to write: .csv, .tsv or .json.")
    ],
    methods: Annotated[
        list[str] | None,
        typer.Option("--f0", help="The detector; again to combine several.  [default: swift]"),
    ] = None,
    blend: Annotated[F0Blend, typer.Option("--f0-blend", help="What combines several.")] = "median",
) -> None:
    """Write down the pitch of a voice.

    A line for every 10 ms: the time in seconds and the pitch in Hz, 0 where there is no voice.
    Edit it and give it back: timbral convert --f0-in, timbral cover --f0-in.

    \b
    Examples:
      timbral f0 vocals.wav vocals.csv
      timbral f0 vocals.wav vocals.json --f0 rmvpe --f0 harvest
    """
    from offline.convert import pitch_of
    from offline.curve import check_target, write_curve
    from stream.controls import Controls
    from stream.home import default_home
    from stream.models.f0 import Detectors

    check_target(target)
    controls = Controls(f0_methods=tuple(methods or ["swift"]), f0_blend=blend)  # pyright: ignore[reportArgumentType]
    with progress(f"Listening to {source.name}") as show:
        curve = pitch_of(source, Detectors(default_home()), controls, show)
    write_curve(target, curve)
    median = f"median {curve.median_hz:.0f} Hz" if curve.median_hz else "no voice found"
    typer.echo(f"{target}: {len(curve.hz)} points, {median}")


@app.command()
def compare(
    one: Annotated[Path, typer.Argument(metavar="A", help="A sound file.")],
    other: Annotated[Path, typer.Argument(metavar="B", help="The one to compare it with.")],
    html: Annotated[
        Path | None, typer.Option(help="Write a page with pictures and both sounds here.")
    ] = None,
) -> None:
    """Compare two sound files in figures.

    Loudness, clipping and pitch of each; how alike the speakers are (`timbral models pull
    speaker-ge2e`), how well the melody of one is kept in the other, how far their spectra are
    apart.

    \b
    Examples:
      timbral compare song.mp3 cover.flac
      timbral compare vocals.wav converted.wav --html apart.html
    """
    from offline.compare import check_page, write_page
    from offline.compare import compare as run
    from stream.home import default_home

    if html:
        check_page(html, (one, other))
    found = run(one, other, default_home())
    wide = max(len(name) for name, *_ in [*found.each, *found.both])
    for name, a, b in found.each:
        typer.echo(f"{name:{wide}}  {a:>10}  {b:>10}")
    for name, value in found.both:
        typer.echo(f"{name:{wide}}  {value:>10}")
    for why in found.missing:
        typer.echo(why)
    if html:
        typer.echo(f"all about it: {write_page(found, html)}")
