import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, numpy_helper, parser
from onnx.external_data_helper import convert_model_to_external_data, set_external_data
from strangers import (
    EXPORTED,
    EXPORTED_FRAMES,
    EXPORTED_NOISE,
    LATENT,
    Exporter,
    Stranger,
    exported_inputs,
    rename,
    typed,
)

from stream.audio import Audio
from stream.device import CPU
from stream.errors import BadCheckpoint, HostileFile
from stream.importer import foreign
from stream.importer.graphs.foreign import wrapped
from stream.models.blackbox import EDGE, BlackBox, inputs_of
from stream.models.onnx import OnnxModel
from stream.models.synth import Speaker
from stream.noise import frame_noise

EXPORTERS: list[Exporter] = ["w-okada", "deiteris", "RVC WebUI", "obs-rvc"]
T = 40


def given(dim: int, rows: int, frames: int = T) -> dict[str, Any]:
    """Inputs for our names, seeded."""
    draw = np.random.default_rng(5)
    return {
        "features": draw.standard_normal((1, frames, dim)).astype(np.float32),
        "pitch": draw.integers(1, 256, (1, frames)),
        "f0": draw.uniform(80.0, 300.0, (1, frames)).astype(np.float32),
        "speaker": np.array([1]),
        "skip": np.array([0]),
        "noise": frame_noise(3, 7, frames, rows)[np.newaxis],
    }


def imported(path: Path) -> tuple[foreign.ForeignVoice, OnnxModel]:
    voice = foreign.recognise(path)
    folder = path.parent / "bundle"
    folder.mkdir(exist_ok=True)
    (name,) = foreign.write_bundle(voice, folder)
    return voice, OnnxModel(folder / name, inputs_of(voice.dim, voice.noise), {"audio": (None,)})


def own_names(stranger: Stranger, inputs: dict[str, Any]) -> dict[str, Any]:
    """The same inputs under the exporter's names, the noise scaled as RVC does."""
    frames = inputs["features"].shape[1]
    whole = {name: np.array([frames]) for name in ("p_len", "phone_lengths")}
    skips = {"skip_head": 0, "return_length": frames, "formant_length": frames}
    all_names = {
        **whole,
        **{name: np.array(value) for name, value in skips.items()},
        **{"feats": inputs["features"], "phone": inputs["features"]},
        **{"pitch": inputs["pitch"], "pitchf": inputs["f0"]},
        **{"sid": inputs["speaker"], "ds": inputs["speaker"]},
        "rnd": inputs["noise"][:, :LATENT] * np.float32(0.66666),
    }
    return {name: value for name, value in all_names.items() if f" {name}" in stranger.inputs}


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    ("exporter", "f0"), [(name, f0) for name in EXPORTERS for f0 in (True, False)][:-1]
)  # the last would have features alone
def test_every_exporters_voice_is_recognised_and_runs(
    tmp_path: Path, exporter: Exporter, f0: bool, half: bool
) -> None:
    dim, hop = (768, 400) if f0 else (256, 320)
    stranger = Stranger(exporter, f0=f0, half=half, dim=dim, hop=hop)
    voice, model = imported(stranger.save(tmp_path / "any name"))
    assert (voice.exporter, voice.dim, voice.sample_rate) == (exporter, dim, 100 * hop)
    assert (voice.f0, voice.half) == (f0, half)
    assert voice.speakers == (1 if exporter == "obs-rvc" else 3)
    assert foreign.about(voice) == {"latent": LATENT + hop, "late": 0}
    audio = model(**given(dim, voice.noise))["audio"]
    assert audio.shape == (T * hop,)
    assert audio.dtype == np.float32
    assert 0.01 < np.asarray(audio, np.float32).std() < 1.0


def test_a_graph_says_behind_our_names_what_it_says_alone(tmp_path: Path) -> None:
    stranger = Stranger("RVC WebUI", drawn=0.0)
    voice, model = imported(stranger.save(tmp_path / "a.onnx"))
    inputs = given(voice.dim, voice.noise)
    alone = ort.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    wanted = np.asarray(alone.run(None, own_names(stranger, inputs))[0])
    audio = np.asarray(model(**inputs)["audio"], np.float32)
    np.testing.assert_allclose(audio, wanted.reshape(-1), atol=1e-6)


def test_noise_given_and_noise_drawn_are_the_same(tmp_path: Path) -> None:
    sounds: list[Audio] = []
    for exporter in ("RVC WebUI", "w-okada", "deiteris"):
        (tmp_path / exporter).mkdir()
        voice, model = imported(Stranger(exporter, drawn=0.1).save(tmp_path / exporter / "a.onnx"))
        sounds.append(np.asarray(model(**given(768, voice.noise))["audio"], np.float32))
    np.testing.assert_allclose(sounds[0], sounds[1], atol=1e-6)
    np.testing.assert_allclose(sounds[0], sounds[2], atol=1e-6)


