"""Pitch detectors made of the files that people publish, and what is refused."""

import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from stream.audio import Audio
from stream.errors import BadCheckpoint, ConfigError, HostileFile, ModelMismatch, ModelNotFound
from stream.importer.detectors import add_detector
from stream.importer.graphs import crepe, fcpe
from stream.models.f0 import Crepe, Detectors, Fcpe, Rmvpe
from stream.models.f0.card import CARD, GRAPH, read_card
from stream.models.f0.rmvpe import RmvpeFromMel, RmvpeFromSound
from stream.models.onnx import OnnxModel

FROM = {"licence": "MIT", "source": "a test"}
STANDS_IN = {  # what torchfcpe imports and, for this model, never calls
    "torchaudio": (),
    "torchaudio.transforms": ("Resample",),
    "einops": ("rearrange", "repeat"),
    "local_attention": ("LocalAttention",),
}


def tiny_crepe() -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    shapes = crepe.shapes(crepe.SIZES["crepe-tiny"])
    found = {name: torch.rand(shape, generator=draw) / 10 for name, shape in shapes.items()}
    return found | {"conv1_BN.num_batches_tracked": torch.tensor(3)}


def save(path: Path, held: object) -> Path:
    torch.save(held, path)
    return path


@pytest.fixture
def torchfcpe() -> Iterator[Any]:
    """torchfcpe's own model and spectrogram, by their modules' names, and where its weights lie."""
    spec = find_spec("torchfcpe")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("pip install --no-deps torchfcpe==0.0.4")
    before = dict(sys.modules)
    package = ModuleType("torchfcpe")
    package.__path__ = [str(Path(spec.origin).parent)]
    sys.modules["torchfcpe"] = package
    for name, parts in STANDS_IN.items():
        sys.modules[name] = ModuleType(name)
        for part in parts:
            setattr(sys.modules[name], part, None)
    try:
        yield {
            "weights": Path(spec.origin).parent / "assets" / "fcpe_c_v001.pt",
            "models": import_module("torchfcpe.models_infer"),
        }
    finally:
        for name in set(sys.modules) - set(before):
            if name.split(".")[0] in {*STANDS_IN, "torchfcpe"}:
                del sys.modules[name]


@pytest.mark.slow
def test_fcpe_hears_what_its_authors_model_hears(
    torchfcpe: Any, tmp_path: Path, speech: Audio, capsys: pytest.CaptureFixture[str]
) -> None:
    card = add_detector([torchfcpe["weights"]], "fcpe", tmp_path, **FROM)
    assert (card.id, card.kind, card.licence) == ("fcpe", "fcpe", "MIT")
    theirs = torchfcpe["models"].spawn_bundled_infer_model(device="cpu")
    capsys.readouterr()
    sound = torch.from_numpy(speech[:80_000].copy())[None, :, None]
    with torch.no_grad():
        mel = theirs.wav2mel(sound, 16_000)
        expected = theirs.model(mel).numpy()
    graph = OnnxModel(
        tmp_path / "models" / "fcpe" / GRAPH, {"mel": (1, None, 128)}, {"salience": (1, None, 360)}
    )
    found = np.asarray(graph(mel=mel.numpy())["salience"], np.float32)
    assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)
    f0 = Detectors(tmp_path)["fcpe"].detect_file(speech[:80_000])
    with torch.no_grad():
        reference = theirs.infer(sound, 16_000, threshold=Fcpe.VOICED).numpy().ravel()[:500]
    reference[reference < 50.0] = 0.0
    f0, reference = f0[:480], reference[:480]  # it repeats the last frame, which we have once
    both = (f0 > 0.0) & (reference > 0.0)
    assert np.mean((f0 > 0.0) == (reference > 0.0)) > 0.99
    assert np.abs(1200 * np.log2(f0[both] / reference[both])).max() < 1.0
    assert np.mean(both) > 0.4


