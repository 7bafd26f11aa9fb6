"""Make content encoders out of the files that people publish: checkpoints and ONNX models."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from stream.errors import BadCheckpoint, ConfigError
from stream.importer.foreign_encoder import is_onnx, write_window
from stream.importer.graphs.hubert import HubertShape, write
from stream.importer.hubert import read_config, read_hubert
from stream.importer.install import installing
from stream.models.content import EncoderCard
from stream.models.digest import sha256
from stream.models.voice import ENCODER_CARD

WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".safetensors", ".onnx")
IDENTITY = re.compile(r"[a-z0-9][a-z0-9-]{0,50}-(?P<dim>\d{1,4})(-layer(?P<layer>\d{1,2}))?")
PROJECTED_LAYER: Final = 9  # RVC v1: final_proj of the ninth layer's output


def add_encoder(
    files: Sequence[Path],
    identity: str,
    home: Path,
    *,
    licence: str,
    source: str,
    eight_bit: bool = False,
) -> EncoderCard:
    """Install the encoder in `files` as `home`/models/`identity`; whole, or not at all.

    files      the weights, and config.json where there is one; told by content, not by name
    identity   "<name>-<features>": 768 is what the last layer says, 256 the ninth layer through
               `final_proj`, as RVC v2 and v1 want it; "-layer<n>" at the end asks for another layer
    licence    of the weights, as their publisher states it
    source     where they come from
    eight_bit  keep the transformer's matrices in 8 bits: faster, a quarter of the size, less exact

    Raises `ConfigError` for an identity of another form, `BadCheckpoint` when the files hold no
    such encoder, `HostileFile` when they hold more than data.
    """
    asked = IDENTITY.fullmatch(identity)
    if asked is None:
        raise ConfigError(
            f"'{identity}' names no encoder: small letters, digits and '-', and at the end the "
            "number of features, as in 'spin-768'."
        )
    dim, layer = int(asked["dim"]), int(asked["layer"] or 0)
    weights = _weights(files)
    with installing(home / "models" / identity) as folder:
        if is_onnx(weights):
            shape, names, kind = HubertShape(), [write_window(weights, folder, dim)], "window"
        else:
            hubert = read_hubert(weights, read_config(files))
            shape, kind = wanted(hubert.shape, dim, layer, weights), "hubert"
            names = write(shape, hubert.weights, folder, eight_bit=eight_bit)
        card = EncoderCard(
            id=identity,
            kind=kind,
            dim=dim,
            channels=shape.channels,
            width=shape.width,
            licence=licence,
            source=source,
            files={name: sha256(folder / name) for name in names},
        )
        (folder / ENCODER_CARD).write_text(card.model_dump_json(indent=2) + "\n", "utf-8")
    return card


def wanted(held: HubertShape, dim: int, layer: int, path: Path) -> HubertShape:
    """`held` cut down to what says `dim` features; `layer` 0 is the usual one for that number.

    Raises `BadCheckpoint` when the file cannot say them.
    """
    projected = dim != held.width
    if projected and not (held.projected and held.dim == dim):
        has = f"{held.width}" + (f" or {held.dim}" if held.projected else ", and no final_proj")
        raise BadCheckpoint(path, f"it cannot give {dim} features a frame: it has {has}.")
    usual = min(PROJECTED_LAYER, held.layers) if projected else held.layers
    chosen = layer or usual
    if chosen > held.layers:
        raise BadCheckpoint(path, f"it has {held.layers} layers, not {chosen}.")
    return replace(held, layers=chosen, projected=projected, dim=dim)


def _weights(files: Sequence[Path]) -> Path:
    """The one of `files` that holds the weights."""
    found = [path for path in files if path.suffix.lower() in WEIGHTS]
    found = found or [path for path in files if path.suffix.lower() != ".json"]
    if len(found) != 1:
        names = ", ".join(path.name for path in files) or "nothing"
        raise ConfigError(f"An encoder is one file of weights (and its config.json), not {names}.")
    return found[0]
