"""FCPE as an ONNX graph, from the weights of torchfcpe's `fcpe_c_v001.pt`.

Fast Context-based Pitch Estimation, MIT licence, https://github.com/CNChTu/FCPE. The published
model is the one without attention: two convolutions with group normalisation between them, then
six gated convolutions of 31 frames, each added to its input.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.importer.graphs.builder import Graph

Weights = Mapping[str, NDArray[np.float32]]

MELS, HIDDEN, INNER, BINS, LAYERS, KERNEL, GROUPS = 128, 512, 1024, 360, 6, 31, 4
EPSILON = 1e-5
SLOPE = 0.01  # of the leaky ReLU


def shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor that the graph is made of, and its shape."""
    found: dict[str, tuple[int, ...]] = {
        "cent_table": (BINS,),
        "input_stack.0.weight": (HIDDEN, MELS, 3),
        "input_stack.0.bias": (HIDDEN,),
        "input_stack.1.weight": (HIDDEN,),
        "input_stack.1.bias": (HIDDEN,),
        "input_stack.3.weight": (HIDDEN, HIDDEN, 3),
        "input_stack.3.bias": (HIDDEN,),
        "norm.weight": (HIDDEN,),
        "norm.bias": (HIDDEN,),
        "output_proj.weight_g": (BINS, 1),
        "output_proj.weight_v": (BINS, HIDDEN),
        "output_proj.bias": (BINS,),
    }
    for i in range(LAYERS):
        layer = f"net.encoder_layers.{i}.conformer.net"
        found |= {
            f"{layer}.0.weight": (HIDDEN,),
            f"{layer}.0.bias": (HIDDEN,),
            f"{layer}.2.weight": (2 * INNER, HIDDEN, 1),
            f"{layer}.2.bias": (2 * INNER,),
            f"{layer}.4.conv.weight": (INNER, 1, KERNEL),
            f"{layer}.4.conv.bias": (INNER,),
            f"{layer}.6.weight": (HIDDEN, INNER, 1),
            f"{layer}.6.bias": (HIDDEN,),
        }
    return found


def write(weights: Weights, path: Path) -> None:
    """Write the graph `mel` [1, frames, 128] -> `salience` [1, frames, 360], in 0..1.

    weights  by the names in `shapes`
    """
    graph = Graph("fcpe")
    mel = graph.input("mel", (1, "frames", MELS))
    x = _conv(graph, graph.transpose(mel, 0, 2, 1), weights, "input_stack.0", pads=[1, 1])
    x = graph.leaky(_group_norm(graph, x, weights, "input_stack.1"), SLOPE)
    x = _conv(graph, x, weights, "input_stack.3", pads=[1, 1])
    x = graph.transpose(x, 0, 2, 1)  # [1, frames, channels] from here on
    for i in range(LAYERS):
        x = graph.add(x, _gated(graph, x, weights, f"net.encoder_layers.{i}.conformer.net"))
    x = _layer_norm(graph, x, weights, "norm")
    v = weights["output_proj.weight_v"]
    weight = v * (weights["output_proj.weight_g"] / np.linalg.norm(v, axis=1, keepdims=True))
    x = graph.linear(x, weight.astype(np.float32), weights["output_proj.bias"])
    graph.output(graph.node("Sigmoid", x), "salience", (1, "frames", BINS))
    graph.save(path)


def _gated(graph: Graph, x: str, weights: Weights, layer: str) -> str:
    """Normalise, widen, gate, mix 31 frames of each channel, narrow."""
    x = _layer_norm(graph, x, weights, f"{layer}.0")
    x = graph.linear(x, weights[f"{layer}.2.weight"][:, :, 0], weights[f"{layer}.2.bias"])
    value, gate = graph.nodes("Split", 2, x, axis=-1)
    x = graph.mul(value, graph.node("Sigmoid", gate))
    x = graph.transpose(x, 0, 2, 1)
    half = KERNEL // 2
    x = _conv(graph, x, weights, f"{layer}.4.conv", pads=[half, half], group=INNER)
    x = graph.transpose(graph.mul(x, graph.node("Sigmoid", x)), 0, 2, 1)
    return graph.linear(x, weights[f"{layer}.6.weight"][:, :, 0], weights[f"{layer}.6.bias"])


def _conv(graph: Graph, x: str, weights: Weights, name: str, **attributes: Any) -> str:
    kernel, bias = (graph.constant(weights[f"{name}.{part}"]) for part in ("weight", "bias"))
    return graph.node("Conv", x, kernel, bias, **attributes)


def _layer_norm(graph: Graph, x: str, weights: Weights, name: str) -> str:
    scale, bias = (graph.constant(weights[f"{name}.{part}"]) for part in ("weight", "bias"))
    return graph.node("LayerNormalization", x, scale, bias, axis=-1, epsilon=EPSILON)


def _group_norm(graph: Graph, x: str, weights: Weights, name: str) -> str:
    """[1, channels, frames]: each group of channels to mean 0 and variance 1 over all frames."""
    ones, zeros = (graph.constant(np.full(GROUPS, n, np.float32)) for n in (1.0, 0.0))
    x = graph.reshape(x, 1, GROUPS, -1)
    x = graph.node("InstanceNormalization", x, ones, zeros, epsilon=EPSILON)
    x = graph.reshape(x, 1, HIDDEN, -1)
    scale, bias = (
        graph.constant(weights[f"{name}.{p}"][:, np.newaxis]) for p in ("weight", "bias")
    )
    return graph.add(graph.mul(x, scale), bias)