def test_the_same_call_gives_the_same_samples_and_noise_is_normal(tmp_path: Path) -> None:
    path = Stranger(sung=0.0, spoken=0.0, drawn=0.5).save(tmp_path / "a.onnx")
    voice, model = imported(path)
    inputs = given(voice.dim, voice.noise, 400)
    audio = np.asarray(model(**inputs)["audio"], np.float32)
    np.testing.assert_array_equal(model(**inputs)["audio"], audio)
    assert abs(audio.std() - 0.5) < 0.01
    np.testing.assert_allclose(audio, 0.5 * inputs["noise"][0, LATENT:].T.reshape(-1), atol=1e-6)


DRAWN = """
<ir_version: 8, opset_import: ["" : 17]>
voice (float[1,T,16] feats, int64[1] p_len, int64[1] sid) => (float[N] audio) {{
    flat = ReduceMax <axes = [2], keepdims = 0> (feats)
    three = Concat <axis = 0> (flat, flat, flat)
    drawn = {draw}
    sum = ReduceSum <keepdims = 0> (drawn, first)
    many = Concat <axis = 0> ({joined})
    audio = Identity (many)
}}
"""


def drawing(draw: str) -> Any:
    """A voice of 100 samples a frame, each one of the numbers drawn for three rows."""
    model = parser.parse_model(DRAWN.format(draw=draw, joined=", ".join(["sum"] * 100)))
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "first"))
    return model


def test_uniform_noise_is_uniform_and_keeps_its_range(tmp_path: Path) -> None:
    onnx.save(drawing("RandomUniformLike <low = -1.0, high = 2.0> (three)"), tmp_path / "a.onnx")
    voice, model = imported(tmp_path / "a.onnx")
    assert voice.noise == 2 * 3
    audio = model(**given(16, voice.noise, 4000))["audio"][:4000]
    spread = np.asarray(audio, np.float64)  # the sum of three: mean 3 / 2, variance 9 / 4
    assert abs(spread.mean() - 1.5) < 0.1
    assert abs(spread.var() - 2.25) < 0.15
    assert -3.0 < spread.min() < -1.5
    assert 4.5 < spread.max() < 6.0


def test_a_few_numbers_drawn_once_become_constants(tmp_path: Path) -> None:
    once = "RandomNormal <shape = [3, 1]> ()\n added = Add (three, once)"
    text = DRAWN.replace("drawn = {draw}", "once = {draw}\n drawn = Identity (added)")
    model = parser.parse_model(text.format(draw=once, joined=", ".join(["sum"] * 100)))
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "first"))
    onnx.save(model, tmp_path / "a.onnx")
    voice, model = imported(tmp_path / "a.onnx")
    assert voice.noise == 1
    inputs = given(16, 1)
    np.testing.assert_array_equal(model(**inputs)["audio"], model(**inputs)["audio"])


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_decoder_that_is_known_by_its_names_begins_later(
    tmp_path: Path, exporter: Exporter
) -> None:
    voice, model = imported(Stranger(exporter, named=True).save(tmp_path / "a.onnx"))
    assert voice.cuts == (exporter != "deiteris")
    inputs = given(768, voice.noise)
    whole = np.asarray(model(**inputs)["audio"], np.float32)
    later = np.asarray(model(**(inputs | {"skip": np.array([10])}))["audio"], np.float32)
    assert later.shape == ((T - 10) * 160,)
    settled = EDGE * 160
    np.testing.assert_allclose(later[settled:], whole[10 * 160 + settled :], atol=1e-6)


@pytest.mark.parametrize("name", ["net.dec.conv_pre.weight", "net.dec.noise_convs.0.weight"])
def test_a_decoder_that_would_sound_otherwise_is_not_cut(tmp_path: Path, name: str) -> None:
    model = Stranger(named=True).model()
    for node in model.graph.node:  # now only one of its two inputs would be cut
        node.input[:] = ["other" if value == name else value for value in node.input]
    next(t for t in model.graph.initializer if t.name == name).name = "other"
    onnx.save(model, tmp_path / "a.onnx")
    voice, runs = imported(tmp_path / "a.onnx")
    assert not voice.cuts
    inputs = given(768, voice.noise) | {"skip": np.array([10])}
    assert runs(**inputs)["audio"].shape == (T * 160,)


def test_a_decoder_that_hears_further_than_ours_expects_is_not_cut(tmp_path: Path) -> None:
    path = Stranger(named=True, reach=EDGE + 8).save(tmp_path / "a.onnx")
    assert not foreign.recognise(path).cuts


