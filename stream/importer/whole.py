"""ONNX models of others, read whole."""

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from stream.errors import BadCheckpoint


def read_whole(path: Path) -> onnx.ModelProto:
    """The model in one file. Raises `BadCheckpoint`, also when its weights are in other files."""
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError) as error:
        raise BadCheckpoint(path, f"it is a damaged ONNX model ({error}). Get it again.") from error
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise BadCheckpoint(path, "its weights are in other files. Save it as one file.")
    return model
