"""RVC's text encoder and flow as one graph over a window: content and pitch in, latent frames out.

Nothing is carried: the caller keeps the window's inputs. The convolutions of the flow reach 24
frames to either side, those of the encoder 12, and its attention everywhere; so the frames asked
for are computed from all that the window holds of the past, and of the future as far as it is
there. That equals a pass over the whole recording up to the window's end, but for the attention,
which sees the window only.
"""

import math
from pathlib import Path

import numpy as np

from stream.importer.checkpoint import RvcCheckpoint
from stream.importer.graphs.builder import Array, Graph
from stream.importer.graphs.decoder import speaker
from stream.models.nsf import FLOW_REACH

LAYER_EPSILON = 1e-5
SLOPE = 0.1  # of the leaky ReLU behind the embeddings


def prior(checkpoint: RvcCheckpoint, weights: Path | None = None) -> Graph:
    """phone, pitch, noise and speaker in, z out.

    phone   [1, T, dim]             content features, at 100 frames/s
    pitch   [1, T] int64            coarse pitch 1..255, for voices with f0
    noise   [1, inter, min(T, wanted + 24)]   normal, already scaled, of the last frames
    wanted  [1] int64               how many of the last frames to answer
    sid     [2] int64, morph [1]    two speakers, and how much of the second
    z       [1, inter, wanted]

    weights  a file for the large constants, beside the graph; None keeps them in it
    """
    return _Writer(checkpoint, weights).graph