def test_names_and_metadata_tell_the_encoder(tmp_path: Path) -> None:
    said = {"application": "VC_CLIENT", "samplingRate": 16000, "embChannels": 768}
    for embedder, layer, wanted in [
        ("hubert_base", 12, "contentvec-768"),
        ("hubert-base-japanese", 12, "japanese-hubert-base-768"),
        ("hubert_base", 9, "contentvec-768-layer9"),
    ]:
        more = {"embedder": embedder, "embOutputLayer": layer}
        path = Stranger(metadata=said | more).save(tmp_path / "a.onnx")
        assert foreign.recognise(path).embedder == wanted
    for metadata in (None, {}, {"embedder": None}):
        path = Stranger(metadata=metadata).save(tmp_path / "a.onnx")
        assert foreign.recognise(path).embedder in {None, "contentvec-768"}


@pytest.mark.parametrize("dim", [256, 768])
def test_a_width_that_is_not_declared_is_found_by_trying(tmp_path: Path, dim: int) -> None:
    model = Stranger(dim=dim).model()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "C"
    onnx.save(model, tmp_path / "a.onnx")
    assert foreign.recognise(tmp_path / "a.onnx").dim == dim


def test_what_metadata_says_of_the_rate_does_not_count(tmp_path: Path) -> None:
    path = Stranger(hop=400, metadata={"samplingRate": 48000}).save(tmp_path / "a.onnx")
    assert foreign.recognise(path).sample_rate == 40_000


def refused(path: Path, why: str, kind: type[Exception] = BadCheckpoint) -> None:
    with pytest.raises(kind, match=why):
        foreign.recognise(path)


def test_an_export_for_one_length_is_refused_with_what_to_do(tmp_path: Path) -> None:
    for exporter in EXPORTERS:
        path = Stranger(exporter, length=200).save(tmp_path / "a.onnx")
        refused(path, r"exactly 200 frames.*dynamic axes, or add the voice's \.pth")


def replaced(name: str, array: Any) -> Any:
    """The voice with another tensor."""
    model = Stranger().model()
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(array, name))
    return model


def encoder() -> Any:
    return parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> '
        "x (float[1,N] audio) => (float[1,N] unit12) { unit12 = Identity (audio) }"
    )


def of_opset_9() -> Any:
    model = Stranger().model()
    model.opset_import[0].version = 9
    return model


def without_nodes() -> Any:
    model = Stranger().model()
    del model.graph.node[:]
    return model


def drawing_otherwise() -> Any:
    model = Stranger().model()
    next(n for n in model.graph.node if n.op_type == "RandomNormalLike").op_type = "Bernoulli"
    return model


def a_sample_too_long() -> Any:
    model = Stranger().model()
    node = next(n for n in model.graph.node if n.output[0] == "flat_sound")
    node.output[0] = "as_it_was"
    at = list(model.graph.node).index(node) + 1
    longer = onnx.helper.make_node("Concat", ["as_it_was", "more"], ["flat_sound"], axis=0)
    model.graph.node.insert(at, longer)
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "more"))
    return model


FAULTS: dict[str, Callable[[], Any]] = {
    "it is a so-vits-svc voice, by its inputs": lambda: rename(Stranger().model(), feats="hubert"),
    "known exporter: language": lambda: rename(Stranger().model(), sid="language"),
    "known exporter: feats, p_len": lambda: rename(Stranger().model(), sid="phone_lengths"),
    "input pitch is of another type": lambda: typed(Stranger().model(), "pitch"),
    "it is a content encoder, by its inputs: audio": encoder,
    "operator set 9, too old": of_opset_9,
    "no sound": lambda: replaced("w_up", np.full((LATENT, 1, 160), np.nan, np.float32)),
    "empty ONNX model": without_nodes,
    "would be 7900 Hz": Stranger(hop=79).model,
    "random numbers by Bernoulli": drawing_otherwise,
    "2561 and 5121 samples of 16 and 32 frames": a_sample_too_long,
    "does not run on 16 and on 32 frames; it may be made for one": lambda: replaced(
        "as_rows", np.array([1, 1, 200, 1])
    ),
}


@pytest.mark.parametrize("why", FAULTS)
def test_what_is_no_voice_is_refused_with_the_reason(tmp_path: Path, why: str) -> None:
    onnx.save(FAULTS[why](), tmp_path / "a.onnx")
    refused(tmp_path / "a.onnx", why)


@pytest.mark.parametrize("cut", [0, 1, 63, 64, 65, 5000, -1])
def test_a_damaged_file_is_refused(tmp_path: Path, cut: int) -> None:
    whole = Stranger().model().SerializeToString()
    (tmp_path / "a.onnx").write_bytes(whole[:cut])
    refused(tmp_path / "a.onnx", "damaged|empty|does not run|no RVC voice|cannot")
    (tmp_path / "b.onnx").write_bytes(b"<!DOCTYPE html>" + whole[:cut])
    refused(tmp_path / "b.onnx", "damaged|empty")


