"""The verbs of the command `timbral` that talk to a server.

What a verb does is imported when it is called.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from stream.device import AUTO
from stream.options import (
    AnyVoice,
    DeviceName,
    ProfileName,
    Source,
    Target,
    VoiceName,
    controllable,
    progress,
)

Server = Annotated[str, typer.Option("--server", help="Its address.")]
Token = Annotated[
    str | None,
    typer.Option("--token", envvar="TIMBRAL_TOKEN", help="If the server asks for one."),
]
PresetName = Annotated[str, typer.Argument(metavar="NAME", help="One of `timbral presets list`.")]
Local = Annotated[bool, typer.Option("--local", help="Convert in this process, without a server.")]
Input = Annotated[
    str | None, typer.Option("--input", help="The microphone: `timbral devices` lists them.")
]
Output = Annotated[
    str | None,
    typer.Option("--output", help="A loudspeaker, or `default`.  [default: a virtual microphone]"),
]
Monitor = Annotated[
    str | None,
    typer.Option("--monitor", help="A second loudspeaker, or `default`, to hear oneself."),
]
Block = Annotated[
    float,
    typer.Option("--block-ms", min=2.5, max=100.0, help="Of sound at once; more costs latency."),
]
Hold = Annotated[
    bool, typer.Option("--push-to-talk", help="Be heard only while the space key is held.")
]
Begin = Annotated[str | None, typer.Option("--preset", help="Begin with a saved preset.")]
Save = Annotated[
    str | None,
    typer.Option("--save-preset", help="Save the voice and controls under this name first."),
]
Record = Annotated[
    Path | None, typer.Option("--record", help="Record to this .wav, .flac, .ogg or .mp3.")
]
Part = Annotated[
    Literal["in", "out", "both"],
    typer.Option("--part", help="What to record; both are left and right."),
]
Keep = Annotated[
    bool, typer.Option("--keep", help="Leave the virtual microphone there at the end.")
]
Seconds = Annotated[
    float | None, typer.Option("--seconds", min=0.1, help="Stop by itself after so long.")
]
Measure = Annotated[
    bool, typer.Option("--measure", help="Send bursts instead, and print the latency's parts.")
]
HERE = "ws://127.0.0.1:8765"

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)
presets = typer.Typer(help="Saved voices with their controls.", no_args_is_help=True)
app.add_typer(presets, name="presets", rich_help_panel=None)
obs = typer.Typer(help="The filter for OBS Studio.", no_args_is_help=True)
app.add_typer(obs, name="obs", rich_help_panel=None)


@app.command()
@controllable
def send(
    source: Source,
    target: Target,
    server: Server = HERE,
    voice: VoiceName = "starter",
    profile: ProfileName = "auto",
    token: Token = None,
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


@app.command()
@controllable
def mic(
    server: Server = HERE,
    local: Local = False,
    voice: AnyVoice = None,
    profile: ProfileName = "auto",
    device: DeviceName = AUTO,
    token: Token = None,
    input: Input = None,
    output: Output = None,
    monitor: Monitor = None,
    block_ms: Block = 5.0,
    push_to_talk: Hold = False,
    preset: Begin = None,
    save_preset: Save = None,
    record: Record = None,
    part: Part = "both",
    keep: Keep = False,
    seconds: Seconds = None,
    measure: Measure = False,
    *,
    controls: dict[str, Any],
) -> None:
    """Talk in another voice in every program.

    Takes your microphone, has it converted, and plays the result into a virtual microphone that
    Discord, Zoom, OBS and games list as an input. While the server or a device is away, others hear
    silence.

    \b
    Examples:
      timbral mic
      timbral mic --local --profile low --monitor default
      timbral mic --input yeti --preset radio --record talk.wav
      timbral mic --measure
    """
    from clients.live import desk_of, measured, show
    from clients.mic import MicSettings
    from clients.sound import SoundSettings

    desk = desk_of(preset, voice, profile, controls, push_to_talk=push_to_talk)
    if save_preset:
        from clients.presets import Presets

        typer.echo(f"Saved {Presets().save(desk.as_preset(save_preset))}.")
    settings = MicSettings(
        server=server,
        token=token,
        local=str(device) if local else None,
        sound=SoundSettings(
            input=input, output=output, monitor=monitor, block_ms=block_ms, keep=keep
        ),
        record=record,
        part=part,
    )
    if measure:
        typer.echo(measured(settings, desk, seconds))
    else:
        show(settings, desk, seconds)


@app.command()
def devices() -> None:
    """List microphones and loudspeakers.

    \b
    Example:
      timbral devices
    """
    import sys

    from clients.cables import find_cable
    from clients.devices import listing
    from clients.portaudio import list_devices

    found = list_devices()
    typer.echo(listing(found) or "No sound device was found.")
    cable = find_cable(found, sys.platform)
    if cable:
        typer.echo(f"`timbral mic` plays to {cable.device}; choose {cable.microphone} elsewhere.")


@presets.command("list")
def list_presets() -> None:
    """Show every preset, one a line.

    \b
    Example:
      timbral presets list
    """
    from clients.presets import Presets

    saved = Presets()
    for name in saved.names():
        preset = saved.load(name)
        changed = preset.controls.model_dump(exclude_none=True)
        shown = ", ".join(f"{key} {value}" for key, value in changed.items())
        typer.echo(f"{name:20} {preset.voice:12} {shown}")


@presets.command("import")
def import_presets(
    file: Annotated[Path, typer.Argument(help="What `presets export` or the web page wrote.")],
) -> None:
    """Take over presets from a file.

    \b
    Example:
      timbral presets import radio.json
    """
    from clients.presets import Presets

    for preset in Presets().add(file):
        typer.echo(f"Added {preset.name}. Use it: timbral mic --preset '{preset.name}'")


@presets.command("export")
def export_preset(
    name: PresetName, file: Annotated[Path, typer.Argument(help="The file to write.")]
) -> None:
    """Write a preset to a file, for others or for the web page.

    \b
    Example:
      timbral presets export radio radio.json
    """
    from clients.presets import Presets

    Presets().export(name, file)
    typer.echo(f"Wrote {file}.")


@presets.command("remove")
def remove_preset(name: PresetName) -> None:
    """Delete a preset.

    \b
    Example:
      timbral presets remove radio
    """
    from clients.presets import Presets

    Presets().remove(name)
    typer.echo(f"Removed {name}.")


@obs.command("install")
def install_in_obs(
    source: Annotated[
        Path | None, typer.Option(help="A built filter's folder.  [default: this checkout's]")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="OBS's plugin folder.  [default: where an OBS is found]")
    ] = None,
) -> None:
    """Put the filter where OBS finds it.

    \b
    Examples:
      timbral obs install
      timbral obs install --folder D:/obs-portable/obs-plugins
    """
    from clients.obs import NEXT, Place, built, choose, install, places

    plugin = built(source) if source else built()
    targets = choose(places()) if folder is None else [Place("chosen", folder, True)]
    for target in targets:
        typer.echo(f"{target.name:10} {install(plugin, target)}")
    typer.echo(NEXT)


@obs.command("status")
def show_obs() -> None:
    """Show where OBS looks for plugins, and where the filter is.

    \b
    Example:
      timbral obs status
    """
    from clients.obs import places

    for place in places():
        state = "installed" if place.installed else "not installed"
        here = "" if place.is_there else "  (no such OBS found)"
        typer.echo(f"{place.name:10} {state:14} {place.folder}{here}")
