"""State in tables on a device: the same as state with the caller, bit for bit."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from streaming import noise

from stream.audio import Audio
from stream.controls import Controls
from stream.device import CPU
from stream.engine import Conversion
from stream.models import onnx as models
from stream.models.chorus import Array, together
from stream.models.onnx import OnnxModel
from stream.models.providers import BATCHES, PROVIDERS
from stream.models.slots import FIRST_ROWS, MOST_FAILURES, DeviceState
from stream.models.store import Store
from stream.models.voice import Voice

IN, OUT = {"x": (1, 3), "pick": (1,), "scale": ()}, {"y": (1, 3)}
FATAL = 9  # may not be picked of two numbers
RATE = 48_000


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """y = scale * x + sum + [1, 10][pick]; sum += x, count += 1; fails when `pick` is beyond."""
    nodes = [
        helper.make_node("Gather", ["numbers", "pick"], ["picked"]),
        helper.make_node("Unsqueeze", ["picked", "one"], ["column"]),
        helper.make_node("Add", ["x", "state_sum"], ["next_sum"]),
        helper.make_node("Add", ["state_count", "one"], ["next_count"]),
        helper.make_node("Mul", ["x", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "state_sum"], ["shifted"]),
        helper.make_node("Add", ["shifted", "column"], ["y"]),
    ]
    f, i = TensorProto.FLOAT, TensorProto.INT64

    def value(name: str, kind: int, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, list(shape))

    graph = helper.make_graph(
        nodes,
        "sums",
        [
            *(value("x", f, "batch", 3), value("pick", i, "batch"), value("scale", f)),
            *(value("state_sum", f, "batch", 3), value("state_count", i, "batch", 1)),
        ],
        [
            value("y", f, "batch", 3),
            *(value("next_sum", f, "batch", 3), value("next_count", i, "batch", 1)),
        ],
        [
            helper.make_tensor("numbers", f, [2], [1.0, 10.0]),
            helper.make_tensor("one", i, [1], [1]),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    target = tmp_path_factory.mktemp("sums") / "sums.onnx"
    onnx.save(made, target)
    return target


@pytest.fixture(scope="module")
def plain(path: Path) -> OnnxModel:
    return OnnxModel(path, IN, OUT)


@pytest.fixture
def slotted(path: Path) -> OnnxModel:
    return OnnxModel(path, IN, OUT, slots=True)


def feed(number: float, pick: int = 0) -> Mapping[str, Array]:
    x = np.array([[number, -number, 1.0 / (1.0 + number * number)]], np.float32)
    return {"x": x, "pick": np.array([pick], np.int64), "scale": np.array(0.5, np.float32)}


def rows_of(model: OnnxModel) -> tuple[int, int]:
    """Rows in use, and rows in all."""
    assert isinstance(model.memory, DeviceState)
    tables = model.memory.tables
    return tables.rows - len(tables.free), tables.rows


STREAMS = 7
Act = tuple[str, list[int], float]
acts = st.tuples(
    st.sampled_from(["step", "step", "fail", "reset", "copy"]),
    st.lists(st.integers(0, STREAMS - 1), min_size=1, max_size=STREAMS, unique=True),
    st.floats(-8.0, 8.0, width=32, allow_subnormal=False),
)


def played(model: OnnxModel, acts: Sequence[Act]) -> list[Array]:
    """All that streams of `model` gave, and what they hold at the end."""
    states, given_out = [model.initial_state()] * STREAMS, list[Array]()
    for act, who, number in acts:
        if act == "reset":
            states[who[0]] = model.initial_state()
        elif act == "copy":
            states[who[0]] = states[who[-1]]
        else:
            calls = [(states[n], feed(number + n, n % 2)) for n in who]
            if act == "fail":
                calls[-1] = states[who[-1]], feed(number, FATAL)
                with pytest.raises(Exception, match="indices element out of"):
                    model.together(calls)
                continue
            for n, (outputs, state) in zip(who, model.together(calls), strict=True):
                states[n] = state
                given_out.append(outputs["y"])
    return given_out + [part for state in states for part in state]


@settings(max_examples=40, deadline=None)
@given(st.lists(acts, max_size=24))
def test_streams_in_any_order_give_what_they_give_with_state_of_their_own(
    plain: OnnxModel, path: Path, acts: list[Act]
) -> None:
    ours, theirs = played(OnnxModel(path, IN, OUT, slots=True), acts), played(plain, acts)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("count", [3, *BATCHES, 2 * BATCHES[-1] + 5])
def test_what_pads_a_batch_is_not_seen(plain: OnnxModel, slotted: OnnxModel, count: int) -> None:
    held = [[m.initial_state()] * count for m in (plain, slotted)]
    for step in range(3):
        inputs = [feed(step + 0.1 * n, n % 2) for n in range(count)]
        ours, theirs = (
            model.together(list(zip(states, inputs, strict=True)))
            for model, states in zip((plain, slotted), held, strict=True)
        )
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one[0]["y"], other[0]["y"])
        held = [[state for _, state in answers] for answers in (ours, theirs)]


def test_a_state_never_changes_while_somebody_holds_it(slotted: OnnxModel) -> None:
    _, kept = slotted.step(slotted.initial_state(), **feed(1.0))
    before = [np.array(part) for part in kept]
    state = kept
    for number in range(3 * FIRST_ROWS):
        _, state = slotted.step(state, **feed(number))
    with pytest.raises(Exception, match="indices element out of"):
        slotted.step(state, **feed(1.0, FATAL))
    for part, was in zip(kept, before, strict=True):
        np.testing.assert_array_equal(part, was)
    for part in slotted.initial_state():
        assert not np.any(part)


def test_rows_are_free_again_once_nobody_holds_them(slotted: OnnxModel) -> None:
    empty = rows_of(slotted)
    states = [slotted.initial_state()] * 3
    for number in range(60):
        asked = [(state, feed(number)) for state in states]
        states = [state for _, state in slotted.together(asked)]
        del asked
        assert rows_of(slotted) == (empty[0] + 3, FIRST_ROWS)
        with pytest.raises(Exception, match="indices element out of"):
            slotted.together([(state, feed(1.0, FATAL)) for state in states])
    states.clear()
    assert rows_of(slotted) == empty


def test_tables_grow_when_rows_run_out_and_keep_what_they_hold(
    plain: OnnxModel, slotted: OnnxModel
) -> None:
    held = [[m.initial_state()] * (2 * FIRST_ROWS) for m in (plain, slotted)]
    for model, states in zip((plain, slotted), held, strict=True):
        for n, state in enumerate(states):
            _, states[n] = model.step(state, **feed(float(n)))
    assert rows_of(slotted)[1] >= 2 * FIRST_ROWS
    for ours, theirs in zip(*held, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_state_of_another_model_is_refused(plain: OnnxModel, path: Path) -> None:
    one, other = (OnnxModel(path, IN, OUT, slots=True) for _ in range(2))
    for state in (plain.initial_state(), other.initial_state()):
        with pytest.raises(ValueError, match="not one of this model"):
            one.step(state, **feed(1.0))


def test_threads_that_share_a_model_do_not_meet_in_its_buffers(
    plain: OnnxModel, slotted: OnnxModel
) -> None:
    found: dict[int, list[Array]] = {}

    def run(number: int) -> None:
        state, heard = slotted.initial_state(), list[Array]()
        for step in range(50):
            outputs, state = slotted.step(state, **feed(number + step))
            heard.append(outputs["y"])
        found[number] = heard

    threads = [threading.Thread(target=run, args=(10 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, heard in found.items():
        state = plain.initial_state()
        for step, y in enumerate(heard):
            outputs, state = plain.step(state, **feed(number + step))
            np.testing.assert_array_equal(y, outputs["y"])
    assert len(found) == len(threads)


def test_a_capture_that_fails_is_made_as_a_plain_call_and_given_up_after_some(
    path: Path, plain: OnnxModel
) -> None:
    """Told with a session that refuses what has the number of a graph: there is no GPU here."""
    slotted = OnnxModel(path, IN, OUT, slots=True)
    memory = slotted.memory
    assert isinstance(memory, DeviceState)
    refusing = Refusing(memory.session)
    memory.session, memory.captures = refusing, True
    states = [plain.initial_state(), slotted.initial_state()]
    for n in (1, 2, 3, 4, 5) * 3:
        theirs, ours = (
            model.together([(state, feed(float(n)))] * n)[0]
            for model, state in zip((plain, slotted), states, strict=True)
        )
        np.testing.assert_array_equal(ours[0]["y"], theirs[0]["y"])
        states = [theirs[1], ours[1]]
    assert not memory.captures
    assert refusing.refused == MOST_FAILURES


class Refusing:
    """A session whose calls fail when they are to be captured."""

    def __init__(self, session: Any) -> None:
        self._session, self.refused = session, 0

    def io_binding(self) -> Any:
        return self._session.io_binding()

    def run_with_iobinding(self, binding: Any, options: ort.RunOptions) -> None:
        if options.get_run_config_entry("gpu_graph_id") != "-1":
            self.refused += 1
            raise RuntimeError("operation not permitted when stream is capturing")
        self._session.run_with_iobinding(binding, options)


def test_whole_streams_sound_the_same_bit_for_bit(
    starter: Voice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The starter, as on a device whose memory holds tables: in step, in batches that are full."""
    here = {**PROVIDERS, "cpu": replace(PROVIDERS["cpu"], tables="cpu")}
    monkeypatch.setattr(models, "PROVIDERS", here)
    voice = Store(tmp_path).load("starter", CPU)
    monkeypatch.undo()

    def said(voice: Voice) -> list[Audio]:
        streams = [
            Conversion(
                voice, RATE, profile=voice.profiles["low"], controls=Controls(pitch=n), seed=n
            )
            for n in range(4)
        ]
        heard: list[list[Audio]] = [[] for _ in streams]
        for at in range(12):
            sounds = [noise(RATE // 50, 100 * n + at) for n in range(4)]
            works = [partial(s.step, x) for s, x in zip(streams, sounds, strict=True)]
            for parts, end in zip(heard, together(works), strict=True):
                assert end.error is None
                parts.append(end.value)
        return [np.concatenate(parts) for parts in heard]

    for ours, theirs in zip(said(voice), said(starter), strict=True):
        assert np.any(theirs)
        np.testing.assert_array_equal(ours, theirs)
