"""The synthesizer's graphs against RVC's own modules, with seeded random weights.

Random weights show that every tensor is read, placed and computed right, and that nothing is lost
between calls. They cannot show how a trained voice sounds.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from reference import RATES, folded, network, shape_of

from stream.audio import Audio
from stream.importer.checkpoint import RvcCheckpoint, RvcShape
from stream.importer.graphs.decoder import delay
from stream.importer.graphs.nsf import write
from stream.models.nsf import DECODER, PRIOR, PROVISIONAL
from stream.models.onnx import OnnxModel

FRAMES = 90
SPEAKERS: dict[str, Any] = {"sid": np.array([1, 2]), "morph": np.zeros(1, np.float32)}


class Loaded(NamedTuple):
    """One network twice: RVC's own, and as graphs."""

    shape: RvcShape
    net: Any
    prior: OnnxModel
    decoder: OnnxModel


def load(shape: RvcShape, folder: Path) -> Loaded:
    net = network(shape)
    checkpoint: RvcCheckpoint = folded(net, shape)
    write(checkpoint, folder)
    pitch = {"pitch": (1, None)} if shape.f0 else {}
    source = {"source": (1, 1, None)} if shape.f0 else {}
    speaker = {"sid": (2,), "morph": (1,)}
    prior = OnnxModel(
        folder / PRIOR,
        {"phone": (1, None, shape.dim), "noise": (1, 192, None), "wanted": (1,)} | pitch | speaker,
        {"z": (1, 192, None)},
    )
    decoder = OnnxModel(
        folder / DECODER, {"z": (1, 192, None)} | source | speaker, {"audio": (1, 1, None)}
    )
    return Loaded(shape, net, prior, decoder)


def heard(shape: RvcShape) -> dict[str, Any]:
    """Made-up features, coarse pitch and noise of FRAMES frames."""
    draw = np.random.default_rng(0)
    return {
        "phone": draw.standard_normal((1, FRAMES, shape.dim)).astype(np.float32),
        "pitch": draw.integers(1, 256, (1, FRAMES)),
        "noise": draw.standard_normal((1, 192, FRAMES)).astype(np.float32),
    }


def latent(net: Any, inputs: dict[str, Any], speaker: int | None = 1, g: Any = None) -> Any:
    """What RVC's enc_p and flow make of `inputs`, [1, 192, T]."""
    pitch = torch.from_numpy(inputs["pitch"]) if hasattr(net.enc_p, "emb_pitch") else None
    frames = inputs["phone"].shape[1]
    with torch.inference_mode():
        g = net.emb_g(torch.tensor([speaker]))[..., None] if g is None else g
        phone, length = torch.from_numpy(inputs["phone"]), torch.tensor([frames])
        mean, logs, mask = net.enc_p(phone, pitch, length)
        z = mean + torch.exp(logs) * torch.from_numpy(inputs["noise"])
        return net.flow(z, mask, g=g, reverse=True)


def spoken(loaded: Loaded, z: Any, source: Audio) -> Audio:
    """What RVC's decoder makes of the whole of `z`, with our excitation in place of its own."""
    net = loaded.net
    with torch.inference_mode():
        g = net.emb_g(torch.tensor([1]))[..., None]
        if not loaded.shape.f0:
            return net.dec(z, g=g)[0, 0].numpy()
        own = net.dec.m_source
        merged = own.l_tanh(own.l_linear(torch.from_numpy(source)[0].T[None])).transpose(1, 2)

        class Ours(torch.nn.Module):
            def forward(self, _f0: Any, _upp: Any) -> Any:
                return merged.transpose(1, 2), None, None

        net.dec.m_source = Ours()
        try:
            return net.dec(z, torch.ones(1, z.shape[2]), g=g)[0, 0].numpy()
        finally:
            net.dec.m_source = own


def streamed(loaded: Loaded, z: Audio, source: Audio, hop: int) -> Audio:
    """The same by our decoder, `hop` frames a call; its delay cut off."""
    samples, state, parts = loaded.shape.hop, loaded.decoder.initial_state(), list[Audio]()
    for at in range(0, z.shape[2] - PROVISIONAL - hop + 1, hop):
        until = at + hop + PROVISIONAL
        feed = {"source": source[..., at * samples : until * samples]} if loaded.shape.f0 else {}
        outputs, state = loaded.decoder.step(
            state, z=np.ascontiguousarray(z[..., at:until]), **feed, **SPEAKERS
        )
        parts.append(np.asarray(outputs["audio"], np.float32)[0, 0])
    return np.concatenate(parts)[delay(loaded.shape) :]