def reference_fcpe(w: dict[str, Tensor], mel: Tensor) -> Tensor:
    """FCPE without attention as its authors lay it out: [1, frames, 128] -> [1, frames, 360]."""
    nn = torch.nn.functional
    x = nn.conv1d(mel.mT, w["input_stack.0.weight"], w["input_stack.0.bias"], padding=1)
    x = nn.group_norm(x, 4, w["input_stack.1.weight"], w["input_stack.1.bias"])
    x = nn.leaky_relu(x)
    x = nn.conv1d(x, w["input_stack.3.weight"], w["input_stack.3.bias"], padding=1).mT
    for i in range(6):
        p = {k[31:]: v for k, v in w.items() if k.startswith(f"net.encoder_layers.{i}.")}
        y = nn.layer_norm(x, (512,), p["net.0.weight"], p["net.0.bias"]).mT
        y = nn.glu(nn.conv1d(y, p["net.2.weight"], p["net.2.bias"]), dim=1)
        y = nn.conv1d(y, p["net.4.conv.weight"], p["net.4.conv.bias"], padding=15, groups=1024)
        x = x + nn.conv1d(nn.silu(y), p["net.6.weight"], p["net.6.bias"]).mT
    x = nn.layer_norm(x, (512,), w["norm.weight"], w["norm.bias"])
    v = w["output_proj.weight_v"]
    weight = w["output_proj.weight_g"] * v / v.norm(dim=1, keepdim=True)
    return nn.linear(x, weight, w["output_proj.bias"]).sigmoid()


def random_fcpe() -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    found: dict[str, Tensor] = {}
    for name, shape in fcpe.shapes().items():
        spread = float(np.prod(shape[1:])) ** -0.5 if len(shape) > 1 else 0.3
        found[name] = torch.randn(shape, generator=draw) * spread
    return found | {"cent_table": torch.from_numpy(Fcpe.CENTS).float()}


def test_fcpe_of_any_weights_equals_a_plain_torch_one(tmp_path: Path) -> None:
    weights = random_fcpe()
    unused = {f"net.encoder_layers.{i}.norm.weight": torch.ones(512) for i in range(6)}
    held = {"config_dict": {"mel": {"sr": 16_000}}, "model": weights | unused}
    add_detector([save(tmp_path / "any.pt", held)], None, tmp_path, **FROM)
    graph = OnnxModel(
        tmp_path / "models" / "fcpe" / GRAPH, {"mel": (1, None, 128)}, {"salience": (1, None, 360)}
    )
    for frames in (1, 40):
        mel = torch.randn(1, frames, 128, generator=torch.Generator().manual_seed(1))
        expected = reference_fcpe(weights, mel).numpy()
        found = np.asarray(graph(mel=mel.numpy())["salience"], np.float32)
        assert np.linalg.norm(found - expected) <= 1e-4 * np.linalg.norm(expected)


def test_what_is_installed_is_found_by_its_content_and_loaded_by_its_name(tmp_path: Path) -> None:
    path = save(tmp_path / "anything.bin", {"state": tiny_crepe()})
    card = add_detector([path], "crepe-tiny", tmp_path, **FROM)
    folder = tmp_path / "models" / "crepe-tiny"
    assert card == read_card(folder)
    assert {entry.name for entry in folder.iterdir()} == {CARD, GRAPH}
    mine = Detectors(tmp_path)["crepe-tiny"]
    assert isinstance(mine, Crepe)
    window = np.random.default_rng(0).standard_normal(mine.window(1, 2)).astype(np.float32)
    shipped = Detectors(tmp_path / "nowhere")["crepe-tiny"]
    assert not np.array_equal(mine(window, 1, 2), shipped(window, 1, 2))


