"""RVC's NSF-HiFiGAN decoder as one graph that carries its memory from call to call.

The network is that of the published checkpoints: upsampling by transposed convolutions, after each
of them the excitation through a convolution of its own is added and the mean of three residual
blocks is taken. It is not causal, and reaches some 100 ms ahead; but nine tenths of that reach lie
before the second upsampling. So the graph has two parts:

low-rate   conv_pre, the first upsampling and its residual blocks run on the new frames and on
           `PROVISIONAL` frames beyond them, which are computed again with the next call. Only what
           belongs to the new frames is kept and handed on.
high-rate  everything later computes each sample exactly once: every convolution keeps its past and
           its answer comes late by half its length; shorter branches are delayed to meet.

The sound comes `delay(shape)` samples late. Before the first call the memory is zero activations.
"""

from math import prod
from pathlib import Path

import numpy as np

from stream.importer.checkpoint import RvcCheckpoint, RvcShape
from stream.importer.graphs.builder import Array, Graph
from stream.models.nsf import PROVISIONAL

SLOPE, LAST_SLOPE = 0.1, 0.01  # of leaky ReLUs, as trained
ENDS = 3  # samples to either side that the first and the last convolution hear


def delay(shape: RvcShape) -> int:
    """Samples by which the graph's sound lags behind the frames it was made of."""
    last = len(shape.upsample_rates) - 1
    return _late(shape, last) + _reach(shape) + ENDS


def decoder(checkpoint: RvcCheckpoint, weights: Path | None = None) -> Graph:
    """z, source and speaker in, audio out.

    z       [1, inter, n + PROVISIONAL]             latent frames of 10 ms
    source  [1, 1, (n + PROVISIONAL) * hop]         excitation, for voices with f0
    sid     [2] int64, morph [1]                    two speakers, and how much of the second
    audio   [1, 1, n * hop]                         `delay` samples late

    weights  a file for the large constants, beside the graph; None keeps them in it
    """
    return _Writer(checkpoint, weights).graph


def speaker(graph: Graph, checkpoint: RvcCheckpoint) -> str:
    """Declare `sid` and `morph`; the embedding that lies between the two speakers, [1, gin]."""
    table = graph.constant(checkpoint.weights["emb_g.weight"], "emb_g")
    sid, morph = graph.input("sid", (2,), "int64"), graph.input("morph", (1,))
    both = graph.node("Gather", table, sid, axis=0)
    first, second = (graph.slice(both, i, i + 1, axis=0) for i in range(2))
    apart = graph.node("Sub", second, first)
    return graph.add(first, graph.mul(morph, apart))


def _late(shape: RvcShape, stage: int) -> int:
    """Samples, at the stage's rate, by which the input of its residual blocks lags."""
    late = 0
    for i in range(1, stage + 1):
        rate, kernel = shape.upsample_rates[i], shape.upsample_kernels[i]
        late = (late + (_reach(shape) if i > 1 else 0)) * rate + (kernel - rate) // 2
    return late


def _reach(shape: RvcShape) -> int:
    """Samples that the longest residual block of a stage looks ahead."""
    return max(
        _block_reach(kernel, dilations)
        for kernel, dilations in zip(shape.resblock_kernels, shape.resblock_dilations, strict=True)
    )


