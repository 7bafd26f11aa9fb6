"""Make the separator of voice and band out of the checkpoint that Spleeter publishes."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stream.errors import BadCheckpoint, ConfigError
from stream.importer.bundles import read_bundle
from stream.importer.graphs.spleeter import spleeter, spleeter_shapes
from stream.importer.install import installing
from stream.models.digest import sha256
from stream.models.separator import CARD, GRAPH, LICENCE, SeparatorCard


def add_separator(
    files: Sequence[Path], identity: str, home: Path, *, licence: str, source: str
) -> SeparatorCard:
    """Install the separator in `files` as `home`/models/`identity`; whole, or not at all.

    files   Spleeter's checkpoint of two stems: its index (.index), its data, and the licence
            (LICENSE), which is kept beside the model

    Raises `ConfigError` when a file is missing, `BadCheckpoint` when they are damaged or others.
    """
    index = next((path for path in files if path.suffix == ".index"), None)
    notice = next((path for path in files if path.name == LICENCE), None)
    data = next((path for path in files if ".data-" in path.name), None)
    if index is None or notice is None or data is None:
        raise ConfigError("Spleeter is three files: model.index, model.data-... and LICENSE.")
    weights = read_bundle(index, data)
    for name, shape in spleeter_shapes().items():
        held = weights.get(name)
        if held is None or held.shape != shape or not np.isfinite(held).all():
            why = f"it is no Spleeter of two stems: {name} is not {shape} numbers."
            raise BadCheckpoint(index, why)
    with installing(home / "models" / identity) as folder:
        spleeter(weights).save(folder / GRAPH)
        shutil.copyfile(notice, folder / LICENCE)
        card = SeparatorCard(
            id=identity,
            kind="spleeter",
            licence=licence,
            source=source,
            files={name: sha256(folder / name) for name in (GRAPH, LICENCE)},
        )
        (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n", "utf-8")
    return card