class _Writer:
    def __init__(self, checkpoint: RvcCheckpoint, weights: Path | None) -> None:
        self._shape = shape = checkpoint.shape
        self._weights = checkpoint.weights
        self.graph = graph = Graph("prior", weights)
        phone = graph.input("phone", (1, "frames", shape.dim))
        x = graph.linear(phone, *self._of("enc_p.emb_phone"))
        if shape.f0:
            pitch = graph.input("pitch", (1, "frames"), "int64")
            table = graph.constant(self._weights["enc_p.emb_pitch.weight"])
            x = graph.add(x, graph.node("Gather", table, pitch, axis=0))
        noise = graph.input("noise", (1, shape.inter, "noisy"))
        wanted = graph.input("wanted", (1,), "int64")
        person = speaker(graph, checkpoint)
        x = graph.leaky(graph.mul(x, graph.number(math.sqrt(shape.hidden))), SLOPE)
        self._positions(x)
        for layer in range(shape.layers):
            x = self._layer(layer, x)
        x = self._last(x, graph.add(wanted, graph.integers(FLOW_REACH)), 1)
        weight, bias = self._of("enc_p.proj")
        stats = graph.transpose(graph.linear(x, weight[:, :, 0], bias), 0, 2, 1)
        mean, logs = graph.nodes("Split", 2, stats, axis=1)
        z = graph.add(mean, graph.mul(graph.node("Exp", logs), noise))
        z = self._flow(z, person)
        graph.output(self._last(z, wanted, 2), "z", (1, shape.inter, "answered"))

    def _of(self, name: str) -> tuple[Array, Array | None]:
        return self._weights[f"{name}.weight"], self._weights.get(f"{name}.bias")

    def _last(self, value: str, count: str, axis: int) -> str:
        """The last `count` frames of `value`, or all there are."""
        graph = self.graph
        end = graph.integers(np.iinfo(np.int64).max)
        return graph.node("Slice", value, graph.node("Neg", count), end, graph.integers(axis))

    def _conv(self, name: str, value: str) -> str:
        weight, bias = self._of(name)
        assert bias is not None
        padding = weight.shape[2] // 2
        constants = (self.graph.constant(weight), self.graph.constant(bias))
        return self.graph.node("Conv", value, *constants, pads=[padding, padding])

    # the encoder, [1, T, hidden] throughout

    def _positions(self, x: str) -> None:
        """What the relative positions of attention need: which distances lie within the window.

        `_near` [T, T] is 1 where key j is at most `w` frames from query i, `_column` [T, T] the
        row j - i + w of the embedding; `_key` [T, 2 w + 1] the key at each distance, `_there` 1
        where there is one.
        """
        graph = self.graph
        span = self._weights["enc_p.encoder.attn_layers.0.emb_rel_k"].shape[1]
        window = span // 2
        size = graph.slice(graph.node("Shape", x), 1, 2, axis=0)
        count = graph.node("Squeeze", size)
        zero, one = (graph.constant(np.array(i, np.int64)) for i in range(2))
        steps = graph.node("Range", zero, count, one)
        rows, columns = graph.reshape(steps, -1, 1), graph.reshape(steps, 1, -1)
        apart = graph.add(graph.node("Sub", columns, rows), graph.integers(window))
        self._near, self._column = self._within(apart, graph.constant(np.array(span, np.int64)))
        at = graph.add(rows, graph.constant(np.arange(span)[np.newaxis] - window))
        self._there, self._key = self._within(at, count)

    def _within(self, index: str, size: str) -> tuple[str, str]:
        """1.0 where 0 <= index < size, and the index, brought into that range."""
        graph = self.graph
        zero = graph.constant(np.array(0, np.int64))
        last = graph.node("Sub", size, graph.constant(np.array(1, np.int64)))
        inside = graph.node("Max", zero, graph.node("Min", index, last))
        same = graph.node("Equal", inside, index)
        return graph.node("Cast", same, to=1), inside

    def _layer(self, layer: int, x: str) -> str:
        graph = self.graph
        x = self._normalise(f"enc_p.encoder.norm_layers_1.{layer}", x, self._attend(layer, x))
        name = f"enc_p.encoder.ffn_layers.{layer}"
        y = self._conv(f"{name}.conv_1", graph.transpose(x, 0, 2, 1))
        y = self._conv(f"{name}.conv_2", graph.node("Relu", y))
        y = graph.transpose(y, 0, 2, 1)
        return self._normalise(f"enc_p.encoder.norm_layers_2.{layer}", x, y)

    def _normalise(self, name: str, x: str, y: str) -> str:
        graph = self.graph
        scale, shift = (graph.constant(self._weights[f"{name}.{w}"]) for w in ("gamma", "beta"))
        both = graph.add(x, y)
        return graph.node("LayerNormalization", both, scale, shift, epsilon=LAYER_EPSILON)

    def _attend(self, layer: int, x: str) -> str:
        """Attention with embeddings of the distance between frames (Shaw et al. 2018)."""
        graph, heads = self.graph, self._shape.heads
        name = f"enc_p.encoder.attn_layers.{layer}"
        width = self._shape.hidden // heads

        def split(part: str, scale: float = 1.0) -> str:
            weight, bias = self._of(f"{name}.conv_{part}")
            assert bias is not None
            y = graph.linear(x, weight[:, :, 0] * scale, bias * scale)
            return graph.transpose(graph.reshape(y, 0, 0, heads, width), 0, 2, 1, 3)

        query, key, value = split("q", 1.0 / math.sqrt(width)), split("k"), split("v")
        to_keys = self._weights[f"{name}.emb_rel_k"][0]
        to_values = self._weights[f"{name}.emb_rel_v"][0]
        scores = graph.node("MatMul", query, graph.transpose(key, 0, 1, 3, 2))
        by_distance = graph.node("MatMul", query, graph.constant(to_keys.T))
        scores = graph.add(scores, self._gather(by_distance, self._column, self._near, scores))
        weights = graph.node("Softmax", scores, axis=-1)
        answer = graph.node("MatMul", weights, value)
        at_distance = self._gather(weights, self._key, self._there, by_distance)
        answer = graph.add(answer, graph.node("MatMul", at_distance, graph.constant(to_values)))
        merged = graph.reshape(graph.transpose(answer, 0, 2, 1, 3), 0, 0, -1)
        weight, bias = self._of(f"{name}.conv_o")
        return graph.linear(merged, weight[:, :, 0], bias)

    def _gather(self, values: str, index: str, mask: str, like: str) -> str:
        """values[..., index], 0 where `mask` is 0; the result has the shape of `like`."""
        graph = self.graph
        index = graph.node("Expand", index, graph.node("Shape", like))
        return graph.mul(graph.node("GatherElements", values, index, axis=3), mask)

    # the flow, [1, inter, T] throughout

    def _flow(self, z: str, person: str) -> str:
        """The couplings in reverse. Their flips are in the weights and in the order of halves."""
        graph = self.graph
        first, second = graph.nodes("Split", 2, z, axis=1)
        flipped = False
        couplings = [i for i in range(16) if f"flow.flows.{i}.pre.weight" in self._weights]
        for coupling in reversed(couplings):
            first, second, flipped = second, first, not flipped
            shift = self._coupling(f"flow.flows.{coupling}", first, person, flipped)
            second = graph.node("Sub", second, shift)
        assert not flipped, "an odd number of couplings would leave the channels reversed"
        return graph.concat(first, second, axis=1)

    def _coupling(self, name: str, half: str, person: str, flipped: bool) -> str:
        """What the other half is shifted by."""
        graph = self.graph
        order = slice(None, None, -1) if flipped else slice(None)
        weight, bias = self._of(f"{name}.pre")
        assert bias is not None
        x = graph.node("Conv", half, graph.constant(weight[:, order]), graph.constant(bias))
        x = self._wavenet(f"{name}.enc", x, person)
        weight, bias = self._of(f"{name}.post")
        assert bias is not None
        constants = (graph.constant(weight[order]), graph.constant(bias[order]))
        return graph.node("Conv", x, *constants)

    def _wavenet(self, name: str, x: str, person: str) -> str:
        graph, hidden = self.graph, self._shape.hidden
        weight, bias = self._of(f"{name}.cond_layer")
        condition = graph.reshape(graph.linear(person, weight[:, :, 0], bias), 1, -1, 1)
        layers = weight.shape[0] // (2 * hidden)
        total = ""
        for layer in range(layers):
            y = self._conv(f"{name}.in_layers.{layer}", x)
            at = 2 * hidden * layer
            y = graph.add(y, graph.slice(condition, at, at + 2 * hidden, axis=1))
            content, gate = graph.nodes("Split", 2, y, axis=1)
            y = graph.mul(graph.node("Tanh", content), graph.node("Sigmoid", gate))
            y = self._conv(f"{name}.res_skip_layers.{layer}", y)
            if layer < layers - 1:
                more, skip = graph.nodes("Split", 2, y, axis=1)
                x = graph.add(x, more)
            else:
                skip = y
            total = graph.add(total, skip) if total else skip
        return total