def test_weights_beside_the_model_are_taken_in(tmp_path: Path) -> None:
    model = Stranger().model()
    convert_model_to_external_data(model, location="weights.bin", size_threshold=100)
    onnx.save(model, tmp_path / "a.onnx")
    voice, runs = imported(tmp_path / "a.onnx")
    Stranger().save(tmp_path / "whole.onnx")
    (tmp_path / "weights.bin").rename(tmp_path / "gone.bin")
    whole = imported(tmp_path / "whole.onnx")[1]
    inputs = given(voice.dim, voice.noise)
    np.testing.assert_array_equal(runs(**inputs)["audio"], whole(**inputs)["audio"])
    refused(tmp_path / "a.onnx", r"its weights are in 'weights.bin', which is not beside it")


@pytest.mark.parametrize("place", ["../secret", "/etc/hostname", "..\\secret", "C:secret", "link"])
def test_a_model_that_points_elsewhere_is_refused(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(4 * LATENT * 768))
    os.symlink(tmp_path / "secret", folder / "link")
    model = Stranger().model()
    tensor = next(t for t in model.graph.initializer if t.name == "w_phone")
    set_external_data(tensor, location=place)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    (folder / "a.onnx").write_bytes(model.SerializeToString())
    refused(folder / "a.onnx", "outside its own folder", HostileFile)


def test_old_exports_that_list_weights_as_inputs_are_read(tmp_path: Path) -> None:
    model = Stranger().model()
    tensor = next(t for t in model.graph.initializer if t.name == "w_up")
    listed = onnx.helper.make_tensor_value_info("w_up", TensorProto.FLOAT, list(tensor.dims))
    model.graph.input.append(listed)
    onnx.save(model, tmp_path / "a.onnx")
    assert foreign.recognise(tmp_path / "a.onnx").speakers == 3


def test_wrapping_leaves_the_original_as_it_is() -> None:
    model = Stranger().model()
    before = model.SerializeToString()
    wrapped(model, 768, None)
    assert model.SerializeToString() == before


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[foreign.ForeignVoice, BlackBox]:
    """RVC's own network as torch exports it, imported."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "voice.onnx").write_bytes(lzma.decompress(EXPORTED.read_bytes()))
    voice = foreign.recognise(folder / "voice.onnx")
    (name,) = foreign.write_bundle(voice, folder)
    hop = voice.sample_rate // 100
    return voice, BlackBox(folder / name, dim=768, noise=voice.noise, hop=hop, device=CPU)


@pytest.mark.slow
def test_what_torch_exports_of_rvcs_own_network_says_what_torch_says(
    exported: tuple[foreign.ForeignVoice, BlackBox],
) -> None:
    voice, synth = exported
    assert (voice.exporter, voice.dim, voice.sample_rate) == ("w-okada", 768, 40_000)
    assert (voice.speakers, voice.noise, voice.cuts) == (3, EXPORTED_NOISE, True)
    golden = np.load(EXPORTED.with_name("rvc_export.npz"))
    # Torch and ONNX Runtime add up the phase in another order, in single precision.
    for hz, most in (("0", 1e-3), ("220", 2e-2)):
        inputs = exported_inputs(EXPORTED_FRAMES, float(hz))
        length = inputs.pop("length")
        assert length == EXPORTED_FRAMES
        audio = np.asarray(synth.model(**inputs, skip=np.array([0]))["audio"], np.float32)
        wanted = golden[hz].astype(np.float32)
        assert audio.shape == wanted.shape
        assert np.abs(audio - wanted).max() < most * np.abs(wanted).max()


@pytest.mark.slow
def test_what_torch_exports_speaks_without_a_seam(
    exported: tuple[foreign.ForeignVoice, BlackBox],
) -> None:
    inputs = exported_inputs(200, 180.0)
    stretch, hop, ahead = exported[1].open(8, 24), 30, 6
    features = np.repeat(inputs["features"][0, ::20], 20, axis=0)  # slow, as speech is
    parts = [
        stretch.step(features[at : at + hop + ahead], inputs["f0"][0, at : at + hop + ahead],
                     ahead, at, Speaker(1))
        for at in range(0, 180, hop)
    ]  # fmt: skip
    rough = np.abs(np.diff(np.concatenate(parts).astype(np.float64), 2))
    fades = [rough[at * 400 : at * 400 + 400] for at in range(hop, 180, hop)]
    assert np.concatenate(fades).mean() < 1.1 * rough[hop * 400 :].mean()
    assert np.concatenate(fades).max() <= rough.max()
