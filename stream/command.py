"""The verbs of the command `timbral` that show and keep voices and models.

What a verb does is imported when it is called.
"""

from pathlib import Path
from typing import Annotated

import typer

from stream.options import progress, transfer

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


@voices.command("add")
def add_voice(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="A .pth, .safetensors or .onnx file, a zip or folder with one, or a bundle.",
        ),
    ],
    index: Annotated[
        Path | None, typer.Option(help="The faiss index (added_*.index) that belongs to it.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What to call it.  [default: after its file]")
    ] = None,
) -> None:
    """Add a voice to the store.

    Takes what RVC, Applio and others publish: it is told by its content, checked, and made into a
    bundle of ONNX graphs. Nothing in the files is run.

    \b
    Examples:
      timbral voices add Ada.pth --index added_IVF256_Flat_nprobe_1_Ada_v2.index
      timbral voices add Ada.zip --name ada
      timbral voices add ~/Downloads/ada
    """
    from stream.importer.voices import advice, import_voice
    from stream.models.store import Store
    from stream.models.voice import INDEX

    store = Store()
    with progress(f"Adding {files[0].name}") as show:
        card = import_voice(files, store=store, name=name, index=index, progress=show)
    parts = [f"RVC {card.rvc_version}", f"{card.sample_rate} Hz"]
    parts += [f"{len(card.speakers)} speakers"] if len(card.speakers) > 1 else []
    parts += ["with an index" if INDEX in card.files else "without an index"]
    typer.echo(f"Added {card.name}: {', '.join(parts)}, encoder {card.encoder}.")
    missing = advice(card, store)
    typer.echo(missing or f"Hear it: timbral convert speech.wav out.wav --voice {card.name}")


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
    """Show encoders, pitch detectors and training bases.

    First those that are here, then those that can be pulled.

    \b
    Example:
      timbral models list
    """
    from stream.models.assets import installed, manifest, megabytes
    from stream.models.store import Store

    store, known = Store(), manifest()
    for model in store.models():
        where = {"package": "comes with timbral", "store": "installed"}[model.where]
        typer.echo(f"{model.id:24} {model.kind:8} {megabytes(model.size):>8}  {where}")
    for asset in known.assets:
        if not installed(store.home, asset.id):
            size = megabytes(known.size(asset))
            typer.echo(f"{asset.id:24} {asset.kind:8} {size:>8}  to pull: {asset.title}")


@models.command("add")
def add_model(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="The weights, and config.json where there is one."),
    ],
    identity: Annotated[
        str,
        typer.Option(
            "--id",
            metavar="ID",
            help="What voices call it, as spin-768.  [default: a pitch detector]",
        ),
    ] = "",
    licence: Annotated[str, typer.Option(help="Of the weights.")] = "unknown",
    source: Annotated[str, typer.Option(help="Where they come from.")] = "",
    eight_bit: Annotated[
        bool, typer.Option(help="Keep an encoder's matrices in 8 bits: faster, less exact.")
    ] = False,
) -> None:
    """Install a content encoder or a pitch detector from files that you have.

    An encoder is a HuBERT of base size (.bin, .pt, .safetensors) or an ONNX file; its id ends in
    the number of its features: 768 for RVC v2, 256 for v1. A detector is told by its content.

    \b
    Examples:
      timbral models add pytorch_model.bin config.json --id spin-768
      timbral models add checkpoint_best_legacy_500.pt --id contentvec-256
      timbral models add rmvpe.pt
    """
    from stream.importer.detectors import add_detector
    from stream.importer.encoders import add_encoder
    from stream.models.store import Store

    home = Store().home
    origin = source or ", ".join(path.name for path in files)
    if identity:
        card = add_encoder(
            files, identity, home, licence=licence, source=origin, eight_bit=eight_bit
        )
    else:
        card = add_detector(files, None, home, licence=licence, source=origin)
    typer.echo(f"Installed {card.id}.")


@models.command("pull")
def pull_models(
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID", help="Those of `models list`.  [default: what is missing]"),
    ] = None,
    from_dir: Annotated[
        Path | None,
        typer.Option(help="Take the files from this folder, whatever their names; no network."),
    ] = None,
    mirror: Annotated[
        str,
        typer.Option(
            envvar="TIMBRAL_MIRROR", help="An address to ask first, as https://my.mirror:8080."
        ),
    ] = "",
) -> None:
    """Download and install models that voices share.

    Without an ID: the encoders that voices here need and that are missing. A download that broke
    off goes on where it stopped; every file is checked before it is used.

    \b
    Examples:
      timbral models pull contentvec-768
      timbral models pull contentvec-768 rmvpe --from-dir /media/stick
      timbral models pull rmvpe --mirror https://hf-mirror.com
    """
    from stream.importer.pull import Source, converter, pull
    from stream.models.assets import installed, manifest
    from stream.models.store import Store

    store, known = Store(), manifest()
    if not ids:
        needed = {store.card(name).encoder for name in store.names()}
        ids = sorted(one for one in needed if not installed(store.home, one))
    if not ids:
        typer.echo("No voice here needs a model that is missing. See: timbral models list")
        return
    with transfer(f"Getting {', '.join(ids)}") as show:
        source = Source(mirror=mirror, folder=from_dir)
        added = pull(ids, store.home, known, source, progress=show, convert=converter)
    for asset in added:
        typer.echo(f"Installed {asset.id} ({asset.licence}, {asset.source})")
    for here in sorted(set(ids) - {asset.id for asset in added}):
        typer.echo(f"{here} is installed already.")