def test_a_model_that_was_altered_or_lost_is_refused(tmp_path: Path) -> None:
    add_detector([save(tmp_path / "a.pth", tiny_crepe())], None, tmp_path, **FROM)
    folder = tmp_path / "models" / "crepe-tiny"
    with (folder / GRAPH).open("r+b") as file:
        file.seek(1000)
        file.write(b"\0\1\2\3")
    with pytest.raises(ModelMismatch, match=r"altered.*timbral models pull crepe-tiny"):
        Detectors(tmp_path)["crepe-tiny"]
    (folder / GRAPH).unlink()
    with pytest.raises(ModelNotFound, match="timbral models pull"):
        Detectors(tmp_path)["crepe-tiny"]
    card = read_card(folder)
    (folder / CARD).write_text(card.model_copy(update={"files": {}}).model_dump_json())
    with pytest.raises(ModelMismatch, match=f"does not list {GRAPH}"):
        Detectors(tmp_path)["crepe-tiny"]
    files = {GRAPH: "", "../a.pth": ""}
    (folder / GRAPH).touch()
    (folder / CARD).write_text(card.model_copy(update={"files": files}).model_dump_json())
    with pytest.raises(ModelMismatch, match="altered"):
        Detectors(tmp_path)["crepe-tiny"]
    outside = dict(reversed(files.items()))
    (folder / CARD).write_text(card.model_copy(update={"files": outside}).model_dump_json())
    with pytest.raises(ModelMismatch, match="outside the folder"):
        Detectors(tmp_path)["crepe-tiny"]
    (folder / CARD).write_text("{}")
    with pytest.raises(ModelMismatch, match="Field required"):
        Detectors(tmp_path)["crepe-tiny"]


def wrong_shape(w: dict[str, Tensor]) -> None:
    w["conv3.weight"] = torch.zeros(16, 16, 63, 1)


def missing(w: dict[str, Tensor]) -> None:
    del w["classifier.bias"]


def no_number(w: dict[str, Tensor]) -> None:
    w["conv2.bias"][3] = float("nan")


def besides(w: dict[str, Tensor]) -> None:
    w["conv7.bias"] = torch.zeros(3)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (wrong_shape, r"conv3.weight is \[16, 16, 63, 1\], not \[16, 16, 64, 1\]"),
        (missing, "classifier.bias is missing"),
        (no_number, "conv2.bias .* holds numbers that are none"),
        (besides, "it has conv7.bias besides"),
    ],
)
def test_weights_that_are_not_as_published_leave_nothing_behind(
    tmp_path: Path, spoil: Any, why: str
) -> None:
    weights = tiny_crepe()
    spoil(weights)
    with pytest.raises(BadCheckpoint, match=why):
        add_detector([save(tmp_path / "a.pth", weights)], None, tmp_path, **FROM)
    assert not any((tmp_path / "models").glob("*"))


class Harmful:
    def __reduce__(self) -> Any:
        return (print, ("run",))


def test_what_is_no_detector_is_refused(tmp_path: Path) -> None:
    tiny = save(tmp_path / "tiny.pth", tiny_crepe())
    voice = save(tmp_path / "voice.pth", {"weight": {"dec.conv_pre.weight": torch.zeros(3)}})
    hostile = save(tmp_path / "hostile.pth", {"conv1.weight": Harmful()})
    other = save(tmp_path / "fcpe.pt", random_fcpe() | {"cent_table": torch.zeros(360)})
    with pytest.raises(ConfigError, match=r"is the pitch detector 'crepe-tiny', not 'rmvpe'"):
        add_detector([tiny], "rmvpe", tmp_path, **FROM)
    with pytest.raises(ConfigError, match=r"is one file, not tiny.pth, voice.pth"):
        add_detector([tiny, voice], None, tmp_path, **FROM)
    with pytest.raises(BadCheckpoint, match="no pitch detector that is known"):
        add_detector([voice], None, tmp_path, **FROM)
    with pytest.raises(HostileFile):
        add_detector([hostile], None, tmp_path, **FROM)
    with pytest.raises(BadCheckpoint, match="its pitches are others"):
        add_detector([other], None, tmp_path, **FROM)
    assert not any((tmp_path / "models").glob("*"))


