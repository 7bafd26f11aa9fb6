"""A voice's two graphs."""

from collections.abc import Mapping
from pathlib import Path

from stream.importer.checkpoint import RvcCheckpoint
from stream.importer.graphs.decoder import decoder, delay
from stream.importer.graphs.prior import prior
from stream.models.nsf import DECODER, PRIOR


def write(checkpoint: RvcCheckpoint, folder: Path) -> list[str]:
    """Write the synthesizer's graphs into `folder`; the names of the files."""
    files: list[str] = []
    for make, name in ((prior, PRIOR), (decoder, DECODER)):
        weights = Path(name).with_suffix(".bin").name
        make(checkpoint, folder / weights).save(folder / name)
        files += [name, weights]
    return files


def about(checkpoint: RvcCheckpoint) -> Mapping[str, int]:
    """What the voice's card must tell of the graphs: `latent` channels, samples `late`."""
    return {"latent": checkpoint.shape.inter, "late": delay(checkpoint.shape)}
