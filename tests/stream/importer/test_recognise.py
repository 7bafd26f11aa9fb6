"""A voice is recognised by what is in its file, however that was written."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from published import STAGES, new_names, rvc_config, rvc_file, rvc_state, save_pth
from safetensors.torch import save_file

from stream.errors import BadCheckpoint
from stream.importer.checkpoint import RvcCheckpoint
from stream.importer.layout import layout
from stream.importer.recognise import recognise
from stream.importer.says import rate, text
from stream.importer.tensors import TensorFile, read_tensors

NARROW = 8


def voice(path: Path) -> RvcCheckpoint:
    return recognise(read_tensors(path))


def same(one: RvcCheckpoint, other: RvcCheckpoint, error: float = 0.0) -> None:
    assert one.shape == other.shape
    assert list(one.weights) == list(other.weights)
    for name, value in one.weights.items():
        assert np.allclose(value, other.weights[name], rtol=error, atol=error), name


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> RvcCheckpoint:
    """A narrow v2 40k voice as RVC saves it, but in float32."""
    path = tmp_path_factory.mktemp("voice") / "a.pth"
    return voice(save_pth(path, rvc_file(narrow=NARROW, half=False, speakers=3)))


@pytest.mark.parametrize("f0", [True, False])
@pytest.mark.parametrize(("version", "rate"), list(STAGES))
def test_every_published_network_is_recognised(
    tmp_path: Path, version: Any, rate: Any, f0: bool
) -> None:
    held = rvc_file(version, rate, f0=f0, speakers=5, narrow=NARROW)
    found = voice(save_pth(tmp_path / "a.pth", held))
    rates, kernels = STAGES[version, rate]
    shape = found.shape
    assert (shape.version, shape.sample_rate, shape.f0, shape.speakers) == (version, rate, f0, 5)
    assert (list(shape.upsample_rates), list(shape.upsample_kernels)) == (rates, kernels)
    assert (shape.dim, shape.hop) == (256 if version == "v1" else 768, rate // 100)
    assert {name: value.shape for name, value in found.weights.items()} == layout(shape)
    assert all(value.dtype == np.float32 for value in found.weights.values())
    assert found.embedder == f"contentvec-{shape.dim}"


@pytest.mark.slow
def test_a_full_size_voice_has_the_published_sizes(tmp_path: Path) -> None:
    shape = voice(save_pth(tmp_path / "a.pth", rvc_file(speakers=109))).shape
    config = rvc_config()
    assert (shape.inter, shape.hidden, shape.filter, shape.heads) == tuple(config[2:6])
    assert (shape.layers, shape.kernel) == tuple(config[6:8])
    assert list(shape.resblock_kernels) == config[10]
    assert [list(row) for row in shape.resblock_dilations] == config[11]
    assert (shape.upsample_initial, shape.speakers, shape.gin) == (512, 109, 256)


def test_weight_norm_is_folded_as_torch_folds_it(plain: RvcCheckpoint) -> None:
    state = rvc_state(narrow=NARROW, speakers=3)
    for name in ("dec.ups.1", "dec.resblocks.4.convs2.1", "flow.flows.2.enc.cond_layer"):
        direction, length = state[f"{name}.weight_v"], state[f"{name}.weight_g"]
        folded = torch._weight_norm(direction, length, 0)  # type: ignore[attr-defined]
        assert np.allclose(plain.weights[f"{name}.weight"], folded.numpy(), rtol=1e-6, atol=1e-7)
    assert not any("weight_" in name or "original" in name for name in plain.weights)


def as_new_names(held: dict[str, Any]) -> dict[str, Any]:
    return {**held, "weight": new_names(held["weight"])}


def as_folded(held: dict[str, Any]) -> dict[str, Any]:
    weight: dict[str, torch.Tensor] = {}
    for name, value in held["weight"].items():
        if name.endswith("weight_g"):
            direction = held["weight"][f"{name[:-2]}_v"]
            weight[name[:-2]] = torch._weight_norm(direction, value, 0)  # type: ignore[attr-defined]
        elif not name.endswith("weight_v"):
            weight[name] = value
    return {**held, "weight": weight}


def as_ddpn08(held: dict[str, Any]) -> dict[str, Any]:
    names = (
        *("spec_channels", "segment_size", "inter_channels", "hidden_channels", "filter_channels"),
        *("n_heads", "n_layers", "kernel_size", "p_dropout", "resblock", "resblock_kernel_sizes"),
        *("resblock_dilation_sizes", "upsample_rates", "upsample_initial_channel"),
        *("upsample_kernel_sizes", "spk_embed_dim", "gin_channels"),
    )
    params = {**dict(zip(names, held["config"], strict=False)), "emb_channels": 768, "sr": 40_000}
    more = {"embedder_name": "hubert_base768", "embedder_output_layer": 12}
    return {**held, "params": params, "config": list(params.values()), **more}


def without(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda held: {key: value for key, value in held.items() if key not in names}


def with_posterior(held: dict[str, Any]) -> dict[str, Any]:
    return {**held, "weight": {**held["weight"], "enc_q.pre.weight": torch.ones(3, 3, 1)}}


@pytest.mark.parametrize(
    "change",
    [
        as_new_names,
        as_folded,
        as_ddpn08,
        lambda held: without("params")(as_ddpn08(held)),
        lambda held: {**held, "config": as_ddpn08(held)["params"]},
        without("version"),
        without("config", "sr", "version", "f0", "info"),
        with_posterior,
        lambda held: {**held, "sr": 40_000},
        lambda held: {**held, "sr": "48k"},  # the settings are right where the two differ
        lambda held: {**held, "config": ["nonsense"] * 18, "speaker_info": 5, "f0_median": "high"},
        lambda held: held["weight"],
        lambda held: {**held, "weight": dict(reversed(held["weight"].items()))},
    ],
)
def test_the_same_weights_make_the_same_voice_however_they_are_written(
    tmp_path: Path, plain: RvcCheckpoint, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    held = change(rvc_file(narrow=NARROW, half=False, speakers=3))
    found = voice(save_pth(tmp_path / "G_40.bin", held))
    same(found, plain, error=1e-6)
    assert found.embedder == plain.embedder


def test_half_precision_and_the_older_format_lose_only_what_half_loses(
    tmp_path: Path, plain: RvcCheckpoint
) -> None:
    held = rvc_file(narrow=NARROW, speakers=3)
    half = voice(save_pth(tmp_path / "a.pth", held))
    old = voice(save_pth(tmp_path / "b.pth", held, legacy=True))
    same(half, plain, error=5e-3)
    same(old, half)


@pytest.mark.parametrize("told", [True, False])
def test_safetensors_are_recognised_with_and_without_settings(
    tmp_path: Path, plain: RvcCheckpoint, told: bool
) -> None:
    held = rvc_file(narrow=NARROW, half=False, speakers=3)
    said = {"config": json.dumps(held["config"]), "sr": "40k", "version": "v2"} if told else None
    save_file(held["weight"], tmp_path / "a.safetensors", metadata=said)
    same(voice(tmp_path / "a.safetensors"), plain)


def test_two_decoders_of_the_same_kernels_are_told_apart(tmp_path: Path) -> None:
    for hz in (32_000, 48_000):
        held = rvc_file("v1", hz, narrow=NARROW, config=None, sr=None)
        assert voice(save_pth(tmp_path / "a.pth", held)).shape.sample_rate == hz
        held = rvc_file("v1", hz, f0=False, narrow=NARROW, config=None)
        assert voice(save_pth(tmp_path / "a.pth", held)).shape.sample_rate == hz
    held = rvc_file("v1", 32_000, f0=False, narrow=NARROW, config=None, sr=None)
    with pytest.raises(BadCheckpoint, match="32 kHz from 48 kHz"):
        voice(save_pth(tmp_path / "a.pth", held))


def test_what_the_file_says_of_itself_is_kept(tmp_path: Path) -> None:
    held = rvc_file(
        narrow=NARROW,
        speakers=3,
        speaker_info={"0": "Ada", 2: "Zoë\n\x1b[31m"},
        embedder_model="spin-v2",
        f0_median=np.float64(181.5),
        author="somebody",
        epoch=300,
        step=12_000,
        model_name="Ada",
        creation_date="2026-01-02T03:04:05",
        dataset_length="00:10:00",
    )
    found = voice(save_pth(tmp_path / "a.pth", held))
    assert found.speakers == ("Ada", "speaker 1", "Zoë  [31m")
    assert (found.embedder, found.f0_median_hz) == ("spin-v2-768", 181.5)
    assert found.about["author"] == "somebody"
    assert (found.about["epochs"], found.about["steps"]) == ("300", "12000")


@pytest.mark.parametrize(
    ("entries", "embedder"),
    [
        ({"embedder_model": "contentvec"}, "contentvec-768"),
        ({"embedder_model": "japanese-hubert-base"}, "japanese-hubert-base-768"),
        ({"embedder_name": "hubert_jp"}, "japanese-hubert-base-768"),
        ({"embedder_name": "contentvec768", "embedder_output_layer": 9}, "contentvec-768-layer9"),
        ({"embedder_model": "../My Own"}, "my-own-768"),
        ({"embedder_model": 7.5, "embedder_output_layer": "x"}, "7-5-768"),
    ],
)
def test_the_encoder_is_named(tmp_path: Path, entries: dict[str, Any], embedder: str) -> None:
    held = rvc_file(narrow=NARROW, **entries)
    assert voice(save_pth(tmp_path / "a.pth", held)).embedder == embedder


def changed(name: str, value: torch.Tensor | None) -> dict[str, Any]:
    held = rvc_file(narrow=NARROW, half=False)
    if value is None:
        del held["weight"][name]
    else:
        held["weight"][name] = value
    return held


def spoilt(number: float) -> torch.Tensor:
    value = torch.ones(32, 512 // NARROW, 1)
    value[3, 5] = number
    return value


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (changed("dec.ups.1.weight_v", None), "dec.ups.1.weight has half a weight norm"),
        (changed("dec.ups.1.weight_g", None), "dec.ups.1.weight has half a weight norm"),
        (changed("dec.ups.1.weight_g", torch.ones(3, 1, 1)), "wrong shape"),
        (changed("dec.ups.1.weight_v", torch.zeros(32, 16, 16)), "all zeros"),
        (changed("enc_p.proj.bias", None), "enc_p.proj.bias is missing"),
        (changed("enc_p.proj.bias", torch.ones(5)), r"enc_p.proj.bias has the shape \(5,\)"),
        (changed("enc_p.proj.bias", torch.ones(48, dtype=torch.int32)), "int32 numbers"),
        (changed("dec.cond.weight", spoilt(float("nan"))), "NaN or infinity"),
        (changed("dec.cond.weight", spoilt(float("inf"))), "NaN or infinity"),
        (changed("dec.extra.weight", torch.ones(1)), "dec.extra.weight, which RVC's network"),
        (changed("enc_p.emb_phone.weight", torch.ones(24, 512)), "512 content features"),
        (changed("emb_g.weight", torch.ones(0, 32)), "emb_g.weight has the shape"),
        (changed("dec.noise_convs.0.weight", torch.ones(32, 1, 60)), "no RVC's"),
    ],
)
def test_a_wrong_tensor_is_named(tmp_path: Path, held: dict[str, Any], said: str) -> None:
    with pytest.raises(BadCheckpoint, match=said):
        voice(save_pth(tmp_path / "a.pth", held))


def test_settings_that_contradict_the_weights_are_refused(tmp_path: Path) -> None:
    held = rvc_file(narrow=NARROW)
    held["config"][-1] = 48_000
    with pytest.raises(BadCheckpoint, match="settings say 48000 Hz"):
        voice(save_pth(tmp_path / "a.pth", held))


ONE = torch.ones(2, 2)


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({"model": rvc_state(narrow=8), "optimizer": {}, "iteration": 3}, "training checkpoint"),
        ({"model": {"discriminators.0.convs.0.bias": ONE}, "optimizer": {}}, "discriminator"),
        ({"weight": {"enc_p.ssl_proj.weight": ONE}, "config": {}}, "GPT-SoVITS"),
        ({"weight": {"model.ar_text_embedding.word": ONE}}, "GPT model of GPT-SoVITS"),
        ({"model": {"enc_p.f0_emb.weight": ONE}}, "so-vits-svc"),
        ({"model": {"unit2ctrl.a": ONE}}, "DDSP-SVC"),
        ({"feature_extractor.conv_layers.0.conv.weight": ONE}, "HuBERT.*models pull"),
        ({"model": {"feature_extractor.conv_layers.0.0.weight": ONE}}, "HuBERT"),
        ({"unet.encoder.bn.weight": ONE}, "RMVPE"),
        ({"model": {"input_stack.0.weight": ONE}, "config_dict": {}}, "FCPE"),
        ({"conv1_BN.weight": ONE}, "CREPE"),
        ({"mask_estimators.0.to_freqs.0.0.weight": ONE}, "UVR"),
        ({"some.layer.weight": ONE}, "not those of an RVC voice"),
        ({"sr": "40k"}, "no weights"),
        ([1, 2], "no weights"),
    ],
)
def test_what_is_no_voice_is_called_what_it_is(tmp_path: Path, held: Any, said: str) -> None:
    with pytest.raises(BadCheckpoint, match=said):
        voice(save_pth(tmp_path / "my voice.pth", held))


@pytest.mark.parametrize(
    ("sign", "entries", "said"),
    [
        ("dec.mrfs.0.0.layers.0.conv1.bias", {}, "MRF HiFi-GAN"),
        ("dec.downsample_blocks.0.1.convs1.0.bias", {"vocoder": "RefineGAN"}, "RefineGAN"),
        ("dec.ups.0.bias", {"vocoder": "RingFormer"}, "RingFormer"),
    ],
)
def test_foreign_vocoders_are_refused_by_name(
    tmp_path: Path, sign: str, entries: dict[str, Any], said: str
) -> None:
    held = {**changed(sign, torch.ones(3)), **entries}
    with pytest.raises(BadCheckpoint, match=f"decoder is {said}"):
        voice(save_pth(tmp_path / "a.pth", held))


def test_the_usual_vocoder_may_be_named(tmp_path: Path) -> None:
    held = rvc_file(narrow=NARROW, vocoder="HiFi-GAN")
    assert voice(save_pth(tmp_path / "a.pth", held)).shape.sample_rate == 40_000


def test_rates_and_texts_are_read_in_any_form() -> None:
    assert [rate(x) for x in ("40k", 40_000, "48000", "32kHz", 40, True, None, "k", 1e4)] == [
        *(40_000, 40_000, 48_000, 32_000, 40_000),
        *(None, None, None, None),
    ]
    assert text("a\nb" + "c" * 500) == "a b" + "c" * 197
    assert (text(float("nan")), text([1]), text(True), text(3)) == ("", "", "", "3")


STATE = rvc_state(narrow=NARROW)
SHAPES = st.lists(st.integers(0, 70), max_size=4)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1000), SHAPES, st.sampled_from(["f", "d", "q"])), max_size=3)
)
def test_tensors_of_any_shape_give_a_voice_or_a_typed_error(
    changes: list[tuple[int, list[int], str]],
) -> None:
    tensors = {name: value.numpy() for name, value in STATE.items()}
    for at, shape, kind in changes:
        tensors[list(tensors)[at % len(tensors)]] = np.ones(shape, kind)
    with suppress(BadCheckpoint):
        found = recognise(TensorFile(Path("a.pth"), "torch", tensors, {"config": ["?"] * 18}))
        assert {name: value.shape for name, value in found.weights.items()} == layout(found.shape)
