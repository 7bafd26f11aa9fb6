"""Spleeter's separation of two stems (Hennequin et al. 2020, JOSS 5(50), 2154) as an ONNX graph."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from stream.importer.graphs.builder import Graph

Weights = Mapping[str, NDArray[np.float32]]

BINS, CHANNELS = 1024, 2
DEPTH = 6  # halvings of time and frequency
FRAMES = 1 << DEPTH  # time goes in multiples of this
WIDTHS = (16, 32, 64, 128, 256, 512)
LEAK = 0.2
EPSILON = 1e-3  # of batch normalisation, as Keras has it
LEAST = 1e-10  # keeps silence from dividing by zero, as in Spleeter


def spleeter_shapes() -> dict[str, tuple[int, ...]]:
    """Of every tensor that the two networks consist of, in Keras's names and orders."""
    shapes: dict[str, tuple[int, ...]] = {}
    for net in range(2):
        for i, width in enumerate(WIDTHS):
            before = WIDTHS[i - 1] if i else CHANNELS
            shapes |= _convolution(f"conv2d{_nth(7 * net + i)}", (5, 5, before, width), width)
            shapes |= _norm(12 * net + i, width)
        for i in range(DEPTH):
            wide, narrow = WIDTHS[-1 - i], ([*WIDTHS[-2::-1], 1])[i]
            into = wide if i == 0 else 2 * wide
            name = f"conv2d_transpose{_nth(6 * net + i)}"
            shapes |= _convolution(name, (5, 5, narrow, into), narrow)
            shapes |= _norm(12 * net + 6 + i, narrow)
        shapes |= _convolution(f"conv2d{_nth(7 * net + 6)}", (4, 4, 1, CHANNELS), CHANNELS)
    return shapes


def spleeter(weights: Weights) -> Graph:
    """magnitude [n, 2, t, 1024] in, share [n, 2, t, 1024] out: how much of each bin is the voice.

    t is a multiple of 64. The networks estimate both magnitudes, and the share is that of their
    squares. Law: equals the published model in Keras.
    """
    graph = Graph("spleeter")
    x = graph.input("magnitude", ("n", CHANNELS, "t", BINS))
    nets = [_estimate(graph, weights, net, x) for net in range(2)]
    voice, band = (graph.mul(estimate, estimate) for estimate in nets)
    half = graph.number(LEAST / 2)
    both = graph.add(graph.add(voice, band), graph.number(LEAST))
    share = graph.node("Div", graph.add(voice, half), both)
    graph.output(share, "share", ("n", CHANNELS, "t", BINS))
    return graph


def _estimate(graph: Graph, weights: Weights, net: int, x: str) -> str:
    """A U-Net: the magnitude of one of the two stems."""
    skipped: list[str] = []
    y = x
    for i in range(DEPTH):
        name = f"conv2d{_nth(7 * net + i)}"
        kernel = graph.constant(weights[f"{name}/kernel"].transpose(3, 2, 0, 1))
        bias = graph.constant(weights[f"{name}/bias"])
        raw = graph.node("Conv", y, kernel, bias, strides=[2, 2], pads=[1, 1, 2, 2])
        skipped.append(raw)
        y = graph.leaky(_normalised(graph, weights, 12 * net + i, raw), LEAK)
    y = skipped.pop()  # the innermost is passed on as it is
    for i in range(DEPTH):
        name = f"conv2d_transpose{_nth(6 * net + i)}"
        kernel = graph.constant(weights[f"{name}/kernel"].transpose(3, 2, 0, 1))
        bias = graph.constant(weights[f"{name}/bias"])
        y = graph.node("ConvTranspose", y, kernel, bias, strides=[2, 2], pads=[1, 1, 2, 2])
        y = _normalised(graph, weights, 12 * net + 6 + i, graph.node("Relu", y))
        if skipped:
            y = graph.concat(skipped.pop(), y, axis=1)
    name = f"conv2d{_nth(7 * net + 6)}"
    kernel = graph.constant(weights[f"{name}/kernel"].transpose(3, 2, 0, 1))
    bias = graph.constant(weights[f"{name}/bias"])
    mask = graph.node("Conv", y, kernel, bias, dilations=[2, 2], pads=[3, 3, 3, 3])
    return graph.mul(graph.node("Sigmoid", mask), x)


def _normalised(graph: Graph, weights: Weights, number: int, x: str) -> str:
    parts = ("gamma", "beta", "moving_mean", "moving_variance")
    held = [graph.constant(weights[f"batch_normalization{_nth(number)}/{part}"]) for part in parts]
    return graph.node("BatchNormalization", x, *held, epsilon=EPSILON)


def _convolution(name: str, kernel: tuple[int, ...], bias: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}/kernel": kernel, f"{name}/bias": (bias,)}


def _norm(number: int, width: int) -> dict[str, tuple[int, ...]]:
    parts = ("gamma", "beta", "moving_mean", "moving_variance")
    return {f"batch_normalization{_nth(number)}/{part}": (width,) for part in parts}


def _nth(number: int) -> str:
    """Keras numbers its layers from the second one on."""
    return f"_{number}" if number else ""
