"""The speaker model GE2E (Wan et al. 2018, as Resemblyzer trained it) as one graph."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream.importer.graphs.builder import Array, Graph
from stream.models.speaker import BANDS, FRAMES, WIDTH

Weights = Mapping[str, NDArray[np.float32]]
LAYERS: Final = 3
SHAPES: Mapping[str, tuple[int, ...]] = {
    **{
        f"lstm.{part}_l{layer}": shape
        for layer in range(LAYERS)
        for part, shape in (
            ("weight_ih", (4 * WIDTH, WIDTH if layer else BANDS)),
            ("weight_hh", (4 * WIDTH, WIDTH)),
            ("bias_ih", (4 * WIDTH,)),
            ("bias_hh", (4 * WIDTH,)),
        )
    },
    "linear.weight": (WIDTH, WIDTH),
    "linear.bias": (WIDTH,),
}
"""Of every tensor that the model consists of."""


def speaker_model(weights: Weights) -> Graph:
    """mel [n, 160, 40] in, embeddings [n, 256] of length 1 out.

    Three LSTM layers; the last state of the last one goes through a linear layer and a ReLU.
    """
    graph = Graph("speaker")
    x = graph.transpose(graph.input("mel", ("n", FRAMES, BANDS)), 1, 0, 2)
    last = ""
    for layer in range(LAYERS):
        x, last = _lstm(graph, weights, layer, x)
    last = graph.node("Squeeze", last, graph.integers(0))
    raw = graph.node("Relu", graph.linear(last, weights["linear.weight"], weights["linear.bias"]))
    graph.output(graph.node("LpNormalization", raw, axis=1, p=2), "embedding", ("n", WIDTH))
    return graph


def _lstm(graph: Graph, weights: Weights, layer: int, x: str) -> tuple[str, str]:
    """All states [T, n, width] and the last one [1, n, width]."""
    parts = [f"lstm.{name}_l{layer}" for name in ("weight_ih", "weight_hh")]
    kernels = [graph.constant(_reordered(weights[name])[np.newaxis]) for name in parts]
    biases = [_reordered(weights[f"lstm.bias_{name}_l{layer}"]) for name in ("ih", "hh")]
    bias = graph.constant(np.concatenate(biases)[np.newaxis])
    states, last, _ = graph.nodes("LSTM", 3, x, *kernels, bias, hidden_size=WIDTH)
    return graph.node("Squeeze", states, graph.integers(1)), last


def _reordered(gates: Array) -> Array:
    """torch keeps the gates as input, forget, cell, output; ONNX as input, output, forget, cell."""
    first, forget, cell, out = np.split(gates, 4)
    return np.concatenate([first, out, forget, cell])