def relative(found: Audio, wanted: Audio) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


QUICK = [("v2", 40_000, True), ("v1", 48_000, True), ("v2", 40_000, False)]
SHAPES = [
    *QUICK,
    *(
        pytest.param(*shape, True, marks=pytest.mark.slow)
        for shape in RATES
        if (*shape, True) not in QUICK
    ),
]


@pytest.mark.parametrize(("version", "rate", "f0"), SHAPES)
def test_streaming_equals_one_pass_of_rvcs_own_network(
    version: str, rate: int, f0: bool, tmp_path: Path
) -> None:
    loaded = load(shape_of(version, rate, f0=f0, narrow=True), tmp_path)
    inputs = heard(loaded.shape)
    wanted = latent(loaded.net, inputs)
    pitch = {} if f0 else {"pitch"}
    feed = {name: value for name, value in inputs.items() if name not in pitch}
    z = loaded.prior(**feed, wanted=np.array([FRAMES]), **SPEAKERS)["z"]
    assert relative(np.asarray(z, np.float32), wanted.numpy()) <= 1e-4

    draw = np.random.default_rng(1)
    samples = FRAMES * loaded.shape.hop
    source = (0.1 * draw.standard_normal((1, 1, samples))).astype(np.float32)
    whole = spoken(loaded, wanted, source)
    assert 0.01 < whole.std() < 0.9, "the network's signal died or exploded: nothing is tested"
    settled = rate // 8  # before the first call, the memory is not what zeros would have made
    for hop in (4, 10, 16):
        sound = streamed(loaded, np.asarray(z, np.float32), source, hop)
        part = slice(settled, len(sound))
        assert relative(sound[part], whole[part]) <= 1e-3, f"hop of {hop} frames"


def test_a_window_answers_as_one_pass_that_ends_with_it(tmp_path: Path) -> None:
    loaded = load(shape_of("v2", 40_000, narrow=True), tmp_path)
    inputs = heard(loaded.shape)
    last = {name: value[..., :70] for name, value in inputs.items() if name != "phone"}
    last["phone"] = inputs["phone"][:, :70]
    wanted = latent(loaded.net, last).numpy()[..., -14:]
    feed = {**last, "noise": last["noise"][..., -38:]}  # the flow hears 24 frames more
    z = loaded.prior(**feed, wanted=np.array([14]), **SPEAKERS)["z"]
    assert relative(np.asarray(z, np.float32), wanted) <= 1e-4


def test_a_morph_lies_between_its_speakers(tmp_path: Path) -> None:
    loaded = load(shape_of("v2", 40_000, narrow=True), tmp_path)
    inputs = heard(loaded.shape)
    table = loaded.net.emb_g.weight.detach()
    between = (0.75 * table[1] + 0.25 * table[2])[None, :, None]
    wanted = latent(loaded.net, inputs, g=between).numpy()
    speakers = {"sid": np.array([1, 2]), "morph": np.array([0.25], np.float32)}
    z = np.asarray(loaded.prior(**inputs, wanted=np.array([FRAMES]), **speakers)["z"], np.float32)
    assert relative(z, wanted) <= 1e-4
    assert relative(z, latent(loaded.net, inputs, 1).numpy()) > 1e-3


@pytest.mark.slow
def test_a_full_size_voice_equals_rvcs_own_network(tmp_path: Path) -> None:
    loaded = load(shape_of("v2", 40_000, speakers=109), tmp_path)
    inputs = heard(loaded.shape)
    wanted = latent(loaded.net, inputs)
    z = np.asarray(loaded.prior(**inputs, wanted=np.array([FRAMES]), **SPEAKERS)["z"], np.float32)
    assert relative(z, wanted.numpy()) <= 1e-4
    source = (0.1 * np.random.default_rng(1).standard_normal((1, 1, FRAMES * 400))).astype("f4")
    whole, sound = spoken(loaded, wanted, source), streamed(loaded, z, source, 10)
    assert relative(sound[5000:], whole[5000 : len(sound)]) <= 1e-3
