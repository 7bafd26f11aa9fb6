"""The cut that makes SwiftF0's graph start at its spectra."""

import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from offline.train import swift
from stream.models.onnx import OnnxModel


def original() -> onnx.ModelProto:
    """A stand-in with the original's seams: audio -> three spectra -> pitch and confidence."""
    nodes = [helper.make_node("Mul", ["audio", "two"], ["louder"])]
    for name, (spectrum, _) in swift.SPECTRA.items():
        nodes += [
            helper.make_node("Sqrt", ["louder"], [spectrum]),
            helper.make_node("ReduceMax", [spectrum], [f"max_{name}"], axes=[2], keepdims=0),
        ]
    nodes += [
        helper.make_node("Sum", [f"max_{name}" for name in swift.SPECTRA], ["total"]),
        helper.make_node("Add", ["total", "fmin"], ["pitch"]),
        helper.make_node("Mul", ["total", "fmax"], ["confidence"]),
    ]
    inputs = [
        helper.make_tensor_value_info("audio", TensorProto.FLOAT, [1, "samples", 1]),
        *(helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in ("fmin", "fmax")),
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "frames"])
        for name in ("pitch", "confidence")
    ]
    constants = [numpy_helper.from_array(np.float32(2.0).reshape(()), "two")]
    graph = helper.make_graph(nodes, "stand-in", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_what_follows_the_spectra_stays_and_nothing_else(tmp_path: Path) -> None:
    wheel, out = tmp_path / "swift.whl", tmp_path / "cut.onnx"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("swift_f0/model.onnx", original().SerializeToString())
    swift.main([str(wheel), str(out)])
    spectra = {
        name: np.random.default_rng(size).random((3, 5, size // 2 + 1)).astype(np.float32)
        for name, (_, size) in swift.SPECTRA.items()
    }
    model = OnnxModel(
        out,
        {name: (None, None, x.shape[2]) for name, x in spectra.items()} | {"fmin": (), "fmax": ()},
        {"pitch": (None, None), "confidence": (None, None)},
    )
    limits = {"fmin": np.array(1.0, np.float32), "fmax": np.array(3.0, np.float32)}
    found = {name: np.asarray(x, np.float32) for name, x in model(**spectra, **limits).items()}
    total = sum(x.max(axis=2) for x in spectra.values())
    np.testing.assert_allclose(found["pitch"], total + 1.0, rtol=1e-6)
    np.testing.assert_allclose(found["confidence"], total * 3.0, rtol=1e-6)
    cut = onnx.load(out)
    assert [node.op_type for node in cut.graph.node] == ["ReduceMax"] * 3 + ["Sum", "Add", "Mul"]
    assert not cut.graph.initializer


def test_another_model_is_refused() -> None:
    other = original()
    other.graph.node[1].output[0] = "renamed"
    with pytest.raises(ValueError, match=r"not swift-f0 0\.3\.0: it has no \['v339'\]"):
        swift.cut(other)
