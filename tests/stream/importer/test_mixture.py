"""The constants of graphs mixed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from stream.errors import BadBundle, ConfigError
from stream.importer.graphs.builder import Graph
from stream.importer.mixture import (
    Weights,
    dequantised,
    quantised,
    read_weights,
    write_mixture,
)
from stream.models.onnx import OnnxModel

STARTER = Path(__file__).parents[3] / "stream" / "models" / "starter" / "synth.onnx"
SHAPES: Any = ({"x": (1, None)}, {"y": (1, None)})


def small(path: Path, weight: float, first: float, second: float, *, more: bool = False) -> Path:
    """y = (weight x + first) / 3 + second, on 2 000 weights in a file beside."""
    graph = Graph("small", path.with_suffix(".bin"))
    x = graph.input("x", (1, "t"))
    wide = graph.constant(np.full((2_000,), weight / 2_000, np.float32))
    total = graph.node("ReduceSum", wide, keepdims=0)
    y = graph.add(graph.mul(x, total), graph.number(first))
    y = graph.mul(y, graph.number(1.0 / 3.0))
    y = graph.add(y, graph.number(second))
    graph.output(graph.node("Abs", y) if more else y, "y", (1, "t"))
    graph.save(path)
    return path


def said(path: Path, x: float = 3.0) -> float:
    return float(OnnxModel(path, *SHAPES)(x=np.full((1, 1), x, np.float32))["y"][0, 0])


def sibling(target: Path, seed: int) -> Path:
    """The starter's graph with other numbers."""
    model = onnx.load(str(STARTER))
    draw = np.random.default_rng(seed)
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype.kind == "f" and value.size > 1:
            other = value * (1.0 + 0.1 * draw.normal(size=value.shape))
            tensor.CopyFrom(numpy_helper.from_array(other.astype(value.dtype), tensor.name))
    onnx.save(model, str(target))
    return target


def flat(weights: Weights | Mapping[Any, Any]) -> Any:
    values = weights.values if isinstance(weights, Weights) else weights
    return np.concatenate([value.ravel() for value in values.values()])


def test_each_constant_is_mixed_even_where_one_voice_shares_it(tmp_path: Path) -> None:
    a = small(tmp_path / "a.onnx", 2.0, 0.5, 0.5)  # first and second are one tensor here
    b = small(tmp_path / "b.onnx", 4.0, -1.0, 3.0)
    write_mixture([a, b], [0.25, 0.75], tmp_path / "c.onnx")
    assert said(tmp_path / "c.onnx") == pytest.approx((3.5 * 3 - 0.625) / 3 + 2.375, rel=1e-5)
    assert (tmp_path / "c.bin").stat().st_size >= 8_000
    assert (tmp_path / "c.onnx").stat().st_size < 4_000


def test_a_difference_is_added_and_taken_away(tmp_path: Path) -> None:
    paths = [
        small(tmp_path / f"{name}.onnx", *numbers)
        for name, numbers in {
            "a": (2.0, 0.5, 1.0),
            "b": (5.0, 0.0, 2.0),
            "c": (4.0, 1.0, 1.0),
        }.items()
    ]
    write_mixture(paths, [1.0, 1.0, -1.0], tmp_path / "d.onnx")
    assert said(tmp_path / "d.onnx") == pytest.approx((3.0 * 3 - 0.5) / 3 + 2.0, rel=1e-5)


def test_what_all_have_in_common_stays_bit_for_bit(tmp_path: Path) -> None:
    a = small(tmp_path / "a.onnx", 2.0, 0.5, 0.25)
    b = small(tmp_path / "b.onnx", 2.0, 0.5, 0.75)
    write_mixture([a, b], [0.3, 0.7], tmp_path / "c.onnx")
    third = np.float32(1.0 / 3.0)
    assert third in flat(read_weights(tmp_path / "c.onnx"))


def test_graphs_that_compute_something_else_are_refused(tmp_path: Path) -> None:
    a = small(tmp_path / "a.onnx", 2.0, 0.5, 0.5)
    b = small(tmp_path / "b.onnx", 2.0, 0.5, 0.5, more=True)
    with pytest.raises(ConfigError, match="differs in more than numbers"):
        write_mixture([a, b], [0.5, 0.5], tmp_path / "c.onnx")
    with pytest.raises(ValueError, match="sum to 1"):
        write_mixture([a, a], [0.5, 0.4], tmp_path / "c.onnx")
    (tmp_path / "x.onnx").write_bytes(b"\xff" * 50)
    with pytest.raises(BadBundle, match="cannot be read"):
        write_mixture([a, tmp_path / "x.onnx"], [0.5, 0.5], tmp_path / "c.onnx")
    assert not (tmp_path / "c.onnx").exists()


def test_a_share_of_one_gives_that_graph_and_with_itself_nothing_changes(tmp_path: Path) -> None:
    other = sibling(tmp_path / "b.onnx", 1)
    write_mixture([STARTER, other], [0.0, 1.0], tmp_path / "c.onnx")
    assert np.array_equal(flat(read_weights(tmp_path / "c.onnx")), flat(read_weights(other)))
    write_mixture([STARTER, STARTER], [0.3, 0.7], tmp_path / "d.onnx")
    assert np.array_equal(flat(read_weights(tmp_path / "d.onnx")), flat(read_weights(STARTER)))


def test_matrices_of_eight_bits_are_mixed_as_what_they_stand_for(tmp_path: Path) -> None:
    other = sibling(tmp_path / "b.onnx", 2)
    write_mixture([STARTER, other], [0.6, 0.4], tmp_path / "c.onnx")
    a, b, c = (read_weights(path).values for path in (STARTER, other, tmp_path / "c.onnx"))
    assert set(a) == set(b) == set(c)
    for place, value in c.items():
        wanted = 0.6 * a[place] + 0.4 * b[place]
        assert np.abs(value - wanted).max() <= 0.006 * np.abs(wanted).max() + 1e-6
    assert (tmp_path / "c.onnx").stat().st_size < 1.01 * STARTER.stat().st_size


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 99), st.sampled_from(["<f4", "<f2"]))
def test_eight_bits_hold_a_matrix_to_half_a_step(n: int, blocks: int, seed: int, kind: str) -> None:
    values = np.random.default_rng(seed).normal(size=(n, 32 * blocks)).astype(np.float32)
    values[0, :32] = 0.0
    held = quantised(values, np.zeros((n, blocks), kind))
    step = held[1].astype(np.float32).repeat(32, axis=1)
    assert held[1].dtype == np.dtype(kind)
    assert np.all(np.abs(dequantised(*held) - values) <= 0.5 * step * 1.2 + 1e-7)


def test_lists_that_graphs_tell_of_themselves_are_mixed(tmp_path: Path) -> None:
    for name, number in (("a", 1.0), ("b", 3.0)):
        path = small(tmp_path / f"{name}.onnx", 2.0, number, 0.5)
        model = onnx.load(str(path))
        model.metadata_props.add(key="scale", value=json.dumps({"mean": [number, 2.0]}))
        model.metadata_props.add(key="maker", value="somebody")
        onnx.save(model, str(path), save_as_external_data=True, location=f"{name}.bin")
    write_mixture([tmp_path / "a.onnx", tmp_path / "b.onnx"], [0.5, 0.5], tmp_path / "c.onnx")
    told = {p.key: p.value for p in onnx.load(str(tmp_path / "c.onnx")).metadata_props}
    assert json.loads(told["scale"]) == {"mean": [2.0, 2.0]}
    assert told["maker"] == "somebody"