def _block_reach(kernel: int, dilations: tuple[int, ...]) -> int:
    return sum((kernel - 1) * dilation // 2 + (kernel - 1) // 2 for dilation in dilations)


def _flat(graph: Graph, value: str) -> str:
    """[1, c, t] as an image of one row, [1, c, 1, t]: ONNX Runtime has faster kernels for those."""
    return graph.node("Unsqueeze", value, graph.integers(2))


class _Writer:
    """Writes the decoder stage after stage."""

    def __init__(self, checkpoint: RvcCheckpoint, weights: Path | None) -> None:
        self._shape = shape = checkpoint.shape
        self._weights = checkpoint.weights
        self.graph = graph = Graph("decoder", weights)
        z = _flat(graph, graph.input("z", (1, shape.inter, "frames")))
        if shape.f0:
            self._declare_source()
        person = speaker(graph, checkpoint)
        x = self._history("pre", z, ENDS, shape.inter, beyond=PROVISIONAL)
        x = self._conv("dec.conv_pre", x, after=ENDS)
        weight, bias = self._of("dec.cond")
        x = graph.add(x, graph.reshape(graph.linear(person, weight[:, :, 0], bias), 1, -1, 1, 1))
        x = self._first_stage(x)
        for stage in range(1, len(shape.upsample_rates)):
            x = self._stage(stage, x)
        weight, _ = self._of("dec.conv_post")
        x = self._history("post", graph.leaky(x, LAST_SLOPE), 2 * ENDS, weight.shape[1])
        x = self._convolve(x, weight / len(shape.resblock_kernels))
        sound = graph.node("Squeeze", graph.node("Tanh", x), graph.integers(2))
        graph.output(sound, "audio", (1, 1, "sound"))

    # what both parts need

    def _of(self, name: str) -> tuple[Array, Array | None]:
        return self._weights[f"{name}.weight"], self._weights.get(f"{name}.bias")

    def _conv(
        self, name: str, value: str, *, dilation: int = 1, stride: int = 1, after: int = 0
    ) -> str:
        return self._convolve(value, *self._of(name), dilation, stride, after)

    def _convolve(
        self,
        value: str,
        weight: Array,
        bias: Array | None = None,
        dilation: int = 1,
        stride: int = 1,
        after: int = 0,
    ) -> str:
        """A convolution with `after` zeros behind the value, and none before it."""
        graph = self.graph
        constants = [graph.constant(weight[:, :, np.newaxis])]
        if bias is not None:
            constants.append(graph.constant(bias))
        how = {"dilations": [1, dilation], "strides": [1, stride], "pads": [0, 0, 0, after]}
        return graph.node("Conv", value, *constants, **how)

    def _upsampling(self, stage: int) -> tuple[int, int, int, Array, Array]:
        """Rate, kernel, padding, weight, bias; the mean of the blocks before is in the weight."""
        shape = self._shape
        rate, kernel = shape.upsample_rates[stage], shape.upsample_kernels[stage]
        weight, bias = self._of(f"dec.ups.{stage}")
        assert bias is not None
        if stage:
            weight = weight / len(shape.resblock_kernels)
        return rate, kernel, (kernel - rate) // 2, weight, bias

    def _upsample(self, value: str, stage: int, crop: tuple[int, int]) -> str:
        rate, _, _, weight, bias = self._upsampling(stage)
        constants = (self.graph.constant(weight[:, :, np.newaxis]), self.graph.constant(bias))
        how = {"strides": [1, rate], "pads": [0, crop[0], 0, crop[1]]}
        return self.graph.node("ConvTranspose", value, *constants, **how)

    def _history(self, name: str, value: str, past: int, channels: int, beyond: int = 0) -> str:
        """`value` with the last `past` samples before it; the last `beyond` come again."""
        if not past:
            return value
        graph, size = self.graph, (1, channels, 1, past)
        whole = graph.concat(graph.state(name, size), value)
        graph.carry(name, graph.slice(whole, -(past + beyond), -beyond or None), size)
        return whole

    # the excitation

    def _declare_source(self) -> None:
        """The excitation with as much of its past as the latest stage wants."""
        graph, shape = self.graph, self._shape
        weight, bias = self._of("dec.m_source.l_linear")
        assert bias is not None
        past = self._source_past = max(map(self._source_lag, range(len(shape.upsample_rates))))
        raw = _flat(graph, graph.input("source", (1, 1, "samples")))
        merged = graph.mul(raw, graph.constant(weight.reshape(1)))
        merged = graph.node("Tanh", graph.add(merged, graph.constant(bias)))
        self._source = self._history("source", merged, past, 1, beyond=PROVISIONAL * shape.hop)

    def _stride(self, stage: int) -> int:
        """Samples of sound per sample of that stage."""
        return prod(self._shape.upsample_rates[stage + 1 :])

    def _source_lag(self, stage: int) -> int:
        """Samples of sound before the first new one that the stage's convolution begins at."""
        stride = self._stride(stage)
        return stride * _late(self._shape, stage) + (stride // 2 if stride > 1 else 0)

    def _excite(self, stage: int, value: str) -> str:
        """Add the excitation, at the stage's rate and as late as `value`."""
        if not self._shape.f0:
            return value
        graph, stride, past = self.graph, self._stride(stage), self._source_past
        start = past - self._source_lag(stage)
        beyond = PROVISIONAL * self._shape.hop
        after = stride - stride // 2 if stage == 0 else 0
        end = start - past - beyond + (stride if stride > 1 else 0)
        heard = graph.slice(self._source, start, None if stage == 0 else end)
        name = f"dec.noise_convs.{stage}"
        return graph.add(value, self._conv(name, heard, stride=stride, after=after))

    # low-rate: new frames and those beyond them

    def _first_stage(self, x: str) -> str:
        """The first upsampling, the excitation and the residual blocks; the new samples only."""
        graph, shape = self.graph, self._shape
        rate, kernel, padding, *_ = self._upsampling(0)
        past = (kernel - 1 - padding) // rate
        x = graph.leaky(x, SLOPE)
        x = self._history("up", x, past, shape.upsample_initial, beyond=PROVISIONAL)
        x = self._upsample(x, 0, (past * rate + padding, padding))
        x = self._excite(0, x)
        branches = [
            self._block_ahead(block, x, rate) for block in range(len(shape.resblock_kernels))
        ]
        return graph.slice(graph.node("Sum", *branches), 0, -PROVISIONAL * rate)

    def _block_ahead(self, block: int, x: str, rate: int) -> str:
        graph, shape = self.graph, self._shape
        kernel = shape.resblock_kernels[block]
        channels, beyond = shape.upsample_initial // 2, PROVISIONAL * rate

        def conv(name: str, value: str, dilation: int) -> str:
            past = (kernel - 1) * dilation // 2
            whole = self._history(f"low_{name}", value, past, channels, beyond)
            return self._conv(f"dec.resblocks.{name}", whole, dilation=dilation, after=past)

        for i, dilation in enumerate(shape.resblock_dilations[block]):
            y = conv(f"{block}.convs1.{i}", graph.leaky(x, SLOPE), dilation)
            x = graph.add(x, conv(f"{block}.convs2.{i}", graph.leaky(y, SLOPE), 1))
        return x

    # high-rate: every sample once

    def _stage(self, stage: int, x: str) -> str:
        """One upsampling with its excitation and residual blocks."""
        graph, shape = self.graph, self._shape
        rate, kernel, _, weight, _ = self._upsampling(stage)
        past = (kernel - 1) // rate
        x = self._history(f"up{stage}", graph.leaky(x, SLOPE), past, weight.shape[0])
        x = self._upsample(x, stage, (past * rate, kernel - rate))
        x = self._excite(stage, x)
        count = len(shape.resblock_kernels)
        channels = weight.shape[1]
        waits = [_reach(shape) - self._block_delay(block) for block in range(count)]
        firsts = [self._first_past(block) for block in range(count)]
        past = max(wait + first for wait, first in zip(waits, firsts, strict=True))
        whole = self._history(f"in{stage}", x, past, channels)
        branches = [
            self._block(
                stage * count + block,
                block,
                graph.slice(whole, past - waits[block] - firsts[block], -waits[block] or None),
                channels,
            )
            for block in range(count)
        ]
        return graph.node("Sum", *branches)

    def _block_delay(self, block: int) -> int:
        shape = self._shape
        return _block_reach(shape.resblock_kernels[block], shape.resblock_dilations[block])

    def _first_past(self, block: int) -> int:
        shape = self._shape
        return (shape.resblock_kernels[block] - 1) * shape.resblock_dilations[block][0]

    def _block(self, index: int, block: int, whole: str, channels: int) -> str:
        """A residual block; `whole` begins with the past that its first convolution wants."""
        graph, shape = self.graph, self._shape
        kernel = shape.resblock_kernels[block]
        for i, dilation in enumerate(shape.resblock_dilations[block]):
            name = f"{index}.convs{{}}.{i}"
            past = (kernel - 1) * dilation
            if i:
                whole = self._history(f"x_{index}_{i}", whole, past, channels)
            wait = past // 2 + (kernel - 1) // 2
            y = self._conv(
                "dec.resblocks." + name.format(1), graph.leaky(whole, SLOPE), dilation=dilation
            )
            y = self._history(f"y_{index}_{i}", graph.leaky(y, SLOPE), kernel - 1, channels)
            y = self._conv("dec.resblocks." + name.format(2), y)
            whole = graph.add(graph.slice(whole, past - wait, -wait), y)
        return whole
