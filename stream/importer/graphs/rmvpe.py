"""RMVPE as an ONNX graph, from the weights of `rmvpe.pt`.

Wei, Cao, Dan, Chen, "RMVPE: A Robust Model for Vocal Pitch Estimation in Polyphonic Music",
Interspeech 2023. A U-Net over the mel spectrogram, five times halved and doubled in time and in
frequency, then one bidirectional GRU.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.importer.graphs.builder import Graph

Array = NDArray[np.float32]
Weights = Mapping[str, Array]

MELS, BINS, FIRST, LEVELS, BLOCKS, INTERMEDIATE = 128, 360, 16, 5, 4, 4
INTO_GRU, HIDDEN = 3 * MELS, 256
MULTIPLE = 2**LEVELS  # frames: what their number must be divisible by
EPSILON = 1e-5  # of the batch norm

NORM = ("weight", "bias", "running_mean", "running_var")


def blocks() -> Iterator[tuple[str, int, int]]:
    """The name, the channels in and the channels out of every residual block."""
    channels = 1
    for i in range(LEVELS):
        wider = FIRST << i
        for j in range(BLOCKS):
            yield f"unet.encoder.layers.{i}.conv.{j}", channels if j == 0 else wider, wider
        channels = wider
    widest = 2 * channels
    for i in range(INTERMEDIATE):
        for j in range(BLOCKS):
            into = channels if i == j == 0 else widest
            yield f"unet.intermediate.layers.{i}.conv.{j}", into, widest
    for i in range(LEVELS):
        narrower = widest >> (i + 1)
        for j in range(BLOCKS):
            into = 2 * narrower if j == 0 else narrower
            yield f"unet.decoder.layers.{i}.conv2.{j}", into, narrower


def shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor that the graph is made of, and its shape."""
    found = {f"unet.encoder.bn.{part}": (1,) for part in NORM}
    found = dict[str, tuple[int, ...]](found)
    for name, into, out in blocks():
        found |= {f"{name}.conv.0.weight": (out, into, 3, 3)}
        found |= {f"{name}.conv.3.weight": (out, out, 3, 3)}
        found |= {f"{name}.conv.{i}.{part}": (out,) for i in (1, 4) for part in NORM}
        if into != out:
            found |= {f"{name}.shortcut.weight": (out, into, 1, 1), f"{name}.shortcut.bias": (out,)}
    for i in range(LEVELS):
        wide = FIRST << (LEVELS - i)
        up = f"unet.decoder.layers.{i}.conv1"
        found[f"{up}.0.weight"] = (wide, wide // 2, 3, 3)
        found |= {f"{up}.1.{part}": (wide // 2,) for part in NORM}
    found |= {"cnn.weight": (3, FIRST, 3, 3), "cnn.bias": (3,)}
    for way in ("", "_reverse"):
        found[f"fc.0.gru.weight_ih_l0{way}"] = (3 * HIDDEN, INTO_GRU)
        found[f"fc.0.gru.weight_hh_l0{way}"] = (3 * HIDDEN, HIDDEN)
        found |= {f"fc.0.gru.bias_{which}_l0{way}": (3 * HIDDEN,) for which in ("ih", "hh")}
    return found | {"fc.1.weight": (BINS, 2 * HIDDEN), "fc.1.bias": (BINS,)}


def write(weights: Weights, path: Path) -> None:
    """Write the graph `input` [1, 128, frames] (log mel) -> `output` [1, frames, 360] in 0..1.

    Names and shapes are those of the `rmvpe.onnx` that RVC publishes: `frames` is a multiple of 32.
    Batch norms are folded into the convolutions before them. The numbers, 361 MB, are kept in a
    file beside it, of the same name with the suffix .bin.

    weights  by the names in `shapes`
    """
    graph = Graph("rmvpe", weights=path.with_suffix(".bin"))
    mel = graph.input("input", (1, MELS, "frames"))
    scale, offset = _norm(weights, "unet.encoder.bn")
    x = graph.node("Unsqueeze", graph.transpose(mel, 0, 2, 1), graph.integers(1))
    x = graph.add(graph.mul(x, graph.number(float(scale[0]))), graph.number(float(offset[0])))
    skips: list[str] = []
    for i in range(LEVELS):
        x = _blocks(graph, x, weights, f"unet.encoder.layers.{i}.conv")
        skips.append(x)
        x = graph.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    for i in range(INTERMEDIATE):
        x = _blocks(graph, x, weights, f"unet.intermediate.layers.{i}.conv")
    for i in range(LEVELS):
        x = graph.concat(_wider(graph, x, weights, i), skips.pop(), axis=1)
        x = _blocks(graph, x, weights, f"unet.decoder.layers.{i}.conv2")
    kernel, bias = graph.constant(weights["cnn.weight"]), graph.constant(weights["cnn.bias"])
    x = graph.node("Conv", x, kernel, bias, pads=[1, 1, 1, 1])  # [1, 3, frames, 128]
    x = graph.reshape(graph.transpose(x, 2, 0, 1, 3), -1, 1, INTO_GRU)
    x = graph.linear(_gru(graph, x, weights), weights["fc.1.weight"], weights["fc.1.bias"])
    graph.output(graph.node("Sigmoid", x), "output", (1, "frames", BINS))
    graph.save(path)


def _blocks(graph: Graph, x: str, weights: Weights, stem: str) -> str:
    """Four residual blocks of two convolutions each."""
    for j in range(BLOCKS):
        name = f"{stem}.{j}"
        y = _conv(graph, x, weights, f"{name}.conv.0", f"{name}.conv.1")
        y = _conv(graph, y, weights, f"{name}.conv.3", f"{name}.conv.4")
        if f"{name}.shortcut.weight" in weights:
            parts = (weights[f"{name}.shortcut.{part}"] for part in ("weight", "bias"))
            x = graph.node("Conv", x, *(graph.constant(part) for part in parts))
        x = graph.add(y, x)
    return x


def _conv(graph: Graph, x: str, weights: Weights, name: str, norm: str) -> str:
    """Convolution, batch norm, ReLU."""
    scale, offset = _norm(weights, norm)
    kernel = weights[f"{name}.weight"] * scale[:, np.newaxis, np.newaxis, np.newaxis]
    parts = graph.constant(kernel.astype(np.float32)), graph.constant(offset)
    return graph.node("Relu", graph.node("Conv", x, *parts, pads=[1, 1, 1, 1]))


def _wider(graph: Graph, x: str, weights: Weights, i: int) -> str:
    """Twice the frames and twice the bands, half the channels."""
    name = f"unet.decoder.layers.{i}.conv1"
    scale, offset = _norm(weights, f"{name}.1")
    kernel = weights[f"{name}.0.weight"] * scale[:, np.newaxis, np.newaxis]
    x = graph.node(
        "ConvTranspose",
        x,
        graph.constant(kernel.astype(np.float32)),
        graph.constant(offset),
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        output_padding=[1, 1],
    )
    return graph.node("Relu", x)


def _gru(graph: Graph, x: str, weights: Weights) -> str:
    """[frames, 1, 384] -> [1, frames, 512]."""

    def both(kind: str) -> Array:
        """Both directions; the gates as ONNX orders them: update, reset, new."""
        rows: list[Array] = []
        for way in ("", "_reverse"):
            reset, update, new = np.split(weights[f"fc.0.gru.{kind}_l0{way}"], 3)
            rows.append(np.concatenate([update, reset, new]))
        return np.stack(rows)

    bias = np.concatenate([both("bias_ih"), both("bias_hh")], axis=1)
    parts = (both("weight_ih"), both("weight_hh"), bias)
    y = graph.node(
        "GRU",
        x,
        *(graph.constant(part) for part in parts),
        hidden_size=HIDDEN,
        direction="bidirectional",
        linear_before_reset=1,
    )  # [frames, 2, 1, 256]
    return graph.reshape(graph.transpose(y, 2, 0, 1, 3), 1, -1, 2 * HIDDEN)


def _norm(weights: Weights, name: str) -> tuple[Array, Array]:
    """A batch norm as a factor and an offset for each channel."""
    weight, bias, mean, variance = (weights[f"{name}.{part}"].astype(np.float64) for part in NORM)
    scale = weight / np.sqrt(variance + EPSILON)
    return scale.astype(np.float32), (bias - mean * scale).astype(np.float32)
