"""ONNX models of others, read without running them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from stream.errors import BadCheckpoint

LARGEST = 2_000_000_000  # bytes; one ONNX file cannot hold more


def load_model(path: Path) -> onnx.ModelProto:
    """What is in the file itself. Raises `BadCheckpoint` when that is no ONNX model."""
    try:
        if path.stat().st_size > LARGEST:
            raise BadCheckpoint(path, "it is larger than an ONNX file can be.")
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError) as error:
        raise BadCheckpoint(path, f"it is a damaged ONNX model ({error}). Get it again.") from error
    if any(isinstance(name, bytes) for name in _names(model)):  # so protobuf gives broken UTF-8
        raise BadCheckpoint(path, "it is a damaged ONNX model (a name is no text). Get it again.")
    return model


def _names(model: onnx.ModelProto) -> Iterator[object]:
    """What the model calls its parts."""
    for entry in model.metadata_props:
        yield from (entry.key, entry.value)
    graphs: list[Any] = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        yield graph.name
        for value in (*graph.input, *graph.output):
            yield value if isinstance(value, str) else getattr(value, "name", value)
        for tensor in getattr(graph, "initializer", ()):
            yield tensor.name
        for node in graph.node:
            yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
            for attribute in node.attribute:
                yield attribute.name
                graphs += [attribute.g] if attribute.HasField("g") else []
                graphs += attribute.graphs


def read_whole(path: Path) -> onnx.ModelProto:
    """The model in one file. Raises `BadCheckpoint`, also when its weights are in other files."""
    model = load_model(path)
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise BadCheckpoint(path, "its weights are in other files. Save it as one file.")
    return model
