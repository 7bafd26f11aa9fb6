import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from stream.device import AUTO, Device
from stream.errors import DeviceUnavailable, ModelMismatch, ModelNotFound
from stream.models.onnx import OnnxModel
from stream.models.providers import Wish, provided
from stream.models.session import available_devices, has_bf16

F = TensorProto.FLOAT
IN, OUT = {"x": (None,)}, {"y": (None,)}


def write(path: Path, nodes: list[onnx.NodeProto], inputs: dict[str, list[int | str]]) -> Path:
    """A graph of `nodes`; its outputs are y, and next_total when a node makes it."""
    made = {name for node in nodes for name in node.output}
    outputs: dict[str, list[int | str]] = {"y": ["n"], "next_total": [1]}
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(n, F, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, F, s) for n, s in outputs.items() if n in made],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


@pytest.fixture
def doubler(tmp_path: Path) -> Path:
    """y = x + x"""
    node = helper.make_node("Add", ["x", "x"], ["y"])
    return write(tmp_path / "doubler.onnx", [node], {"x": ["n"]})


@pytest.fixture
def counter(tmp_path: Path) -> Path:
    """y = x + total; next_total = total + sum(x)"""
    nodes = [
        helper.make_node("Add", ["x", "state_total"], ["y"]),
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=1),
        helper.make_node("Add", ["sum", "state_total"], ["next_total"]),
    ]
    return write(tmp_path / "counter.onnx", nodes, {"x": ["n"], "state_total": [1]})


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_named_arrays_in_and_out(doubler: Path) -> None:
    y = OnnxModel(doubler, IN, OUT)(x=floats(0, 1, 2))["y"]
    np.testing.assert_array_equal(y, [0, 2, 4])


def test_memory_belongs_to_the_caller(counter: Path) -> None:
    model = OnnxModel(counter, IN, OUT)
    first, state = model.step(model.initial_state(), x=floats(1, 2))
    second, _ = model.step(state, x=floats(10))
    np.testing.assert_array_equal(first["y"], [1, 2])
    np.testing.assert_array_equal(second["y"], [13])
    again, _ = model.step(model.initial_state(), x=floats(10))
    np.testing.assert_array_equal(again["y"], [10])


def test_a_state_without_its_next_value_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("Add", ["x", "state_total"], ["y"])
    path = write(tmp_path / "half.onnx", [node], {"x": ["n"], "state_total": [1]})
    with pytest.raises(ModelMismatch, match="next_total"):
        OnnxModel(path, IN, OUT)


def test_other_names_are_refused_at_load(doubler: Path) -> None:
    with pytest.raises(ModelMismatch, match=r"expected inputs \['audio'\], found \['x'\]"):
        OnnxModel(doubler, {"audio": (None,)}, OUT)
    with pytest.raises(ModelMismatch, match=r"expected outputs \['z'\], found \['y'\]"):
        OnnxModel(doubler, IN, {"z": (None,)})


@pytest.mark.parametrize(
    ("declared", "expected"), [(["n"], (1, None)), ([5], (None,)), ([5], (4,))]
)
def test_other_shapes_are_refused_at_load(
    tmp_path: Path, declared: list[int | str], expected: tuple[int | None, ...]
) -> None:
    node = helper.make_node("Add", ["x", "x"], ["y"])
    path = write(tmp_path / "shaped.onnx", [node], {"x": declared})
    with pytest.raises(ModelMismatch, match="input x is"):
        OnnxModel(path, {"x": expected}, OUT)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="add the voice again"):
        OnnxModel(tmp_path / "none.onnx", IN, OUT)


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "noise.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(ModelMismatch, match="cannot load it"):
        OnnxModel(path, IN, OUT)


@pytest.mark.skipif("cuda" in available_devices(), reason="needs a machine without CUDA")
def test_no_silent_fall_back_to_the_cpu(doubler: Path) -> None:
    with pytest.raises(DeviceUnavailable, match="--device cpu"):
        OnnxModel(doubler, IN, OUT, device=Device("cuda"))


def test_auto_says_what_it_chose(doubler: Path) -> None:
    assert OnnxModel(doubler, IN, OUT, device=AUTO).provider.endswith("ExecutionProvider")


def test_openvino_computes_in_bf16_only_where_the_processor_does(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    for flags, half in [("fpu avx2", False), ("fpu avx512_bf16 avx2", True), ("amx_bf16", True)]:
        cpuinfo.write_text(f"processor : 0\nflags\t\t: {flags}\nbugs : none\n")
        assert has_bf16(cpuinfo) is half
    assert not has_bf16(tmp_path / "none")


def test_openvinos_options_carry_their_settings_as_text() -> None:
    told = [dict(provided("openvino", 0, Wish(2, heavy=True, bf16=half))) for half in (False, True)]
    plain, half = (options["OpenVINOExecutionProvider"] for options in told)
    assert json.loads(plain["load_config"]) == {"CPU": {"INFERENCE_NUM_THREADS": "2"}}
    assert json.loads(half["load_config"])["CPU"]["INFERENCE_PRECISION_HINT"] == "bf16"


def test_auto_takes_openvino_for_models_of_full_size_only(
    doubler: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    real = ort.InferenceSession

    def session(path: Path, options: object, *, providers: list[object], **more: object) -> object:
        del more
        asked.append(providers[0])
        return real(path, options, providers=["CPUExecutionProvider"])

    def available() -> list[str]:
        return ["OpenVINOExecutionProvider", "CPUExecutionProvider"]

    monkeypatch.setattr(ort, "InferenceSession", session)
    monkeypatch.setattr(ort, "get_available_providers", available)
    for heavy in (False, True):
        OnnxModel(doubler, {"x": (None,)}, {"y": (None,)}, device=AUTO, heavy=heavy)
    light, first, *_ = asked
    assert light == ("CPUExecutionProvider", {})
    assert isinstance(first, tuple)
    assert first[0] == "OpenVINOExecutionProvider"
