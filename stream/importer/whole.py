"""ONNX models of others, read without running them."""

from pathlib import Path

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
        return onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError) as error:
        raise BadCheckpoint(path, f"it is a damaged ONNX model ({error}). Get it again.") from error


def read_whole(path: Path) -> onnx.ModelProto:
    """The model in one file. Raises `BadCheckpoint`, also when its weights are in other files."""
    model = load_model(path)
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise BadCheckpoint(path, "its weights are in other files. Save it as one file.")
    return model
