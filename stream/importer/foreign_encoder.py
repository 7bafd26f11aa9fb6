"""Content encoders that others have exported as ONNX, wrapped to one pair of names.

w-okada's `contentvec-f.onnx` takes `audio` [1, n] and gives `units9` [1, t, 256], `unit12`
[1, t, 768] and more; RVC's `vec-768-layer-12.onnx` takes `source` [1, 1, n] and gives `embed`,
[1, t, 768] or [1, 768, t]. Others are taken as well: what counts is the number of features.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from stream.audio import CONTENT_HOP
from stream.errors import BadCheckpoint, ModelError
from stream.importer.whole import read_whole
from stream.models.hubert import OVERHANG, WINDOW
from stream.models.onnx import OnnxModel

INNER = "inner/"  # before the names of the graph inside
PREFERRED = ("unit12", "units9", "embed")
PROBED = 50  # content frames, a second, on which a graph is tried
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
MOST_VALUE = 1e4  # features beyond that are no features


def is_onnx(path: Path) -> bool:
    """Whether the file begins as an ONNX model does: its IR version, 3 to 15, comes first."""
    try:
        with path.open("rb") as file:
            head = file.read(2)
    except OSError as error:
        raise BadCheckpoint(path, f"it cannot be read ({error.strerror or error}).") from error
    return len(head) == 2 and head[0] == 8 and 3 <= head[1] <= 15


def write_window(path: Path, folder: Path, dim: int) -> str:
    """Write window.onnx, `audio` [1, n] to `features` [t, dim], into `folder`; its name.

    Raises `BadCheckpoint` when the model is no content encoder of `dim` features a frame.
    """
    model = read_whole(path)
    source = _source(path, model)
    shapes = {out.name: _dims(out) for out in model.graph.output}
    fit = [n for n, dims in shapes.items() if len(dims) in (2, 3) and _may_be(dims, dim)]
    fit.sort(key=lambda n: (dim not in shapes[n], n not in PREFERRED, n))
    for name in fit:
        rank = len(shapes[name])
        for last in (True, False):  # frames in rows, or in columns
            wrapped = _wrapped(model, source, name, rank, last, dim)
            onnx.save(wrapped, str(folder / WINDOW))
            if _says(folder / WINDOW, dim):
                return WINDOW
            (folder / WINDOW).unlink()
    outputs = ", ".join(f"{name} {list(dims)}" for name, dims in shapes.items())
    raise BadCheckpoint(path, f"none of its outputs is {dim} features a 20 ms frame: {outputs}.")


def _source(path: Path, model: onnx.ModelProto) -> Any:
    """The one input, audio of any length [1, n] or [1, 1, n]."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1 or len(_dims(inputs[0])) not in (2, 3) or _kind(inputs[0]) not in FLOATS:
        found = ", ".join(f"{value.name} {list(_dims(value))}" for value in inputs) or "none"
        raise BadCheckpoint(path, f"it is no content encoder: its inputs are {found}.")
    if isinstance(length := _dims(inputs[0])[-1], int):
        raise BadCheckpoint(
            path, f"it was exported for {length} samples only. Export it with a dynamic length."
        )
    return inputs[0]


def _wrapped(
    model: onnx.ModelProto, source: Any, output: str, rank: int, last: bool, dim: int
) -> onnx.ModelProto:
    """The model with our names and shapes around it, and only the output that is wanted."""
    inner = onnx.compose.add_prefix(model, INNER)  # a copy
    graph = inner.graph
    order = list(range(rank))
    if not last:
        order[-2:] = order[:-3:-1]
    audio = [1, -1] if len(_dims(source)) == 2 else [1, 1, -1]
    graph.initializer.append(helper.make_tensor("size", TensorProto.INT64, [len(audio)], audio))
    graph.initializer.append(helper.make_tensor("first", TensorProto.INT64, [1], [0]))
    before = [
        helper.make_node("Cast", ["audio"], ["heard"], to=_kind(source)),
        helper.make_node("Reshape", ["heard", "size"], [INNER + source.name]),
    ]
    after = [
        helper.make_node("Cast", [INNER + output], ["said"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["said"], ["rows"], perm=order),
        helper.make_node("Squeeze", ["rows", "first"], ["features"])
        if rank == 3
        else helper.make_node("Identity", ["rows"], ["features"]),
    ]
    nodes = [*before, *graph.node, *after]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info("audio", TensorProto.FLOAT, [1, "n"]))
    rows = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["t", dim])
    graph.output.append(rows)
    return inner


def _says(path: Path, dim: int) -> bool:
    """Whether the wrapped model turns a second of noise into a frame every 20 ms."""
    noise = np.random.default_rng(0).standard_normal((1, PROBED * CONTENT_HOP + OVERHANG))
    try:
        model = OnnxModel(path, {"audio": (1, None)}, {"features": (None, dim)})
        features = model.probe(audio=noise.astype(np.float32) * np.float32(0.1))["features"]
    except ModelError:
        return False
    values = np.asarray(features, np.float32)
    return values.shape == (PROBED, dim) and bool((np.abs(values) < MOST_VALUE).all())


def _dims(value: Any) -> tuple[int | str, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") else d.dim_param for d in dims)


def _kind(value: Any) -> int:
    return int(value.type.tensor_type.elem_type)


def _may_be(dims: tuple[int | str, ...], dim: int) -> bool:
    """Whether one of the last two sizes is, or may turn out to be, the number of features."""
    return any(size == dim or isinstance(size, str) for size in dims[-2:])
