"""Make pitch detectors out of the files that people publish: checkpoints and ONNX models."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.controls import F0Method
from stream.errors import BadCheckpoint, ConfigError
from stream.importer.foreign_detector import write_foreign
from stream.importer.foreign_encoder import is_onnx
from stream.importer.graphs import crepe, fcpe, rmvpe
from stream.importer.install import installing
from stream.importer.tensors import read_tensors
from stream.models.digest import sha256
from stream.models.f0.card import CARD, GRAPH, DetectorCard, DetectorKind
from stream.models.f0.fcpe import Fcpe

Weights = Mapping[str, NDArray[np.float32]]
Shapes = Mapping[str, tuple[int, ...]]


class Known(NamedTuple):
    """A detector that can be made of weights."""

    method: F0Method
    kind: DetectorKind
    sign: str  # a tensor that only this one has, with its shape
    shapes: Shapes
    write: Callable[[Weights, Path], None]


def add_detector(
    files: Sequence[Path], identity: str | None, home: Path, *, licence: str, source: str
) -> DetectorCard:
    """Install the detector in `files` in `home`/models; whole, or not at all.

    files     one file, of weights or an ONNX model: RMVPE, FCPE or CREPE, told by its content
    identity  what it is to be; None takes what it is
    licence   of the weights, as their publisher states it
    source    where they come from

    Raises `ConfigError` when it is another one than `identity`, `BadCheckpoint` when it is no
    detector that is known or is damaged, `HostileFile` when it holds more than data.
    """
    if len(files) != 1:
        names = ", ".join(path.name for path in files) or "nothing"
        raise ConfigError(f"A pitch detector is one file, not {names}.")
    path = files[0]
    if is_onnx(path):
        found, weights = None, {}
        method: F0Method = "rmvpe"
    else:
        found, weights = recognise(path)
        method = found.method
    if identity not in (None, method):
        raise ConfigError(f"{path.name} is the pitch detector '{method}', not '{identity}'.")
    with installing(home / "models" / method) as folder:
        if found is None:
            kind = write_foreign(path, folder / GRAPH)
        else:
            kind = found.kind
            found.write(weights, folder / GRAPH)
        card = DetectorCard(
            id=method,
            kind=kind,
            licence=licence,
            source=source,
            files={path.name: sha256(path) for path in sorted(folder.iterdir())},
        )
        (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n", "utf-8")
    return card


def recognise(path: Path) -> tuple[Known, Weights]:
    """Which detector `path` holds, and its weights in full width, by the names of its graph.

    Raises `BadCheckpoint` and `HostileFile`.
    """
    tensors = read_tensors(path).tensors
    for known in _known():
        ends = [name for name in tensors if name == known.sign or name.endswith(f".{known.sign}")]
        if len(ends) == 1 and tensors[ends[0]].shape == known.shapes[known.sign]:
            inside = ends[0][: -len(known.sign)]
            held = {n[len(inside) :]: t for n, t in tensors.items() if n.startswith(inside)}
            return known, _weights(path, known, held)
    raise BadCheckpoint(
        path, "it is no pitch detector that is known here: rmvpe.pt, fcpe_c_v001.pt, full.pth."
    )


def _known() -> tuple[Known, ...]:
    sizes: dict[F0Method, int] = {"crepe-full": 32, "crepe-tiny": 4}
    return (
        Known("rmvpe", "rmvpe", "unet.encoder.bn.weight", rmvpe.shapes(), rmvpe.write),
        Known("fcpe", "fcpe", "input_stack.0.weight", fcpe.shapes(), fcpe.write),
        *(
            Known(method, "crepe", "conv1.weight", crepe.shapes(size), crepe.write)
            for method, size in sizes.items()
        ),
    )


def _weights(path: Path, known: Known, held: Mapping[str, NDArray[np.generic]]) -> Weights:
    """Exactly the tensors that the graph needs, each of its shape and of finite numbers."""
    weights: dict[str, NDArray[np.float32]] = {}
    name = f"the pitch detector '{known.method}'"
    for key, shape in known.shapes.items():
        if key not in held or held[key].shape != shape:
            was = f"is {list(held[key].shape)}, not {list(shape)}" if key in held else "is missing"
            raise BadCheckpoint(path, f"it is not {name} as published: {key} {was}.")
        with np.errstate(over="ignore"):
            weights[key] = held[key].astype(np.float32)
        if not np.isfinite(weights[key]).all():
            raise BadCheckpoint(path, f"{key} of {name} holds numbers that are none. Get it again.")
    counts = {key for key in held if key.endswith(".num_batches_tracked")}
    unused = sorted(set(held) - set(weights) - counts - IGNORED)
    if unused:
        raise BadCheckpoint(path, f"it is not {name} as published: it has {unused[0]} besides.")
    if "cent_table" in weights and not np.allclose(weights["cent_table"], Fcpe.CENTS, atol=0.1):
        raise BadCheckpoint(path, f"it is not {name} as published: its pitches are others.")
    return weights


IGNORED = {"gaussian_blurred_cent_mask"} | {
    f"net.encoder_layers.{i}.norm.{part}"  # of the attention, which the published FCPE has not
    for i in range(fcpe.LAYERS)
    for part in ("weight", "bias")
}
