"""RMVPE as others have exported it to ONNX, told by the names of its inputs and outputs.

RVC's own `rmvpe.onnx` takes `input` [1, 128, frames] (mel) and gives `output` [1, frames, 360]
(salience); deiteris' takes `mel` and `threshold` and gives `pitchf` in Hz; w-okada's takes
`waveform` [1, samples] and `threshold` and gives `pitchf`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from stream.errors import BadCheckpoint
from stream.importer.whole import read_whole
from stream.models.f0.card import DetectorKind

INNER = "inner/"  # before the names that are replaced
THRESHOLDS = {"mel": 0.05, "waveform": 0.3}  # what the programs give that these graphs come from
SOUND: dict[str, DetectorKind] = {"mel": "rmvpe-mel", "waveform": "rmvpe-sound"}


def write_foreign(path: Path, target: Path) -> DetectorKind:
    """Write the RMVPE in `path` so that it is called as its kind says; see `DetectorCard`.

    A threshold becomes a constant, and `pitchf` loses its dimensions of 1. Raises `BadCheckpoint`
    when the model is none of the three.
    """
    model = read_whole(path)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = {v.name: v for v in model.graph.input if v.name not in weights}
    outputs = {v.name: v for v in model.graph.output}
    _check_numbers(path, [*inputs.values(), *outputs.values()])
    if (list(inputs), list(outputs)) == (["input"], ["output"]):
        if _last(outputs["output"]) not in (360, None):
            raise BadCheckpoint(path, "its output is not a salience of 360 pitches.")
        onnx.save(model, str(target))
        return "rmvpe"
    heard = next((name for name in SOUND if set(inputs) == {name, "threshold"}), None)
    if heard is None or list(outputs) != ["pitchf"]:
        raise BadCheckpoint(
            path,
            f"it takes {', '.join(inputs)} and gives {', '.join(outputs)}, as no RMVPE does that "
            "is known here: input -> output, mel and threshold -> pitchf, or waveform and "
            "threshold -> pitchf.",
        )
    if not any(node.op_type in ("GRU", "If", "Loop") for node in model.graph.node):
        raise BadCheckpoint(
            path, "it is not RMVPE but another detector of the same form. Use fcpe_c_v001.pt."
        )
    onnx.save(_plain(model, inputs, heard), str(target))
    return SOUND[heard]


def _plain(model: onnx.ModelProto, inputs: dict[str, Any], heard: str) -> onnx.ModelProto:
    """`model` without a threshold to choose, and with `pitchf` [frames]."""
    graph = model.graph
    threshold = inputs["threshold"]
    shape = [max(1, dim.dim_value) for dim in threshold.type.tensor_type.shape.dim]
    graph.input.remove(threshold)
    value = np.full(shape, THRESHOLDS[heard], np.float32)
    graph.initializer.append(numpy_helper.from_array(value, "threshold"))
    for node in graph.node:
        node.output[:] = [INNER + name if name == "pitchf" else name for name in node.output]
        node.input[:] = [INNER + name if name == "pitchf" else name for name in node.input]
    row = f"{INNER}row"
    graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), row))
    graph.node.append(helper.make_node("Reshape", [f"{INNER}pitchf", row], ["pitchf"]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("pitchf", TensorProto.FLOAT, ["frames"]))
    return model


def _check_numbers(path: Path, values: list[Any]) -> None:
    for value in values:
        tensor = value.type.tensor_type
        if tensor.elem_type != TensorProto.FLOAT:
            raise BadCheckpoint(path, f"{value.name} is not float32. Use the model in full width.")
        lengths = [dim.dim_value for dim in tensor.shape.dim]
        if value.name in ("input", "mel", "waveform") and lengths[-1:] != [0]:
            raise BadCheckpoint(path, f"{value.name} has a fixed length: it was exported for one.")


def _last(value: Any) -> int | None:
    """The size of the last dimension, if it is a number."""
    dims = value.type.tensor_type.shape.dim
    return (dims[-1].dim_value or None) if dims else None
