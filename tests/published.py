"""RVC checkpoints as people publish them: the exact names and shapes, seeded random weights.

Random weights show that every tensor is read, folded, placed and computed right: a wrong one
changes the output as much as in a trained voice. They cannot show how a voice sounds.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

Version = Literal["v1", "v2"]
Rate = Literal[32_000, 40_000, 48_000]
State = dict[str, Tensor]

STAGES: dict[tuple[str, int], tuple[list[int], list[int]]] = {
    ("v1", 32_000): ([10, 4, 2, 2, 2], [16, 16, 4, 4, 4]),
    ("v1", 40_000): ([10, 10, 2, 2], [16, 16, 4, 4]),
    ("v1", 48_000): ([10, 6, 2, 2, 2], [16, 16, 4, 4, 4]),
    ("v2", 32_000): ([10, 8, 2, 2], [20, 16, 4, 4]),
    ("v2", 40_000): ([10, 10, 2, 2], [16, 16, 4, 4]),
    ("v2", 48_000): ([12, 10, 2, 2], [24, 20, 4, 4]),
}
KERNELS, DILATIONS = [3, 7, 11], [[1, 3, 5]] * 3


class Row(NamedTuple):
    """One tensor: its name, its shape, how large its values are, and whether it has a norm."""

    name: str
    shape: tuple[int, ...]
    spread: float
    normed: bool = False


def rvc_state(
    version: Version = "v2",
    rate: Rate = 40_000,
    *,
    f0: bool = True,
    speakers: int = 1,
    seed: int = 0,
    narrow: int = 1,
) -> State:
    """The state dict of an RVC voice as it is saved: float32, weight norm as `_g` and `_v`.

    narrow  divides every channel count but the features' 256 or 768, for tests that must be quick;
            1, 2, 4 or 8. `enc_q`, which is for training only, is not in it.
    """
    draw = torch.Generator().manual_seed(seed)
    state: State = {}
    for row in rows(version, rate, f0=f0, speakers=speakers, narrow=narrow):
        value = torch.randn(row.shape, generator=draw) * row.spread
        if row.name.endswith(".gamma"):
            value += 1.0
        if not row.normed:
            state[row.name] = value
            continue
        gain = 0.7 + 0.6 * torch.rand((row.shape[0], 1, 1), generator=draw)
        length = value.norm(dim=(1, 2), keepdim=True)
        state[f"{row.name}_g"] = length * gain
        state[f"{row.name}_v"] = value * (0.5 + torch.rand((row.shape[0], 1, 1), generator=draw))
    return state


def rows(version: str, rate: int, *, f0: bool, speakers: int, narrow: int) -> Iterator[Row]:
    """Every tensor of the checkpoint, in the order of the published files."""
    hidden, gin = 192 // narrow, 256 // narrow
    yield from _enc_p(256 if version == "v1" else 768, hidden, 768 // narrow, f0)
    yield from _dec(hidden, 512 // narrow, gin, *STAGES[version, rate], f0)
    for i in (0, 2, 4, 6):
        yield from _flow(f"flow.flows.{i}", hidden, gin)
    yield Row("emb_g.weight", (speakers, gin), 1.0)


def _linear(name: str, out: int, of: int, kernel: int = 1, gain: float = 1.0) -> Iterator[Row]:
    yield Row(f"{name}.weight", (out, of, kernel), gain / math.sqrt(of * kernel))
    yield Row(f"{name}.bias", (out,), 0.05)


def _normed(name: str, out: int, of: int, kernel: int, gain: float = 1.0) -> Iterator[Row]:
    yield Row(f"{name}.bias", (out,), 0.05)
    yield Row(f"{name}.weight", (out, of, kernel), gain / math.sqrt(of * kernel), normed=True)


def _enc_p(dim: int, hidden: int, filters: int, f0: bool) -> Iterator[Row]:
    yield Row("enc_p.emb_phone.weight", (hidden, dim), 1.0 / math.sqrt(dim))
    yield Row("enc_p.emb_phone.bias", (hidden,), 0.05)
    if f0:
        yield Row("enc_p.emb_pitch.weight", (256, hidden), 0.5)
    for i in range(6):
        attention = f"enc_p.encoder.attn_layers.{i}"
        yield Row(f"{attention}.emb_rel_k", (1, 21, hidden // 2), (hidden // 2) ** -0.5)
        yield Row(f"{attention}.emb_rel_v", (1, 21, hidden // 2), (hidden // 2) ** -0.5)
        for part in ("conv_q", "conv_k", "conv_v", "conv_o"):
            yield from _linear(f"{attention}.{part}", hidden, hidden)
    for i in range(6):
        yield Row(f"enc_p.encoder.norm_layers_1.{i}.gamma", (hidden,), 0.1)
        yield Row(f"enc_p.encoder.norm_layers_1.{i}.beta", (hidden,), 0.1)
    for i in range(6):
        yield from _linear(f"enc_p.encoder.ffn_layers.{i}.conv_1", filters, hidden, 3)
        yield from _linear(f"enc_p.encoder.ffn_layers.{i}.conv_2", hidden, filters, 3)
    for i in range(6):
        yield Row(f"enc_p.encoder.norm_layers_2.{i}.gamma", (hidden,), 0.1)
        yield Row(f"enc_p.encoder.norm_layers_2.{i}.beta", (hidden,), 0.1)
    yield from _linear("enc_p.proj", 2 * hidden, hidden, gain=0.7)


def _dec(
    inter: int, initial: int, gin: int, rates: list[int], kernels: list[int], f0: bool
) -> Iterator[Row]:
    if f0:
        yield Row("dec.m_source.l_linear.weight", (1, 1), 1.0)
        yield Row("dec.m_source.l_linear.bias", (1,), 0.01)
        for i in range(len(rates)):
            stride = math.prod(rates[i + 1 :])
            kernel = 2 * stride if i + 1 < len(rates) else 1
            yield from _linear(f"dec.noise_convs.{i}", initial >> (i + 1), 1, kernel)
    yield from _linear("dec.conv_pre", initial, inter, 7)
    for i, (rate, kernel) in enumerate(zip(rates, kernels, strict=True)):
        of, out = initial >> i, initial >> (i + 1)
        yield Row(f"dec.ups.{i}.bias", (out,), 0.05)
        spread = 1.2 / math.sqrt(of * kernel / rate)
        yield Row(f"dec.ups.{i}.weight", (of, out, kernel), spread, normed=True)
    for i in range(3 * len(rates)):
        channels = initial >> (i // 3 + 1)
        for part in ("convs1", "convs2"):
            for j in range(3):
                name = f"dec.resblocks.{i}.{part}.{j}"
                yield from _normed(name, channels, channels, KERNELS[i % 3], 0.7)
    last = initial >> len(rates)
    yield Row("dec.conv_post.weight", (1, last, 7), 0.3 / math.sqrt(7 * last))
    yield from _linear("dec.cond", initial, gin)


def _flow(name: str, hidden: int, gin: int) -> Iterator[Row]:
    yield from _linear(f"{name}.pre", hidden, hidden // 2)
    for i in range(3):
        yield from _normed(f"{name}.enc.in_layers.{i}", 2 * hidden, hidden, 5)
    for i in range(3):
        yield from _normed(
            f"{name}.enc.res_skip_layers.{i}", 2 * hidden if i < 2 else hidden, hidden, 1
        )
    yield from _normed(f"{name}.enc.cond_layer", 6 * hidden, gin, 1)
    yield from _linear(f"{name}.post", hidden // 2, hidden, gain=0.5)


def rvc_config(version: str = "v2", rate: int = 40_000, narrow: int = 1) -> list[Any]:
    """The 18 settings of a checkpoint, with 109 speakers, whatever the voice has."""
    rates, kernels = STAGES[version, rate]
    hidden = 192 // narrow
    spectrum = 513 if rate == 32_000 else 1025
    return [
        *(spectrum, 32, hidden, hidden, 768 // narrow, 2, 6, 3, 0, "1"),
        *(KERNELS, DILATIONS, rates, 512 // narrow, kernels, 109, 256 // narrow, rate),
    ]


def rvc_file(
    version: Version = "v2",
    rate: Rate = 40_000,
    *,
    f0: bool = True,
    speakers: int = 1,
    seed: int = 0,
    narrow: int = 1,
    half: bool = True,
    **more: Any,
) -> dict[str, Any]:
    """What a small `.pth` holds. `more` adds entries, or takes one away when it is None."""
    state = rvc_state(version, rate, f0=f0, speakers=speakers, seed=seed, narrow=narrow)
    held: dict[str, Any] = {
        "weight": {name: value.half() if half else value for name, value in state.items()},
        "config": rvc_config(version, rate, narrow),
        "info": "200epoch",
        "sr": f"{rate // 1000}k",
        "f0": int(f0),
        "version": version,
        **more,
    }
    return {key: value for key, value in held.items() if value is not None}


def save_pth(path: Path, held: dict[str, Any], *, legacy: bool = False) -> Path:
    """Write as `torch.save` does: a zip, or what it wrote before torch 1.6."""
    torch.save(held, path, _use_new_zipfile_serialization=not legacy)
    return path


def new_names(state: State) -> State:
    """The state dict with the names that newer torch gives to weight norm."""
    ends = {"weight_g": "original0", "weight_v": "original1"}
    return {
        f"{stem}.parametrizations.weight.{ends[end]}" if end in ends else name: value
        for name, value in state.items()
        for stem, _, end in [name.rpartition(".")]
    }
