import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from random_encoder import NARROW, random_weights
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner

import timbral
from stream.audio import Audio
from stream.device import CPU
from stream.errors import BadCheckpoint, ConfigError, HostileFile
from stream.importer.encoders import add_encoder
from stream.importer.graphs.builder import Graph
from stream.importer.graphs.hubert import POSITIONS, Weights
from stream.models.content import ContentEncoder
from stream.models.store import Store
from stream.models.voice import load_encoder

HOP = 320
SHAPE = replace(NARROW, layers=3, projected=True, dim=24)
CONFIG: dict[str, Any] = {
    "model_type": "hubert",
    "num_attention_heads": SHAPE.heads,
    "do_stable_layer_norm": False,
    "feat_extract_norm": "group",
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
}
TO_FAIRSEQ = (
    ("pos_conv_embed.conv.", "pos_conv.0."),
    ("feature_extractor.conv_layers.0.layer_norm.", "feature_extractor.conv_layers.0.2."),
    (".conv.weight", ".0.weight"),
    ("feature_projection.layer_norm.", "layer_norm."),
    ("feature_projection.projection.", "post_extract_proj."),
    (".feed_forward.intermediate_dense.", ".fc1."),
    (".feed_forward.output_dense.", ".fc2."),
)


def normed(weights: Weights, gain: str, direction: str) -> dict[str, Tensor]:
    """Tensors with the positional convolution's weight norm unfolded under these names."""
    tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
    kernel = tensors.pop(f"{POSITIONS}.weight")
    tensors[f"{POSITIONS}.{gain}"] = kernel.norm(dim=(0, 1), keepdim=True)
    tensors[f"{POSITIONS}.{direction}"] = 3.0 * kernel  # its length must not matter
    return tensors


def transformers_bin(folder: Path, weights: Weights) -> Path:
    path = folder / "pytorch_model.bin"
    half = {k: v.half() for k, v in normed(weights, "weight_g", "weight_v").items()}
    torch.save(half | {"masked_spec_embed": torch.zeros(4)}, path)
    return path


def transformers_safe(folder: Path, weights: Weights) -> Path:
    path = folder / "model.safetensors"
    part = "parametrizations.weight.original"
    tensors = normed(weights, f"{part}0", f"{part}1")
    inside = {n if n.startswith("final_proj") else f"hubert.{n}": v for n, v in tensors.items()}
    save_file({name: value.contiguous() for name, value in inside.items()}, path)
    return path


def fairseq(folder: Path, weights: Weights, layer_norm_first: bool = False) -> Path:
    """As fairseq saves it: settings as objects of classes that are not installed here."""
    path = folder / "checkpoint_best_legacy_500.pt"
    tensors: dict[str, Tensor] = {}
    for name, value in normed(weights, "weight_g", "weight_v").items():
        for ours, theirs in TO_FAIRSEQ:
            name = name.replace(ours, theirs)
        name = name.replace("attention", "self_attn")
        if "encoder.layers." in name:
            name = name.replace(".layer_norm.", ".self_attn_layer_norm.")
        tensors[name] = value
    tensors["label_embs_concat"] = torch.zeros(5, 3)
    module = ModuleType("fairseq")
    settings: Any = type("HubertConfig", (), {"__module__": "fairseq"})
    module.HubertConfig = settings  # pyright: ignore[reportAttributeAccessIssue]
    config = settings()
    config.layer_norm_first, config.extractor_mode = layer_norm_first, "default"
    args = argparse.Namespace(layer_norm_first=layer_norm_first, criterion="hubert")
    sys.modules["fairseq"] = module
    try:
        torch.save({"model": tensors, "args": args, "cfg": {"model": config}}, path)
    finally:
        del sys.modules["fairseq"]
    return path


FORMS = [transformers_bin, transformers_safe, fairseq]


def add(files: list[Path], identity: str, home: Path, **options: Any) -> ContentEncoder:
    card = add_encoder(files, identity, home, licence="MIT", source="a test", **options)
    encoder = load_encoder(home / "models" / identity, CPU)
    assert encoder.card == card
    return encoder


