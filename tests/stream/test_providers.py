"""What models run on: the table, the texts, and no other device than was asked for."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runtimes import machine

from stream.device import AUTO, CPU, KINDS, NUMBERED, Device, Kind, parse_devices
from stream.errors import ConfigError, DeviceUnavailable, ModelMismatch
from stream.models import f0
from stream.models.f0 import Detectors
from stream.models.onnx import OnnxModel
from stream.models.providers import (
    BATCHES,
    PROVIDERS,
    Span,
    Wish,
    kind_of,
    on_gpu,
    order,
    profile_shapes,
    provided,
    reason,
)
from stream.models.slots import DeviceState
from stream.models.store import PACKAGE, Store

ENCODER = PACKAGE / "assets" / "student-256" / "content.onnx"
IN, OUT = {"audio": (1, None)}, {"features": (1, None, 256)}
GPUS: tuple[Kind, ...] = ("tensorrt", "cuda", "cpu")


@given(st.sampled_from(KINDS), st.integers(0, 63))
def test_a_device_reads_what_it_writes(kind: Kind, index: int) -> None:
    device = Device(kind, index if kind in NUMBERED else 0)
    assert Device.parse(str(device)) == device
    assert parse_devices(str(device)) == (device,)


@given(st.text(max_size=12) | st.from_regex(r"\A[a-z]{3,9}:[0-9٣-]{0,12}\Z"))
def test_any_other_text_is_refused_with_what_there_is(text: str) -> None:
    device, said = None, ""
    try:
        device = Device.parse(text)
    except ConfigError as error:
        said = str(error)
    assert device is not None or all(kind in said for kind in KINDS)
    assert device is None or device.kind == text.strip().split(":")[0]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("gpu", "one of auto, cpu, cuda"),
        ("cpu:1", "one of auto"),
        ("cuda:", "one of auto"),
        ("cuda:-1", "one of auto"),
        ("", "one of auto"),
        ("cuda,cuda:0", "cuda twice"),
        ("auto,cpu", "a list or auto"),
        ("cpu,", "one of auto"),
    ],
)
def test_lists_that_cannot_be_are_refused(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse_devices(text)


def test_several_devices_have_commas() -> None:
    assert parse_devices("cuda:1, cuda ,cpu") == (Device("cuda", 1), Device("cuda"), CPU)


SPANS = {"batch": Span(1, 8, 32)}


@pytest.mark.parametrize("kind", PROVIDERS)
def test_only_heavy_models_are_computed_in_less_than_full_precision(kind: Kind) -> None:
    """Whatever of the options says so, by provider; `-` is not among them."""
    reduced = {
        "use_tf32": "1",
        "trt_fp16_enable": "1",
        "MLComputeUnits": "ALL",
        "precision": "-",
    }

    def precise(heavy: bool) -> bool:
        wish = Wish(2, heavy=heavy, bf16=True, inputs={"x": ("batch", 80)}, spans=SPANS)
        options = [own for _, own in provided(kind, 0, wish)]
        half = any("bf16" in own.get("load_config", "") for own in options)
        return not half and not any(
            own.get(name) == value for own in options for name, value in reduced.items()
        )

    assert precise(heavy=False)
    assert precise(heavy=True) == (kind in ("cpu", "directml"))


def test_pitch_and_excitation_are_in_full_precision() -> None:
    folder = Path(f0.__file__).parent
    for path in folder.glob("*.py"):
        assert "heavy" not in path.read_text("utf-8"), path
    excitation = (folder.parents[1] / "excitation.py").read_text("utf-8")
    assert "float64" in excitation
    assert "onnx" not in excitation


def test_cuda_is_told_its_number_and_tunes_nothing_while_people_listen() -> None:
    options = dict(provided("cuda", 1, Wish()))["CUDAExecutionProvider"]
    assert (options["device_id"], options["cudnn_conv_algo_search"]) == ("1", "HEURISTIC")
    names = [name for name, _ in provided("tensorrt", 0, Wish(inputs={"x": (1,)}))]
    assert [kind_of(name) for name in names] == list(GPUS)


def test_openvino_gets_its_settings_as_text() -> None:
    told = [dict(provided("openvino", 0, Wish(2, heavy=True, bf16=half))) for half in (False, True)]
    plain, half = (json.loads(own["OpenVINOExecutionProvider"]["load_config"]) for own in told)
    assert plain == {"CPU": {"INFERENCE_NUM_THREADS": "2"}}
    assert half["CPU"]["INFERENCE_PRECISION_HINT"] == "bf16"


def test_tensorrt_takes_graphs_whose_lengths_are_known_and_cuda_the_others() -> None:
    inputs = {"x": ("batch", "frames", 80), "fmin": ()}
    spans = {"batch": Span(1, 8, 32), "frames": Span(2, 4, 10)}
    assert profile_shapes(inputs, spans) == ("x:1x2x80", "x:8x4x80", "x:32x10x80")
    device = Device("tensorrt", 1)
    assert order(device, Wish(inputs=inputs, spans=spans)) == ("tensorrt",)
    assert order(device, Wish(inputs=inputs, spans=SPANS)) == ("cuda",)


def test_the_reason_is_told_in_words() -> None:
    cpu, cuda = PROVIDERS["cpu"].name, PROVIDERS["cuda"].name
    assert reason(CPU, cpu, [cpu]) == "asked for"
    assert reason(Device("tensorrt"), cuda, [cuda, cpu]) == "CUDA does what tensorrt cannot"
    assert "the first of CUDA, DirectML, the processor" in reason(AUTO, cuda, [cuda, cpu])
    assert "the processor is the first" in reason(AUTO, cpu, [cpu, "AzureExecutionProvider"])
    assert "CUDA is in this ONNX Runtime, but does not work" in reason(AUTO, cpu, [cuda, cpu])
    assert "pays for models" in reason(AUTO, PROVIDERS["openvino"].name, [cpu])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("auto", "cpu")])
def test_what_is_not_here_is_an_error_that_says_how_to_get_it(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, ["cpu"])
    with pytest.raises(DeviceUnavailable) as caught:
        OnnxModel(ENCODER, IN, OUT, device=Device(kind))
    said = str(caught.value)
    assert re.search(r"it offers cpu\. To get it: .*--device cpu", said)
    assert PROVIDERS["cuda" if kind == "tensorrt" else kind].how.split(";")[0] in said


@pytest.mark.parametrize("breaks", [False, True])
def test_what_is_here_and_does_not_work_is_an_error_and_auto_goes_on(
    monkeypatch: pytest.MonkeyPatch, *, breaks: bool
) -> None:
    made = machine(monkeypatch, ["cuda", "cpu"], works=["cpu"], breaks=breaks)
    with pytest.raises(DeviceUnavailable, match="its driver") as caught:
        OnnxModel(ENCODER, IN, OUT, device=Device("cuda", 1))
    assert ("no CUDA-capable device" in str(caught.value)) == breaks
    assert OnnxModel(ENCODER, IN, OUT, device=AUTO).provider == "CPUExecutionProvider"
    assert not any(opened.fallback for opened in made.real())  # ONNX Runtime's own, which prints


def test_a_graph_that_is_none_is_not_the_devices_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, ["cuda", "cpu"])
    (tmp_path / "noise.onnx").write_bytes(b"no graph")
    for device in (AUTO, Device("cuda"), Device("tensorrt")):
        with pytest.raises(ModelMismatch, match="cannot load it"):
            OnnxModel(tmp_path / "noise.onnx", IN, OUT, device=device)


@pytest.mark.parametrize("refuses", [False, True])
def test_on_cuda_states_lie_in_tables_and_calls_are_captured_where_the_graph_allows(
    monkeypatch: pytest.MonkeyPatch, *, refuses: bool
) -> None:
    made = machine(monkeypatch, ["cuda", "cpu"], refuses_capture=refuses)
    model = OnnxModel(ENCODER, IN, OUT, device=Device("cuda"))
    assert isinstance(model.memory, DeviceState)
    assert model.memory.captures is not refuses
    audio = np.zeros((1, 640), np.float32)
    ours, _ = model.step(model.initial_state(), audio=audio)
    plain = OnnxModel(ENCODER, IN, OUT)
    theirs, _ = plain.step(plain.initial_state(), audio=audio)
    np.testing.assert_array_equal(ours["features"], theirs["features"])
    captured = [o.providers[o.first].get("enable_cuda_graph") == "1" for o in made.real()]
    assert any(captured)


def test_tensorrt_gets_the_shapes_of_all_batches_and_a_folder_for_each_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMBRAL_HOME", str(tmp_path))
    made = machine(monkeypatch, GPUS)
    voice = Store(tmp_path).load("starter", Device("tensorrt"))
    assert voice.provider == PROVIDERS["tensorrt"].name
    engines = [o for o in made.real() if o.first == PROVIDERS["tensorrt"].name]
    folders = [o.providers[o.first]["trt_engine_cache_path"] for o in engines]
    assert len(set(folders)) == len(engines) == 2  # encoder and synthesizer
    assert all(Path(folder).parent == tmp_path / "engines" for folder in folders)
    least, most = (
        engines[0].providers[engines[0].first][f"trt_profile_{which}_shapes"]
        for which in ("min", "max")
    )
    assert "audio:1x320," in least
    assert f"audio:{BATCHES[-1]}x3200," in most
    for told in (least, most):
        assert "table_mel:" in told
        assert re.search(r"to_rows:\d+x1\b", told)
    assert all(on_gpu(o.first) for o in made.real() if o.first != PROVIDERS["cpu"].name)


def test_directml_wants_no_memory_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    made = machine(monkeypatch, ["directml", "cpu"])
    OnnxModel(ENCODER, IN, OUT, device=Device("directml", 1))
    (opened,) = made.real()
    assert not opened.options.enable_mem_pattern
    assert opened.providers[opened.first] == {"device_id": "1"}


@pytest.mark.parametrize("shared", [False, True])
def test_small_detectors_follow_the_device_where_several_streams_share_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, shared: bool
) -> None:
    made = machine(monkeypatch, ["cuda", "cpu"])
    detectors = Detectors(tmp_path, Device("cuda"), shared=shared)
    for method in ("swift", "crepe-tiny"):
        assert detectors[method].live
    asked = {o.path.name if o.path else "": o for o in made.real()}
    wanted = PROVIDERS["cuda" if shared else "cpu"].name
    assert {o.first for o in asked.values()} == {wanted}
    assert len(asked) == 2
    assert all(o.providers[o.first].get("use_tf32", "0") == "0" for o in asked.values())
