"""Make the speaker model out of the checkpoint that Resemblyzer publishes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stream.errors import BadCheckpoint, ConfigError
from stream.importer.graphs.speaker import SHAPES, speaker_model
from stream.importer.install import installing
from stream.importer.tensors import read_tensors
from stream.models.digest import sha256
from stream.models.speaker import CARD, GRAPH, SpeakerCard

PREFIXES = ("model_state.", "")


def add_speaker(
    files: Sequence[Path], identity: str, home: Path, *, licence: str, source: str
) -> SpeakerCard:
    """Install the speaker model in `files` as `home`/models/`identity`; whole, or not at all.

    Raises `ConfigError` for more than one file, `BadCheckpoint` when it is another model or is
    damaged, `HostileFile` when it holds more than data.
    """
    if len(files) != 1:
        names = ", ".join(path.name for path in files) or "nothing"
        raise ConfigError(f"A speaker model is one file, not {names}.")
    path = files[0]
    tensors = read_tensors(path).tensors
    prefix = next((p for p in PREFIXES if f"{p}linear.weight" in tensors), "")
    weights = {name: tensors.get(f"{prefix}{name}") for name in SHAPES}
    kept = {name: np.asarray(v, np.float32) for name, v in weights.items() if v is not None}
    for name, shape in SHAPES.items():
        if name not in kept or kept[name].shape != shape or not np.isfinite(kept[name]).all():
            raise BadCheckpoint(
                path, f"it is no GE2E speaker model: {name} is not {shape} numbers."
            )
    with installing(home / "models" / identity) as folder:
        speaker_model(kept).save(folder / GRAPH)
        card = SpeakerCard(
            id=identity, licence=licence, source=source, files={GRAPH: sha256(folder / GRAPH)}
        )
        (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n", "utf-8")
    return card
