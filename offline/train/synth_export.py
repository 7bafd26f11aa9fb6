"""Synthesizer -> synth.onnx."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from offline.train.export import export_streaming
from offline.train.layers import Memory
from offline.train.student import State
from offline.train.synth import PITCHES, Synthesizer

AXES = {
    "phone": {1: "frames"},
    "pitch": {1: "frames"},
    "noise": {2: "frames"},
    "source": {2: "samples"},
    "audio": {2: "samples"},
    "sid": {},
}


class _Graph(nn.Module):
    def __init__(self, synth: Synthesizer) -> None:
        super().__init__()
        self.synth = synth

    def forward(
        self, inputs: Mapping[str, Tensor], state: State
    ) -> tuple[Mapping[str, Tensor], State]:
        memory = Memory([state[name] for name in sorted(state)])
        audio = self.synth(inputs, memory)
        return {"audio": audio}, dict(zip(sorted(state), memory.kept, strict=True))


def _inputs(synth: Synthesizer, frames: int) -> dict[str, Tensor]:
    shape = synth.shape
    return {
        "phone": torch.zeros(1, frames, shape.features),
        "pitch": torch.ones(1, frames, dtype=torch.long),
        "noise": torch.zeros(1, shape.latent, frames),
        "source": torch.zeros(1, 1, frames * shape.hop),
        "sid": torch.zeros(1, dtype=torch.long),
    }


def export_synth(synth: Synthesizer, path: Path, *, eight_bit: bool = True) -> None:
    """Write the graph that speaks: `phone pitch noise source sid` and state in, `audio` out."""
    synth = synth.eval()
    memory = Memory()
    inputs = _inputs(synth, frames=4)
    with torch.no_grad():
        synth(inputs, memory)
    state = {f"{i:02d}": torch.zeros_like(kept) for i, kept in enumerate(memory.kept)}
    export_streaming(_Graph(synth), inputs, state, AXES, path, eight_bit=eight_bit)


def spread_pitches(synth: Synthesizer, lowest: int, highest: int) -> None:
    """Give coarse pitches outside lowest .. highest, which training never saw, the nearest's
    embedding. 1 is unvoiced and stays."""
    table = synth.enc_p.emb_pitch.weight
    with torch.no_grad():
        table[2:lowest] = table[lowest].clone()
        table[highest + 1 : PITCHES] = table[highest].clone()
