"""Graphs as models: named arrays in, named arrays out, with memory that belongs to streams."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stream.device import CPU, Device
from stream.errors import ModelMismatch, ModelNotFound
from stream.models.chorus import Answer, Array, Call, State, current_part
from stream.models.memory import HostState, Memory, Names, turn_on
from stream.models.providers import BATCH_SPAN, PROVIDERS, ROW_SPAN, ROWS, Span, kind_of
from stream.models.session import open_session

Shape = tuple[int | None, ...]

STATE, NEXT = "state_", "next_"
BATCH = "batch"  # the name of a first axis along which the calls of several streams can lie

EXACT_FRAMES = 10
"""Frames that a call may have for its result not to depend on their number: ONNX Runtime multiplies
8-bit matrices of more rows in another way, half a percent apart."""


class OnnxModel:
    """A loaded ONNX graph: named arrays in, named arrays out.

    A graph may carry memory from call to call: each of its inputs `state_X` has an output `next_X`
    of the same fixed shape, and zeros are the start. The memory belongs to the caller, who passes
    it in and gets the next one back. The model holds none, so one serves every stream and thread.
    What a state is, only the model knows: arrays, or on a GPU of CUDA a row of its tables.

    Where the first axis of all that goes in and out is called "batch" (numbers apart, which are the
    same for all), the calls of several streams may be one. Law of `together`: each gets what `step`
    alone would have given, bit for bit where the kernels keep rows apart, else to 1e-5.

    inputs, outputs   the names that must be there, each with its shape; `None` fits any length
    heavy             a model of full size, which may be computed in less than float32 (see
                      `stream.models.providers`), and for which `auto` takes OpenVINO
    spans             how long the dimensions of what goes in can be, by their names in the graph:
                      TensorRT takes a graph only when it knows
    slots             whether states lie in tables on the device; by default where that is CUDA's

    Raises `ModelNotFound`, `ModelMismatch` when names, shapes or states are others, and
    `DeviceUnavailable` when a device was asked for by name and does not run the graph (ONNX
    Runtime itself would go on on the CPU and only log it). `provider` names what does run it.
    """

    def __init__(
        self,
        path: Path,
        inputs: Mapping[str, Shape],
        outputs: Mapping[str, Shape],
        *,
        device: Device = CPU,
        threads: int = 1,
        heavy: bool = False,
        spans: Mapping[str, Span] | None = None,
        slots: bool | None = None,
    ) -> None:
        if not path.is_file():
            raise ModelNotFound(path, "Install timbral again, or add the voice again.")
        self._path = path
        self.name = path.stem
        opened = partial(open_session, path, threads=threads, heavy=heavy)
        # TensorRT compiles for minutes: only what will be used, after it was looked at
        session = opened(Device("cuda", device.index) if device.kind == "tensorrt" else device)
        names, initial = self._checked(session, inputs, outputs)
        kind = kind_of(session.get_providers()[0]) or "cpu"
        tables = PROVIDERS[kind].tables
        known = {BATCH: BATCH_SPAN, **(spans or {})}
        if (bool(tables) if slots is None else slots) and initial:
            from stream.models.slots import Place, device_state  # needs `onnx`, as serving does not

            del session
            found = device if device.kind == "tensorrt" else Device(kind, device.index)
            place = Place(tables or "cpu", device.index)
            opened = partial(opened, found, spans={**known, ROWS: ROW_SPAN})
            self._memory: Memory = device_state(
                path, names, initial, opened, place, stacks=self.stacks, capture=kind == "cuda"
            )
            return
        if device.kind == "tensorrt":
            session = opened(device, spans=known)
        turn = turn_on(tables, device.index) if tables else None
        self._memory = HostState(session, names, initial, turn)

    @property
    def provider(self) -> str:
        """ONNX Runtime's name for what really runs the graph."""
        return self._memory.provider

    @property
    def memory(self) -> Memory:
        """Who makes the calls, and where states lie."""
        return self._memory

    def initial_state(self) -> State:
        """The memory before the first call: zeros."""
        return self._memory.initial

    def step(self, state: State, **inputs: Array) -> Answer:
        """One call; returns the outputs by name and the memory for the next call.

        In a `Chorus` it waits for those of other streams, to be one with them.
        """
        if self.stacks and (part := current_part()) is not None:
            return part.ask(self, (state, inputs))
        return self._memory.answers([(state, inputs)])[0]

    def together(self, calls: Sequence[Call]) -> list[Answer]:
        """What `step` gives for each of `calls`, whose inputs have the same shapes, in one run."""
        return self._memory.answers(calls)

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        """One call of a graph without memory."""
        return self.step((), **inputs)[0]

    def probe(self, **inputs: Array) -> dict[str, Array]:
        """One call of a graph that nobody has run yet; raises `ModelMismatch` where it fails."""
        try:
            return self(**inputs)
        except Exception as error:  # ONNX Runtime raises a class of its own for every cause
            raise ModelMismatch(self._path, f"ONNX Runtime cannot run it ({error})") from error

    def _checked(
        self, session: Any, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]
    ) -> tuple[Names, State]:
        """The names of what goes in and out, and the zeros that its memory begins with."""
        found_in = {i.name: i for i in session.get_inputs()}
        found_out = {o.name: o for o in session.get_outputs()}
        states = sorted(name for name in found_in if name.startswith(STATE))
        self._check("input", inputs, {n: i for n, i in found_in.items() if n[:6] != STATE})
        self._check("output", outputs, {n: o for n, o in found_out.items() if n[:5] != NEXT})
        nexts = [NEXT + name[len(STATE) :] for name in states]
        values = [*found_in.values(), *found_out.values()]
        self.stacks = all(value.shape[:1] in ([], [BATCH]) for value in values)
        initial = tuple(self._zeros(found_in[name]) for name in states)
        for name, zeros in zip(nexts, initial, strict=True):
            if name not in found_out or _fixed(found_out[name].shape) != zeros.shape:
                why = f"state output {name} of shape {zeros.shape} is missing"
                raise ModelMismatch(self._path, why)
        return Names(tuple(outputs), tuple(states), tuple(nexts)), initial

    def _check(self, kind: str, expected: Mapping[str, Shape], found: Mapping[str, Any]) -> None:
        if set(found) != set(expected):
            why = f"expected {kind}s {sorted(expected)}, found {sorted(found)}"
            raise ModelMismatch(self._path, why)
        for name, shape in expected.items():
            declared = tuple(found[name].shape)
            fits = len(declared) == len(shape) and all(
                want is None or not isinstance(have, int) or have == want
                for want, have in zip(shape, declared, strict=True)
            )
            fixed = any(
                want is None and isinstance(have, int)
                for want, have in zip(shape, declared, strict=False)
            )
            if not fits or fixed:
                raise ModelMismatch(self._path, f"{kind} {name} is {declared}, expected {shape}")

    def _zeros(self, value: Any) -> Array:
        shape = _fixed(value.shape)
        if not all(isinstance(size, int) for size in shape):
            raise ModelMismatch(self._path, f"{value.name} has no fixed shape: {shape}")
        dtype = {"tensor(float)": np.float32, "tensor(int64)": np.int64}.get(value.type)
        if dtype is None:
            raise ModelMismatch(self._path, f"{value.name} is {value.type}, not float or int64")
        zeros = np.zeros(shape, dtype)
        zeros.flags.writeable = False
        return zeros


def _fixed(shape: Sequence[Any]) -> tuple[Any, ...]:
    """The shape for one stream."""
    return tuple(1 if i == 0 and size == BATCH else size for i, size in enumerate(shape))
