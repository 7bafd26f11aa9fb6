"""HuBERT-base as two graphs: a convolutional front end once per frame, a transformer per window.

The model is Hsu et al., "HuBERT", IEEE/ACM TASLP 2021; ContentVec and the other content encoders
of RVC voices have its shape. Weights carry the names of the `transformers` form without the
leading `hubert.`, weight norm folded.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from stream.audio import CONTENT_HOP
from stream.importer.graphs.builder import Graph
from stream.models.hubert import BODY, FRONT, NORMED, OVERHANG

Array = NDArray[Any]
Weights = Mapping[str, Array]

FRONT_END = "feature_extractor.conv_layers"
POSITIONS = "encoder.pos_conv_embed.conv"
PROJECTION = "final_proj"
WEIGHTS = "weights.bin"  # the numbers of both graphs
EIGHT_BIT = 127  # the largest number of 8 bits, with a sign
FIRST_HOP = CONTENT_HOP // NORMED  # samples between two outputs of the first convolution


class EightBitGraph(Graph):
    """A graph whose linear layers multiply numbers of 8 bits."""

    def linear(self, value: str, weight: Array, bias: Array | None = None) -> str:
        """[..., n] @ weight.T + bias, the weight rounded to 255 steps in each of its rows."""
        largest = np.abs(weight).max(axis=1)
        scale = (np.where(largest > 0.0, largest, 1.0) / EIGHT_BIT).astype(np.float32)
        whole = np.rint(weight / scale[:, np.newaxis]).astype(np.int8)
        rows, step, zero = self.nodes("DynamicQuantizeLinear", 3, value)
        product = self.node("MatMulInteger", rows, self.constant(whole.T), zero)
        gain = self.mul(step, self.constant(scale))
        product = self.mul(self.node("Cast", product, to=TensorProto.FLOAT), gain)
        return product if bias is None else self.add(product, self.constant(bias))


@dataclass(frozen=True, kw_only=True)
class HubertShape:
    """How large a HuBERT is; the defaults are HuBERT-base.

    layers       transformer layers that are run: those up to the wanted one
    projected    whether `final_proj` follows (RVC v1's 256 features)
    dim          features a frame that come out
    """

    channels: int = 512
    kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    width: int = 768
    heads: int = 12
    inner: int = 3072
    layers: int = 12
    reach: int = 128  # kernel of the positional convolution, frames
    groups: int = 16
    epsilon: float = 1e-5
    projected: bool = False
    dim: int = 768


def write(
    shape: HubertShape, weights: Weights, folder: Path, *, eight_bit: bool = False
) -> list[str]:
    """Write both graphs into the empty `folder`; returns the files. `eight_bit`: see `body`."""
    beside = folder / WEIGHTS
    front(shape, weights, beside).save(folder / FRONT)
    body(shape, weights, beside, eight_bit=eight_bit).save(folder / BODY)
    return [FRONT, BODY, WEIGHTS]


def front(shape: HubertShape, weights: Weights, beside: Path | None = None) -> Graph:
    """Audio to one vector a frame: seven convolutions, layer norm, projection.

    audio   [1, 320 k + 80] at 16 kHz
    past    [1, 2, channels] sums of the first convolution's outputs, and of their squares, over
            the frames heard before
    count   [1] the number of outputs that `past` sums
    frames  [k, width]
    sums    [k, 2, channels] what the k frames add to `past`, each its 64 outputs; the last one is
            63, because the 64th would need samples that are not there yet

    The GroupNorm after the first convolution has one group a channel, so it normalises each over
    time, here with mean and variance of `past` and the call's own outputs together.
    """
    graph = Graph("hubert_front", beside)
    audio = graph.input("audio", (1, "n"))
    past = graph.input("past", (1, 2, shape.channels))
    count = graph.input("count", (1,))
    x = graph.reshape(audio, 1, 1, 1, -1)
    x = _conv(graph, x, weights[f"{FRONT_END}.0.conv.weight"], shape.strides[0])
    own = graph.slice(x, 0, -(OVERHANG // FIRST_HOP))  # without those that hear the overhang
    gain, offset, sums = _statistics(graph, shape, weights, own, past, count)
    x = _gelu(graph, graph.add(graph.mul(x, gain), offset))
    for i in range(1, len(shape.kernels)):
        kernel = weights[f"{FRONT_END}.{i}.conv.weight"]
        x = _gelu(graph, _conv(graph, x, kernel, shape.strides[i]))
    x = graph.transpose(graph.reshape(x, shape.channels, -1), 1, 0)
    x = _norm(graph, x, weights, "feature_projection.layer_norm", shape.epsilon)
    x = _linear(graph, x, weights, "feature_projection.projection")
    graph.output(x, "frames", ("k", shape.width))
    graph.output(sums, "sums", ("k", 2, shape.channels))
    return graph


def _statistics(
    graph: Graph, shape: HubertShape, weights: Weights, own: str, past: str, count: str
) -> tuple[str, str, str]:
    """The GroupNorm as `gain * x + offset`, both [1, channels, 1, 1], and the sums per frame."""
    whole = graph.node("Pad", own, graph.integers(0, 0, 0, 0, 0, 0, 0, 1))
    blocks = graph.reshape(whole, shape.channels, -1, NORMED)
    axis = graph.integers(2)
    parts = [
        graph.node("ReduceSum", value, axis, keepdims=1)
        for value in (blocks, graph.mul(blocks, blocks))
    ]
    sums = graph.transpose(graph.concat(*parts, axis=2), 1, 2, 0)  # [k, 2, channels]
    total = graph.add(past, graph.node("ReduceSum", sums, graph.integers(0), keepdims=1))
    time = graph.node("Cast", graph.node("Shape", own, start=3, end=4), to=TensorProto.FLOAT)
    means = graph.node("Div", total, graph.add(count, time))
    mean, power = (graph.slice(means, i, i + 1, axis=1) for i in range(2))
    variance = graph.node("Sub", power, graph.mul(mean, mean))
    spread = graph.add(graph.node("Relu", variance), graph.number(shape.epsilon))
    scale = graph.constant(weights[f"{FRONT_END}.0.layer_norm.weight"])
    gain = graph.node("Div", scale, graph.node("Sqrt", spread))
    shift = graph.constant(weights[f"{FRONT_END}.0.layer_norm.bias"])
    offset = graph.node("Sub", shift, graph.mul(mean, gain))
    down = (1, shape.channels, 1, 1)
    return graph.reshape(gain, *down), graph.reshape(offset, *down), sums


def body(
    shape: HubertShape, weights: Weights, beside: Path | None = None, *, eight_bit: bool = False
) -> Graph:
    """The transformer over a window of frames; only the newest ones come out.

    past      [c, width] frames that are heard
    new       [r, width] frames that are heard and described
    features  [r, dim]

    Its last layer is computed for `new` alone, and later layers than the wanted one are left out.
    eight_bit: the layers' matrices are kept in 8 bits, a scale a column, and what they are
    multiplied with is rounded to 8 bits as well, with one scale for all rows of a call.
    """
    graph = (EightBitGraph if eight_bit else Graph)("hubert_body", beside)
    past = graph.input("past", ("c", shape.width))
    new = graph.input("new", ("r", shape.width))
    x = graph.concat(past, new, axis=0)
    x = graph.add(x, _positions(graph, shape, weights, x))
    x = _norm(graph, x, weights, "encoder.layer_norm", shape.epsilon)
    heard = graph.node("Shape", past, start=0, end=1)
    for i in range(shape.layers):
        wanted = x if i < shape.layers - 1 else _rows(graph, x, heard)
        x = _layer(graph, shape, weights, f"encoder.layers.{i}", x, wanted)
    if shape.projected:
        x = _linear(graph, x, weights, PROJECTION)
    graph.output(x, "features", ("r", shape.dim))
    return graph


def _positions(graph: Graph, shape: HubertShape, weights: Weights, x: str) -> str:
    """The positional convolution; of its even kernel the last output is one too many."""
    half = shape.reach // 2
    after = half - 1 if shape.reach % 2 == 0 else half
    y = graph.reshape(graph.transpose(x, 1, 0), 1, shape.width, 1, -1)
    y = graph.node(
        "Conv",
        y,
        graph.constant(weights[f"{POSITIONS}.weight"][:, :, None]),
        graph.constant(weights[f"{POSITIONS}.bias"]),
        group=shape.groups,
        kernel_shape=[1, shape.reach],
        pads=[0, half, 0, after],
    )
    return graph.transpose(graph.reshape(_gelu(graph, y), shape.width, -1), 1, 0)


def _layer(
    graph: Graph, shape: HubertShape, weights: Weights, name: str, x: str, wanted: str
) -> str:
    """A post-norm transformer layer for the rows `wanted` of `x`."""
    size = shape.width // shape.heads

    def heads(row: str, part: str, order: tuple[int, int, int], gain: float = 1.0) -> str:
        y = _linear(graph, row, weights, f"{name}.attention.{part}_proj", gain)
        return graph.transpose(graph.reshape(y, -1, shape.heads, size), *order)

    query = heads(wanted, "q", (1, 0, 2), 1.0 / math.sqrt(size))
    key = heads(x, "k", (1, 2, 0))
    value = heads(x, "v", (1, 0, 2))
    share = graph.node("Softmax", graph.node("MatMul", query, key), axis=-1)
    y = graph.transpose(graph.node("MatMul", share, value), 1, 0, 2)
    y = _linear(graph, graph.reshape(y, -1, shape.width), weights, f"{name}.attention.out_proj")
    x = _norm(graph, graph.add(wanted, y), weights, f"{name}.layer_norm", shape.epsilon)
    y = _gelu(graph, _linear(graph, x, weights, f"{name}.feed_forward.intermediate_dense"))
    y = _linear(graph, y, weights, f"{name}.feed_forward.output_dense")
    return _norm(graph, graph.add(x, y), weights, f"{name}.final_layer_norm", shape.epsilon)


def _conv(graph: Graph, x: str, kernel: Array, stride: int) -> str:
    """A convolution over time as a two-dimensional one of height 1, which MLAS computes faster."""
    shape = [1, kernel.shape[2]]
    weight = graph.constant(kernel[:, :, None])
    return graph.node("Conv", x, weight, kernel_shape=shape, strides=[1, stride])


def _rows(graph: Graph, x: str, first: str) -> str:
    """The rows of `x` from `first` on."""
    end = graph.integers(int(np.iinfo(np.int64).max))
    return graph.node("Slice", x, first, end, graph.integers(0))


def _linear(graph: Graph, x: str, weights: Weights, name: str, gain: float = 1.0) -> str:
    weight, bias = (weights[f"{name}.{part}"] * np.float32(gain) for part in ("weight", "bias"))
    return graph.linear(x, weight, bias)


def _norm(graph: Graph, x: str, weights: Weights, name: str, epsilon: float) -> str:
    scale, shift = (graph.constant(weights[f"{name}.{part}"]) for part in ("weight", "bias"))
    return graph.node("LayerNormalization", x, scale, shift, axis=-1, epsilon=epsilon)


def _gelu(graph: Graph, x: str) -> str:
    """x times the normal distribution's cumulative function, exactly (not the tanh form)."""
    erf = graph.node("Erf", graph.node("Div", x, graph.number(math.sqrt(2.0))))
    half = graph.mul(x, graph.add(erf, graph.number(1.0)))
    return graph.mul(half, graph.number(0.5))
