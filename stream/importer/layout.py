"""Every tensor of an RVC voice: its name, without weight norm, and its shape."""

import math
from collections.abc import Iterator

from stream.importer.checkpoint import RvcShape

Shape = tuple[int, ...]
FLOWS = (0, 2, 4, 6)  # the odd ones turn the channels round and have no weights
WAVE_LAYERS, WAVE_KERNEL = 3, 5  # of a flow's WaveNet
NEAR = 10  # frames to either side that attention knows the distance to


def layout(shape: RvcShape) -> dict[str, Shape]:
    """Name: shape, of all that a voice of these sizes consists of."""
    return dict(
        [
            *_text_encoder(shape),
            *_decoder(shape),
            *_flow(shape),
            ("emb_g.weight", (shape.speakers, shape.gin)),
        ]
    )


def _with_bias(name: str, *shape: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", shape
    yield f"{name}.bias", (shape[0],)


def _text_encoder(shape: RvcShape) -> Iterator[tuple[str, Shape]]:
    hidden, head = shape.hidden, shape.hidden // shape.heads
    yield from _with_bias("enc_p.emb_phone", hidden, shape.dim)
    if shape.f0:
        yield "enc_p.emb_pitch.weight", (256, hidden)
    for i in range(shape.layers):
        attention = f"enc_p.encoder.attn_layers.{i}"
        for part in ("conv_q", "conv_k", "conv_v", "conv_o"):
            yield from _with_bias(f"{attention}.{part}", hidden, hidden, 1)
        for part in ("emb_rel_k", "emb_rel_v"):
            yield f"{attention}.{part}", (1, 2 * NEAR + 1, head)
        for norm in ("norm_layers_1", "norm_layers_2"):
            yield f"enc_p.encoder.{norm}.{i}.gamma", (hidden,)
            yield f"enc_p.encoder.{norm}.{i}.beta", (hidden,)
        forward = f"enc_p.encoder.ffn_layers.{i}"
        yield from _with_bias(f"{forward}.conv_1", shape.filter, hidden, shape.kernel)
        yield from _with_bias(f"{forward}.conv_2", hidden, shape.filter, shape.kernel)
    yield from _with_bias("enc_p.proj", 2 * shape.inter, hidden, 1)


def _decoder(shape: RvcShape) -> Iterator[tuple[str, Shape]]:
    stages = len(shape.upsample_rates)
    widths = [shape.upsample_initial >> i for i in range(stages + 1)]
    yield from _with_bias("dec.conv_pre", widths[0], shape.inter, 7)
    yield from _with_bias("dec.cond", widths[0], shape.gin, 1)
    if shape.f0:
        yield from _with_bias("dec.m_source.l_linear", 1, 1)
    for i, kernel in enumerate(shape.upsample_kernels):
        yield f"dec.ups.{i}.weight", (widths[i], widths[i + 1], kernel)
        yield f"dec.ups.{i}.bias", (widths[i + 1],)
        if shape.f0:
            step = math.prod(shape.upsample_rates[i + 1 :])
            yield from _with_bias(
                f"dec.noise_convs.{i}", widths[i + 1], 1, 2 * step if i + 1 < stages else 1
            )
        for j, (size, dilations) in enumerate(
            zip(shape.resblock_kernels, shape.resblock_dilations, strict=True)
        ):
            block = f"dec.resblocks.{i * len(shape.resblock_kernels) + j}"
            for k in range(len(dilations)):
                for part in ("convs1", "convs2"):
                    name = f"{block}.{part}.{k}"
                    yield from _with_bias(name, widths[i + 1], widths[i + 1], size)
    yield "dec.conv_post.weight", (1, widths[-1], 7)


def _flow(shape: RvcShape) -> Iterator[tuple[str, Shape]]:
    hidden, half = shape.hidden, shape.inter // 2
    for i in FLOWS:
        flow = f"flow.flows.{i}"
        yield from _with_bias(f"{flow}.pre", hidden, half, 1)
        yield from _with_bias(f"{flow}.enc.cond_layer", 2 * hidden * WAVE_LAYERS, shape.gin, 1)
        for j in range(WAVE_LAYERS):
            out = hidden if j + 1 == WAVE_LAYERS else 2 * hidden
            yield from _with_bias(f"{flow}.enc.in_layers.{j}", 2 * hidden, hidden, WAVE_KERNEL)
            yield from _with_bias(f"{flow}.enc.res_skip_layers.{j}", out, hidden, 1)
        yield from _with_bias(f"{flow}.post", half, hidden, 1)
