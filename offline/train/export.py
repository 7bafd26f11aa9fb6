"""Streaming modules -> ONNX files: named state in and out, weights stored as float16."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from offline.train.eight_bit import to_eight_bit
from offline.train.student import FRAME_SAMPLES, State, Student
from stream.models.content import EncoderCard
from stream.models.digest import sha256
from stream.models.voice import ENCODER, ENCODER_CARD

OPSET = 17
BATCH = "batch"  # the name of the first axis of every input and output
SMALL = 256
"""Tensors of fewer elements stay float32: norms and biases are small and need the precision."""


class StreamingModule(Protocol):
    """What can be exported: inputs by name and state in, outputs by name and next state out."""

    def __call__(
        self, inputs: Mapping[str, Tensor], state: State
    ) -> tuple[Mapping[str, Tensor], State]: ...


class _Flat(nn.Module):
    """A streaming module with its tensors as positional arguments, which the exporter needs."""

    def __init__(self, module: StreamingModule, inputs: list[str], states: list[str]) -> None:
        super().__init__()
        self.module = module
        self.inputs = inputs
        self.states = states

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        n = len(self.inputs)
        outputs, after = self.module(
            dict(zip(self.inputs, tensors[:n], strict=True)),
            dict(zip(self.states, tensors[n:], strict=True)),
        )
        return (*outputs.values(), *(after[s] for s in self.states))


def export_streaming(
    module: StreamingModule,
    inputs: Mapping[str, Tensor],
    state: State,
    dynamic: Mapping[str, Mapping[int, str]],
    path: Path,
    *,
    eight_bit: bool = False,
) -> None:
    """Write `module` to `path`, replacing the file in one go.

    Args:
        module: the streaming module, in evaluation mode.
        inputs: example inputs by name.
        state: the zero state; its tensors become the inputs `state_X` and the outputs `next_X`.
        dynamic: input or output name -> its axes of free length.
        path: the `.onnx` file.
        eight_bit: store the weights of matrix products in 8 bits (`offline.train.eight_bit`).
    """
    states = list(state)
    with torch.no_grad():
        outputs = list(module(inputs, state)[0])
    flat = _Flat(module, list(inputs), states)
    if isinstance(module, nn.Module):
        flat.add_module("held", module)
    draft = path.with_suffix(".draft")
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # the tracing exporter is the one that keeps the lengths of time axes free
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", TracerWarning)
        torch.onnx.export(
            flat.eval(),
            (*inputs.values(), *state.values()),
            str(draft),
            input_names=[*inputs, *(f"state_{s}" for s in states)],
            output_names=[*outputs, *(f"next_{s}" for s in states)],
            dynamic_axes=_axes(dynamic, states),
            opset_version=OPSET,
            dynamo=False,
        )
    graph = onnx.load(str(draft))
    if eight_bit:
        graph = to_eight_bit(graph)
    halve(graph)
    _fix_state_shapes(graph, state)
    onnx.checker.check_model(graph)
    onnx.save(graph, str(draft))
    os.replace(draft, path)


def halve(model: onnx.ModelProto) -> None:
    """Store the large float32 weights as float16, each behind a Cast that is folded at load.

    The computation stays float32; the file is half the size. Weights are the initializers, and the
    constants that tracing leaves in the nodes, such as the matrices of Fourier transforms.
    """
    graph = model.graph
    _lift_constants(graph)
    casts: list[onnx.NodeProto] = []
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < SMALL:
            continue
        stored = numpy_helper.from_array(values.astype(np.float16), f"{tensor.name}.half")
        graph.initializer.remove(tensor)
        graph.initializer.append(stored)
        casts.append(helper.make_node("Cast", [stored.name], [tensor.name], to=TensorProto.FLOAT))
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *nodes])


def _lift_constants(graph: onnx.GraphProto) -> None:
    """Turn the Constant nodes that hold tensors into initializers."""
    for node in [
        n for n in graph.node if n.op_type == "Constant" and n.attribute[0].name == "value"
    ]:
        tensor = graph.initializer.add()
        tensor.CopyFrom(node.attribute[0].t)
        tensor.name = node.output[0]
        graph.node.remove(node)


def _axes(dynamic: Mapping[str, Mapping[int, str]], states: list[str]) -> dict[str, dict[int, str]]:
    """All axes of free length: those in time, and the first of everything, the batch."""
    both = [f"{end}_{state}" for end in ("state", "next") for state in states]
    return {name: {0: BATCH, **axes} for name, axes in [*dynamic.items(), *((n, {}) for n in both)]}


def _fix_state_shapes(model: onnx.ModelProto, state: State) -> None:
    """Declare what tracing forgets: a state goes out in the shape it came in."""
    for output in model.graph.output:
        name = output.name.removeprefix("next_")
        if name == output.name or name not in state:
            continue
        dims = output.type.tensor_type.shape.dim
        del dims[:]
        dims.add().dim_param = BATCH
        for size in state[name].shape[1:]:
            dims.add().dim_value = size


class _Content(nn.Module):
    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(
        self, inputs: Mapping[str, Tensor], state: State
    ) -> tuple[Mapping[str, Tensor], State]:
        features, after = self.student(inputs["audio"], state)
        return {"features": features}, after


def export_student(student: Student, folder: Path) -> None:
    """Write the encoder and its card into `folder`, as `stream.models.voice` reads them."""
    export_streaming(
        _Content(student.eval()),
        {"audio": torch.zeros(1, 4 * FRAME_SAMPLES)},
        student.zero_state(),
        {"audio": {1: "samples"}, "features": {1: "frames"}},
        folder / ENCODER,
        eight_bit=True,
    )
    card = EncoderCard(
        id=f"student-{student.shape.features}",
        dim=student.shape.features,
        delay_frames=student.delay_frames,
        licence="MIT",
        files={ENCODER: sha256(folder / ENCODER)},
    )
    draft = folder / "encoder.draft"
    draft.write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    os.replace(draft, folder / ENCODER_CARD)
