"""The command `timbral`: each verb is done by the area it belongs to, imported when called."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

Profile = Literal["auto", "low", "balanced", "quality"]
F0Method = Literal["swift", "crepe-tiny"]
Device = Literal["auto", "cpu", "cuda", "directml", "coreml", "openvino"]

Source = Annotated[Path, typer.Argument(metavar="IN", help="The file to read.")]
Target = Annotated[
    Path, typer.Argument(metavar="OUT", help="The file to write: .wav, .flac, .ogg or .mp3.")
]
VoiceName = Annotated[str, typer.Option("--voice", help="One of `timbral voices list`.")]
ProfileName = Annotated[
    Profile,
    typer.Option("--profile", help="Low latency, or little computing; auto measures the machine."),
]
DeviceName = Annotated[Device, typer.Option("--device", help="What the models run on.")]
Pitch = Annotated[
    float | None,
    typer.Option(min=-24.0, max=24.0, help="Semitones up or down.  [default: 0]"),
]
AutoPitch = Annotated[
    bool | None,
    typer.Option(
        "--auto-pitch/--no-auto-pitch",
        help="First move the speaker's pitch to the voice's.  [default: auto-pitch]",
    ),
]
IndexRate = Annotated[
    float | None,
    typer.Option(
        min=0.0, max=1.0, help="How much of the voice's own sounds to retrieve.  [default: 0]"
    ),
]
Protect = Annotated[
    float | None,
    typer.Option(min=0.0, max=0.5, help="Keep breath and consonants; 0.5 is off.  [default: 0.33]"),
]
F0 = Annotated[F0Method | None, typer.Option("--f0", help="The pitch detector.  [default: swift]")]
GateDb = Annotated[
    float | None,
    typer.Option(
        min=-90.0,
        max=0.0,
        help="What is quieter, in dBFS, is silence; -90 is off.  [default: -60]",
    ),
]
Speaker = Annotated[int | None, typer.Option(min=0, help="For voices with several.  [default: 0]")]

app = typer.Typer(
    name="timbral",
    help="Speak, and be heard in another voice a moment later.",
    epilog="Begin with `timbral serve`; then, elsewhere, `timbral send speech.wav out.wav`.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
voices = typer.Typer(help="List, inspect, add and remove voices.", no_args_is_help=True)
models = typer.Typer(help="The models that voices share.", no_args_is_help=True)
app.add_typer(voices, name="voices", rich_help_panel=None)
app.add_typer(models, name="models", rich_help_panel=None)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8765,
    voice: VoiceName = "starter",
    device: DeviceName = "auto",
    token: Annotated[
        str | None,
        typer.Option(
            envvar="TIMBRAL_TOKEN", help="What clients must send; needed off this machine."
        ),
    ] = None,
    max_streams: Annotated[
        int | None, typer.Option(min=1, help="Streams at once.  [default: two a core]")
    ] = None,
) -> None:
    """Serve live conversion over WebSocket.

    Listens until Ctrl-C; a page at its address shows that it is alive.

    \b
    Examples:
      timbral serve
      timbral serve --port 9000 --voice starter
      timbral serve --host 0.0.0.0 --token a-long-secret
    """
    from dataclasses import replace

    from server.app import Running
    from server.app import serve as run
    from server.config import ServerConfig

    config = ServerConfig(host=host, port=port, voice=voice, device=device, token=token)
    if max_streams is not None:
        config = replace(config, max_streams=max_streams)

    def announce(running: Running) -> None:
        delays = ", ".join(f"{name} {ms:.0f} ms" for name, ms in running.latencies.items())
        typer.echo(
            f"timbral listens on {running.url}\n"
            f"  voice     {running.voice} on {running.provider}\n"
            f"  latency   {delays}, before computing and network\n"
            f"  try it    timbral send speech.wav out.wav"
            + ("" if port == 8765 else f" --server {running.url}")
        )

    run(config, announce)


@app.command()
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
    pitch: Pitch = None,
    auto_pitch: AutoPitch = None,
    index_rate: IndexRate = None,
    protect: Protect = None,
    f0: F0 = None,
    gate_db: GateDb = None,
    speaker: Speaker = None,
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

    controls = ControlValues(**_given(pitch, auto_pitch, index_rate, protect, f0, gate_db, speaker))
    settings = SendSettings(
        server=server,
        voice=voice,
        profile=profile,
        controls=controls,
        token=token,
        realtime=not faster_than_realtime,
    )
    with _progress(f"Sending {source.name}") as show:
        report = send_file(source, target, settings, show)
    typer.echo(f"{report.table()}\n\n{target}: {report.summary()}")
    for refusal in report.refused:
        typer.echo(f"timbral: the server said: {refusal}", err=True)


@app.command()
def convert(
    source: Source,
    target: Target,
    voice: VoiceName = "starter",
    device: DeviceName = "auto",
    pitch: Pitch = None,
    auto_pitch: AutoPitch = None,
    index_rate: IndexRate = None,
    protect: Protect = None,
    f0: F0 = None,
    gate_db: GateDb = None,
    speaker: Speaker = None,
    seed: Annotated[int, typer.Option(help="Of the voice's noise: same seed, same file.")] = 0,
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

    controls = Controls(**_given(pitch, auto_pitch, index_rate, protect, f0, gate_db, speaker))
    loaded = Store().load(voice, device)
    with _progress(f"Converting {source.name}") as show:
        summary = run(source, target, loaded, controls=controls, seed=seed, progress=show)
    typer.echo(
        f"{target}: {summary.seconds:.1f} s at {summary.rate} Hz, in {summary.took:.1f} s "
        f"(RTF {summary.rtf:.2f}), voice {voice} on {loaded.provider}"
    )


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
def doctor(
    port: Annotated[int, typer.Option(help="The port to look at.")] = 8765,
) -> None:
    """Show what is missing here, and the fix.

    Exit status 1 when something must be done.

    \b
    Example:
      timbral doctor
    """
    from server.doctor import examine

    healthy = True
    for finding in examine(port):
        healthy &= finding.healthy
        typer.echo(str(finding))
    raise typer.Exit(0 if healthy else 1)


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


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    typer.echo(installed("timbral"))


def main() -> None:
    """Run the command; an error that we raise on purpose is one line and exit status 1."""
    from stream.errors import TimbralError

    try:
        app()
    except TimbralError as error:
        typer.echo(f"timbral: {error}", err=True)
        sys.exit(1)


def _given(
    pitch: float | None,
    auto_pitch: bool | None,
    index_rate: float | None,
    protect: float | None,
    f0_method: str | None,
    gate_db: float | None,
    speaker: int | None,
) -> dict[str, Any]:
    """The controls that were given, by name."""
    return {name: value for name, value in locals().items() if value is not None}


@contextmanager
def _progress(title: str) -> Generator[Callable[[int, int], None], None, None]:
    """A bar with the time that is left, on the terminal's error output."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None)

        yield show


if __name__ == "__main__":
    main()