def foreign(path: Path, inputs: dict[str, Any], output: tuple[str, list[Any]], gru: bool) -> Path:
    """A stand-in with the names and shapes of others' RMVPE: what it says is its first input."""
    sound, *threshold = inputs
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()]
    nodes = [helper.make_node("GRU", ["g", "w", "r"], ["unused"], hidden_size=1)] if gru else []
    name, shape = output
    if name == "output":
        nodes += [
            helper.make_node("Transpose", [sound], ["t"], perm=[0, 2, 1]),
            helper.make_node("MatMul", ["t", "wide"], [name]),
        ]
    else:
        if sound == "mel":
            keep: Any = {"axes": [1], "keepdims": len(shape) - 2}
            nodes.append(helper.make_node("ReduceMax", [sound], ["m"], **keep))
        else:
            nodes.append(helper.make_node("Identity", [sound], ["m"]))
        nodes.append(helper.make_node("Mul", ["m", threshold[0]], [name]))
    constants = {
        "g": np.zeros((1, 1, 1), np.float32),
        "w": np.zeros((1, 3, 1), np.float32),
        "r": np.zeros((1, 3, 1), np.float32),
        "wide": np.eye(128, 360, dtype=np.float32),
    }
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "stand-in",
            values,
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
            [numpy_helper.from_array(v, n) for n, v in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(model, str(path))
    return path


OFFICIAL = {"input": [1, 128, "t"]}, ("output", [1, "t", 360])
DEITERIS = {"mel": [1, 128, "t"], "threshold": []}, ("pitchf", [1, "t"])
DEITERIS_3D = {"mel": [1, 128, "t"], "threshold": []}, ("pitchf", [1, 1, "t"])
W_OKADA = {"waveform": [1, "n"], "threshold": [1]}, ("pitchf", [1, "n"])


@pytest.mark.parametrize(
    ("names", "kind", "loaded"),
    [
        (OFFICIAL, "rmvpe", Rmvpe),
        (DEITERIS, "rmvpe-mel", RmvpeFromMel),
        (DEITERIS_3D, "rmvpe-mel", RmvpeFromMel),
        (W_OKADA, "rmvpe-sound", RmvpeFromSound),
    ],
)
def test_others_rmvpe_is_told_by_its_names(
    tmp_path: Path, names: Any, kind: str, loaded: type
) -> None:
    path = foreign(tmp_path / "a.onnx", *names, gru=True)
    assert add_detector([path], "rmvpe", tmp_path, **FROM).kind == kind
    detector = Detectors(tmp_path)["rmvpe"]
    assert type(detector) is loaded
    window = np.ones(detector.window(5, 2), np.float32)
    assert detector(window, 5, 2).shape == (14,)


@pytest.mark.parametrize(
    ("names", "shape", "threshold"),
    [(DEITERIS, (1, 128, 7), 0.05), (DEITERIS_3D, (1, 128, 7), 0.05), (W_OKADA, (1, 7), 0.3)],
)
def test_the_threshold_of_others_rmvpe_is_what_their_programs_give(
    tmp_path: Path, names: Any, shape: tuple[int, ...], threshold: float
) -> None:
    path = foreign(tmp_path / "a.onnx", *names, gru=True)
    add_detector([path], None, tmp_path, **FROM)
    heard = next(iter(names[0]))
    graph = OnnxModel(
        tmp_path / "models" / "rmvpe" / GRAPH,
        {heard: (*shape[:-1], None)},
        {"pitchf": (None,)},
    )
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    expected = threshold * x.reshape(-1, 7).max(axis=0)
    np.testing.assert_allclose(
        np.asarray(graph(**{heard: x})["pitchf"], np.float32), expected, rtol=1e-6
    )


def in_halves(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16


def elsewhere(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


def of_one_length(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 200


def renamed(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "f0"


def without_gru(model: onnx.ModelProto) -> None:
    del model.graph.node[0]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (in_halves, "mel is not float32"),
        (elsewhere, "its weights are in other files"),
        (of_one_length, "mel has a fixed length"),
        (renamed, "takes mel, threshold and gives f0, as no RMVPE does"),
        (without_gru, "another detector of the same form"),
    ],
)
def test_an_onnx_model_that_is_no_rmvpe_is_refused(tmp_path: Path, spoil: Any, why: str) -> None:
    path = foreign(tmp_path / "a.onnx", *DEITERIS, gru=True)
    model = onnx.load(str(path))
    spoil(model)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BadCheckpoint, match=why):
        add_detector([path], None, tmp_path, **FROM)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadCheckpoint, match="damaged"):
        add_detector([path], None, tmp_path, **FROM)
    assert not any((tmp_path / "models").glob("*"))