def with_config(path: Path, **other: Any) -> list[Path]:
    config = path.with_name("config.json")
    config.write_text(json.dumps(CONFIG | other), "utf-8")
    return [config, path]


def said(encoder: ContentEncoder, speech: Audio) -> Audio:
    return encoder.open(0, 0).step(speech[: 30 * HOP])


@pytest.fixture(scope="module")
def weights() -> Weights:
    return random_weights(SHAPE, final=True)


@pytest.fixture(scope="module")
def expected(
    weights: Weights, speech: Audio, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Audio]:
    """What the last layer and the projected one say, from weights that were never in a file."""
    from random_encoder import random_encoder

    home = tmp_path_factory.mktemp("direct")
    whole = load_encoder(random_encoder(home, "last", NARROW), CPU)
    shape = replace(SHAPE, layers=3)
    projected = load_encoder(random_encoder(home, "projected", shape), CPU)
    return {"spin-48": said(whole, speech), "spin-24": said(projected, speech)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("identity", ["spin-48", "spin-24"])
def test_every_published_form_says_the_same(
    tmp_path: Path,
    speech: Audio,
    weights: Weights,
    expected: Mapping[str, Audio],
    form: Callable[[Path, Weights], Path],
    identity: str,
) -> None:
    found = said(add(with_config(form(tmp_path, weights)), identity, tmp_path), speech)
    half = form is transformers_bin  # was rounded to 16 bits
    assert np.abs(found - expected[identity]).max() < (0.02 if half else 2e-5)
    assert [path.name for path in (tmp_path / "models").iterdir()] == [identity]


def test_eight_bits_are_near_and_smaller(
    tmp_path: Path, speech: Audio, weights: Weights, expected: Mapping[str, Audio]
) -> None:
    encoder = add(with_config(fairseq(tmp_path, weights)), "spin-48", tmp_path, eight_bit=True)
    found = said(encoder, speech)
    error = np.linalg.norm(found - expected["spin-48"]) / np.linalg.norm(expected["spin-48"])
    assert 0.001 < error < 0.2  # rounding weighs more on narrow rows
    plain = add(with_config(fairseq(tmp_path, weights)), "plain-48", tmp_path)
    sizes = [
        (tmp_path / "models" / one.card.id / "weights.bin").stat().st_size
        for one in (encoder, plain)
    ]
    assert sizes[0] < 0.6 * sizes[1]


def test_adding_again_replaces(tmp_path: Path, weights: Weights) -> None:
    files = with_config(fairseq(tmp_path, weights))
    add(files, "spin-48", tmp_path)
    assert add(files, "spin-48", tmp_path, eight_bit=True).dim == 48
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["spin-48"]


def broken(tensors: dict[str, Tensor], change: str) -> dict[str, Tensor]:
    key = "encoder.layers.1.attention.q_proj.weight"
    if change == "missing":
        del tensors[key]
    elif change == "nan":
        tensors[key][3, 4] = torch.nan
    elif change == "shape":
        tensors[key] = tensors[key][:-1]
    elif change == "strange":
        tensors["encoder.layers.1.attention.gru_rel_pos_linear.weight"] = torch.zeros(2)
    elif change == "norm":
        del tensors[f"{POSITIONS}.weight_g"]
    elif change == "other":
        return {"dec.conv_pre.weight": torch.zeros(2, 2)}
    elif change == "flat":
        tensors["feature_projection.projection.weight"] = torch.zeros(4)
    elif change == "layers":
        return {name: value for name, value in tensors.items() if "encoder.layers" not in name}
    return tensors


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("missing", "lacks the tensor encoder.layers.1.attention.q_proj.weight"),
        ("nan", "q_proj.weight holds numbers that are none"),
        ("shape", r"q_proj.weight is \(47, 48\), expected \(48, 48\)"),
        ("strange", "no HuBERT-base: it has the tensor encoder.layers.1.attention.gru"),
        ("norm", "weight norm .* is broken"),
        ("other", "holds no HuBERT"),
        ("flat", "lacks the tensor feature_projection.projection.weight, or it has another"),
        ("layers", "has no transformer layers"),
    ],
)
def test_a_broken_checkpoint_is_refused_and_nothing_stays(
    tmp_path: Path, weights: Weights, change: str, text: str
) -> None:
    path = tmp_path / "pytorch_model.bin"
    copies = {name: value.copy() for name, value in weights.items()}
    torch.save(broken(normed(copies, "weight_g", "weight_v"), change), path)
    with pytest.raises(BadCheckpoint, match=text):
        add([path], "spin-48", tmp_path)
    assert not list((tmp_path / "models").iterdir())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("do_stable_layer_norm", True),
        ("feat_extract_norm", "layer"),
        ("hidden_act", "gelu_new"),
        ("conv_stride", [5, 2, 2, 2, 2, 2, 3]),
    ],
)
def test_a_hubert_of_another_kind_is_refused(
    tmp_path: Path, weights: Weights, name: str, value: object
) -> None:
    files = with_config(transformers_bin(tmp_path, weights), **{name: value})
    with pytest.raises(BadCheckpoint, match=f"of another kind: {name} is"):
        add(files, "spin-48", tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("layer_norm_eps", "none", "layer_norm_eps cannot be none"),
        ("num_attention_heads", 7, "48 columns cannot be 7 attention heads"),
        ("num_attention_heads", "x", "cannot be x attention heads"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(
    tmp_path: Path, weights: Weights, name: str, value: object, text: str
) -> None:
    files = with_config(transformers_bin(tmp_path, weights), **{name: value})
    with pytest.raises(BadCheckpoint, match=text):
        add(files, "spin-48", tmp_path)
    files[0].write_text("[" * 100_000, "utf-8")
    with pytest.raises(BadCheckpoint, match="it is no JSON"):
        add(files, "spin-48", tmp_path)


def test_fairseq_says_in_its_settings_that_it_is_of_another_kind(
    tmp_path: Path, weights: Weights
) -> None:
    path = fairseq(tmp_path, weights, layer_norm_first=True)
    with pytest.raises(BadCheckpoint, match="layer_norm_first is True, not False"):
        add(with_config(path), "spin-48", tmp_path)


class Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("owned",)


def test_a_checkpoint_that_runs_something_is_refused(
    tmp_path: Path, weights: Weights, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save({**normed(weights, "weight_g", "weight_v"), "extra": Runs()}, path)
    with pytest.raises(HostileFile, match="print"):
        add([path], "spin-48", tmp_path)
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("identity", "text"),
    [
        ("spin-32", "cannot give 32 features a frame: it has 48 or 24"),
        ("spin-48-layer4", "has 3 layers, not 4"),
    ],
)
def test_features_that_a_checkpoint_does_not_have_are_refused(
    tmp_path: Path, weights: Weights, identity: str, text: str
) -> None:
    with pytest.raises(BadCheckpoint, match=text):
        add(with_config(fairseq(tmp_path, weights)), identity, tmp_path)


def test_an_earlier_layer_can_be_asked_for(
    tmp_path: Path, weights: Weights, speech: Audio, expected: Mapping[str, Audio]
) -> None:
    encoder = add(with_config(fairseq(tmp_path, weights)), "spin-48-layer2", tmp_path)
    assert np.abs(said(encoder, speech) - expected["spin-48"]).max() > 0.1


@pytest.mark.parametrize("identity", ["Spin-48", "spin", "../spin-48", "spin-48-layer"])
def test_an_identity_says_the_number_of_features(tmp_path: Path, identity: str) -> None:
    with pytest.raises(ConfigError, match="names no encoder"):
        add([tmp_path / "x.bin"], identity, tmp_path)


def test_one_file_of_weights_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not a\.bin, b\.pt"):
        add([tmp_path / "a.bin", tmp_path / "b.pt"], "spin-48", tmp_path)


def foreign(
    path: Path,
    name: str,
    rank: int,
    columns: bool,
    length: int | str = "n",
    hop: int = HOP,
) -> Path:
    """A graph with the names and shapes of others' exports: 24 features of 400 samples each."""
    graph = Graph("foreign")
    audio = graph.input(name, (1,) * (rank - 1) + (length,))
    kernel = np.random.default_rng(0).standard_normal((24, 1, 400)).astype(np.float32)
    x = graph.node("Conv", graph.reshape(audio, 1, 1, -1), graph.constant(kernel), strides=[hop])
    if name == "source":
        graph.output(x if columns else graph.transpose(x, 0, 2, 1), "embed", (1, "a", "b"))
    else:
        graph.output(graph.transpose(graph.concat(x, x, axis=1), 0, 2, 1), "unit12", (1, "t", 48))
        graph.output(graph.transpose(x, 0, 2, 1), "units9", (1, "t", 24))
    graph.save(path)
    return path


@pytest.mark.parametrize(
    ("name", "rank", "columns"), [("audio", 2, False), ("source", 3, False), ("source", 3, True)]
)
def test_an_onnx_encoder_of_others_is_run_on_windows(
    tmp_path: Path, speech: Audio, name: str, rank: int, columns: bool
) -> None:
    path = foreign(tmp_path / "their.onnx", name, rank, columns)
    encoder = add([path], "contentvec-24", tmp_path)
    assert encoder.card.kind == "window"
    assert encoder.whole_hops
    kernel = np.random.default_rng(0).standard_normal((24, 1, 400)).astype(np.float32)[:, 0]
    hearing = encoder.open(delay=2, context=5)
    hearing.hear(speech[: 10 * HOP])
    features = hearing.step(speech[10 * HOP : 14 * HOP])
    padded = np.concatenate([speech[: 14 * HOP], np.zeros(80, np.float32)])
    frames = np.stack([padded[m * HOP : m * HOP + 400] for m in range(8, 14)])
    np.testing.assert_allclose(features, frames @ kernel.T, atol=1e-4)


@pytest.mark.parametrize(
    ("length", "hop", "identity", "text"),
    [
        (16_000, HOP, "contentvec-24", "for 16000 samples only"),
        ("n", HOP, "contentvec-20", "none of its outputs is 20 features a 20 ms frame"),
        ("n", 160, "contentvec-24", "none of its outputs is 24 features a 20 ms frame"),
    ],
)
def test_an_onnx_model_that_is_no_such_encoder_is_refused(
    tmp_path: Path, length: int | str, hop: int, identity: str, text: str
) -> None:
    path = foreign(tmp_path / "their.onnx", "audio", 2, False, length, hop)
    with pytest.raises(BadCheckpoint, match=text):
        add([path], identity, tmp_path)
    assert not list((tmp_path / "models").iterdir())


def test_a_voice_is_no_encoder(tmp_path: Path) -> None:
    graph = Graph("voice")
    graph.output(graph.add(graph.input("feats", (1, "t", 8)), graph.input("pitchf", (1, "t", 8))),
                 "audio", (1, "t", 8))  # fmt: skip
    graph.save(tmp_path / "voice.onnx")
    with pytest.raises(BadCheckpoint, match="its inputs are feats"):
        add([tmp_path / "voice.onnx"], "contentvec-24", tmp_path)
    (tmp_path / "cut.onnx").write_bytes((tmp_path / "voice.onnx").read_bytes()[:100])
    with pytest.raises(BadCheckpoint, match="damaged ONNX model"):
        add([tmp_path / "cut.onnx"], "contentvec-24", tmp_path)
    model = onnx.load(str(tmp_path / "voice.onnx"))
    outside = model.graph.initializer.add()
    outside.name, outside.data_location = "w", onnx.TensorProto.EXTERNAL
    (tmp_path / "parts.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BadCheckpoint, match="weights are in other files"):
        add([tmp_path / "parts.onnx"], "contentvec-24", tmp_path)


def test_the_command_installs_an_encoder(
    tmp_path: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMBRAL_HOME", str(tmp_path / "home"))
    files = [str(path) for path in with_config(fairseq(tmp_path, weights))]
    done = CliRunner().invoke(timbral.app, ["models", "add", *files, "--id", "spin-24"])
    assert done.stdout == "Installed spin-24.\n"
    encoder = load_encoder(tmp_path / "home" / "models" / "spin-24", CPU)
    assert encoder.card.source == "config.json, checkpoint_best_legacy_500.pt"
    assert [model.id for model in Store().models() if model.where == "store"] == ["spin-24"]
