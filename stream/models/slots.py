"""The memory of streams on the device: rows of tables that never leave it."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import onnxruntime as ort

from stream.errors import ModelError
from stream.models.chorus import Answer, Array, Call
from stream.models.memory import Names, turn_on
from stream.models.providers import BATCHES
from stream.models.slotted import FROM, MOVED, STATE, TABLE, TO, slotted

QUIET, SCRATCH = 0, 1  # rows: zeros, where streams begin; what padding writes, which nobody reads
FIRST_ROWS = 16
MOST_BAYS = 64  # kinds of calls for which buffers are kept
MOST_FAILURES = 3  # captures that may fail before none is tried any more


class Place(NamedTuple):
    """Where tables lie, as ONNX Runtime names it."""

    kind: str  # "cpu" or "cuda"
    number: int = 0


class Slot(Sequence[Array]):
    """One stream's memory at one moment: a row of each table.

    Law: it never changes; what follows it is another slot. Its rows are free once nobody holds it.

    As a sequence it is a copy of the row on the host, which takes long: for tests.
    """

    __slots__ = ("at", "tables")

    def __init__(self, tables: "Tables", at: int) -> None:
        self.tables, self.at = tables, at

    def __len__(self) -> int:
        return len(self.tables.shapes)

    @overload
    def __getitem__(self, which: int) -> Array: ...
    @overload
    def __getitem__(self, which: slice) -> Sequence[Array]: ...
    def __getitem__(self, which: int | slice) -> Array | Sequence[Array]:
        if isinstance(which, slice):
            return [self[i] for i in range(*which.indices(len(self)))]
        return self.tables.row(list(self.tables.shapes)[which], self.at)

    def __del__(self) -> None:
        self.tables.free.append(self.at)


class Tables:
    """A table [rows, …] for each state of a graph, on the device; they grow when rows run out.

    shapes  of one stream's states [1, …], with their types, by name
    free    rows that nobody holds
    """

    def __init__(self, shapes: Mapping[str, Array], place: Place, rows: int = FIRST_ROWS) -> None:
        self.shapes, self._place = shapes, place
        self.values: dict[str, Any] = {}
        self.rows = 0
        self.grown = 0  # how often; their memory is another one each time
        self.free = deque[int]()
        self._grow(rows)
        self.free.remove(QUIET)
        self.free.remove(SCRATCH)
        self.quiet = Slot(self, QUIET)

    def take(self, count: int) -> list[Slot]:
        """Slots that nobody else holds; what is in them is to be written first."""
        while len(self.free) < count:
            self._grow(2 * self.rows)
        return [Slot(self, self.free.popleft()) for _ in range(count)]

    def row(self, name: str, index: int) -> Array:
        """A copy of a state [1, …] on the host."""
        return np.array(self.values[name].numpy()[index : index + 1])

    def _grow(self, rows: int) -> None:
        grown: dict[str, Any] = {}
        for name, like in self.shapes.items():
            table = np.zeros((rows, *like.shape[1:]), like.dtype)
            if self.rows:
                table[: self.rows] = self.values[name].numpy()
            grown[name] = ort.OrtValue.ortvalue_from_numpy(table, *self._place)
        self.free.extend(range(self.rows, rows))
        self.values, self.rows, self.grown = grown, rows, self.grown + 1


@dataclass
class _Bay:
    """The buffers for calls of one kind, always at the same place, as a captured graph needs it.

    results   where the outputs come to lie; unknown before the first call
    """

    size: int
    binding: Any
    inputs: dict[str, Any]
    results: list[Any] | None = None
    graph: int = -1  # of the captured calls; -1 captures none


class DeviceState:
    """A `Memory` in device tables: only inputs, outputs and the numbers of rows cross the bus.

    The states of a batch are gathered from the rows that the calls hold, and the next ones are
    scattered into rows that nobody holds, in the same run and the same memory. So a run that fails
    changes nothing that anybody can see, and one that is made twice, as for capturing, gives the
    same. A batch is padded to one of a few sizes with calls that begin in silence.

    session  of the graph that `slotted` made
    stacks   whether several calls can be one
    capture  whether the session captures calls as CUDA graphs
    turn     held while the device is used
    """

    def __init__(
        self,
        session: Any,
        names: Names,
        initial: Sequence[Array],
        *,
        place: Place,
        stacks: bool,
        capture: bool,
        turn: AbstractContextManager[object],
        rows: int = FIRST_ROWS,
    ) -> None:
        self.session, self._names, self._place = session, names, place
        self._sizes = BATCHES if stacks else BATCHES[:1]
        self._turn = turn
        self.captures = capture
        self._failures = 0
        self._graphs = 0
        self.tables = Tables(dict(zip(names.states, initial, strict=True)), place, rows)
        self.initial = self.tables.quiet
        self._bays: dict[tuple[object, ...], _Bay] = {}
        self._grown = self.tables.grown
        self.provider: str = session.get_providers()[0]

    @property
    def told(self) -> str:
        """Where states lie, in words, and whether calls are captured."""
        calls = "captured as graphs" if self.captures else "not captured"
        return f"states in tables in {self._place.kind} memory, calls {calls}"

    def answers(self, calls: Sequence[Call]) -> list[Answer]:
        """As few runs as the sizes of batches allow; see `Memory`."""
        most = self._sizes[-1]
        with self._turn:
            batches = [calls[at : at + most] for at in range(0, len(calls), most)]
            return [answer for batch in batches for answer in self._batch(batch)]

    def _batch(self, calls: Sequence[Call]) -> Iterator[Answer]:
        for state, _ in calls:
            if not isinstance(state, Slot) or state.tables is not self.tables:
                raise ValueError("this memory is not one of this model")
        after = self.tables.take(len(calls))
        size = next(size for size in self._sizes if size >= len(calls))
        bay = self._bay(size, calls[0][1])
        self._fill(bay, calls, after)
        results = self._run(bay)
        each = len(results[0]) // size
        return (
            (
                {
                    name: result[each * i : each * (i + 1)]
                    for name, result in zip(self._names.outputs, results, strict=True)
                },
                slot,
            )
            for i, slot in enumerate(after)
        )

    def _fill(self, bay: _Bay, calls: Sequence[Call], after: Sequence[Slot]) -> None:
        """Put into the buffers what is asked, and silence where nothing is."""
        pad = bay.size - len(calls)
        before = [state.at for state, _ in calls if isinstance(state, Slot)] + [QUIET] * pad
        to = [slot.at for slot in after] + [SCRATCH] * pad
        for name, first in calls[0][1].items():
            if first.ndim:
                rows = [inputs[name] for _, inputs in calls]
                rows += [np.zeros_like(first)] * pad
                bay.inputs[name].update_inplace(np.concatenate(rows))
            else:
                bay.inputs[name].update_inplace(np.ascontiguousarray(first))
        bay.inputs[FROM].update_inplace(np.array(before, np.int64))
        bay.inputs[TO].update_inplace(np.array(to, np.int64)[:, np.newaxis])

    def _run(self, bay: _Bay) -> list[Array]:
        """The outputs, copied."""
        graph = bay.graph if self.captures else -1
        try:
            self.session.run_with_iobinding(bay.binding, _options(graph))
        except Exception:
            if graph < 0:
                raise
            self._failures += 1
            self.captures = self._failures < MOST_FAILURES
            bay.graph = -1
            self.session.run_with_iobinding(bay.binding, _options(-1))
        count = len(self._names.outputs)
        if bay.results is not None:
            return [np.array(result.numpy()) for result in bay.results]
        results = [np.array(value.numpy()) for value in bay.binding.get_outputs()[:count]]
        self._settle(bay, results)
        return results

    def _bay(self, size: int, inputs: Mapping[str, Array]) -> _Bay:
        """The buffers for `size` calls like one with `inputs`."""
        shapes = tuple((name, value.shape) for name, value in inputs.items())
        if self._grown != self.tables.grown:  # the bays are bound to tables that are no more
            self._bays.clear()
            self._grown = self.tables.grown
        key = size, shapes
        if key not in self._bays:
            while len(self._bays) >= MOST_BAYS:
                del self._bays[next(iter(self._bays))]
            self._bays[key] = self._new_bay(size, inputs)
        return self._bays[key]

    def _new_bay(self, size: int, inputs: Mapping[str, Array]) -> _Bay:
        binding = self.session.io_binding()
        buffers = {
            name: self._buffer((size * value.shape[0], *value.shape[1:]), value)
            if value.ndim
            else self._buffer((), value)
            for name, value in inputs.items()
        }
        numbers = np.zeros(0, np.int64)
        buffers |= {FROM: self._buffer((size,), numbers), TO: self._buffer((size, 1), numbers)}
        for name, buffer in buffers.items():
            binding.bind_ortvalue_input(name, buffer)
        for name in self._names.outputs:
            binding.bind_output(name, "cpu")
        self._bind_tables(binding)
        return _Bay(size, binding, buffers)

    def _settle(self, bay: _Bay, results: Sequence[Array]) -> None:
        """After the first call: have its outputs lie at one place from now on."""
        bay.results = [self._buffer(result.shape, result) for result in results]
        bay.binding.clear_binding_outputs()
        for name, value in zip(self._names.outputs, bay.results, strict=True):
            bay.binding.bind_ortvalue_output(name, value)
        for state, table in self.tables.values.items():
            bay.binding.bind_ortvalue_output(MOVED + state[len(STATE) :], table)
        if self.captures and self._graphs < MOST_BAYS:
            self._graphs += 1
            bay.graph = self._graphs

    def _bind_tables(self, binding: Any) -> None:
        """In and out are the same memory: only the rows that nobody holds are written."""
        for state, table in self.tables.values.items():
            binding.bind_ortvalue_input(TABLE + state[len(STATE) :], table)
            binding.bind_ortvalue_output(MOVED + state[len(STATE) :], table)

    def _buffer(self, shape: tuple[int, ...], like: Array) -> Any:
        return ort.OrtValue.ortvalue_from_shape_and_type(shape, like.dtype.type, *self._place)


def device_state(
    path: Path,
    names: Names,
    initial: Sequence[Array],
    opened: Callable[..., Any],
    place: Place,
    *,
    stacks: bool,
    capture: bool,
) -> DeviceState:
    """The memory in `place` of the model in `path`.

    opened   opens a session on that device, of `graph=`, with `capture=` or without
    capture  whether the device can capture calls as graphs. ONNX Runtime may refuse the model for
             that, when a part of it must be computed by the processor; then none are
    """
    graph = slotted(path, "batch" if stacks else 1)
    session = None
    if capture:
        with suppress(ModelError):
            session = opened(graph=graph, capture=True)
    return DeviceState(
        opened(graph=graph) if session is None else session,
        names,
        initial,
        place=place,
        stacks=stacks,
        capture=session is not None,
        turn=turn_on(*place),
    )


def _options(graph: int) -> ort.RunOptions:
    """Of a run: which of the captured graphs it is; -1 for none."""
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph))
    return options
