"""Where the memory of streams lies between the calls of a model, and who makes the calls."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache
from threading import Lock
from typing import Any, NamedTuple, Protocol

import numpy as np

from stream.models.chorus import Answer, Array, Call, State


class Names(NamedTuple):
    """What a graph's outputs are called, and its memory on the way in and out."""

    outputs: tuple[str, ...]
    states: tuple[str, ...]
    nexts: tuple[str, ...]


class Memory(Protocol):
    """Answers calls, and keeps what is carried from one to the next. Belongs to one model.

    Laws: each call is answered as if it had been alone; a state never changes, so one may be the
    beginning of many streams; a call that fails changes nothing.
    """

    @property
    def provider(self) -> str:
        """ONNX Runtime's name for what really runs the graph."""
        ...

    @property
    def told(self) -> str:
        """Where states lie, in words."""
        ...

    @property
    def initial(self) -> State:
        """The memory before the first call: zeros."""
        ...

    def answers(self, calls: Sequence[Call]) -> list[Answer]:
        """What each of `calls`, whose inputs have the same shapes, gives."""
        ...


class HostState:
    """A `Memory` of numpy arrays: each call takes them in and gives the next ones back.

    turn   held during a call, where a device does one thing after another
    """

    told = "states with the caller"

    def __init__(
        self,
        session: Any,
        names: Names,
        initial: State,
        turn: AbstractContextManager[object] | None = None,
    ) -> None:
        self._ort, self._names, self.initial = session, names, initial
        self._turn = turn
        self.provider: str = session.get_providers()[0]

    def answers(self, calls: Sequence[Call]) -> list[Answer]:
        """One run for all; see `Memory`."""
        names = self._names
        if len(calls) == 1:
            state, inputs = calls[0]
            feed: dict[str, Array] = dict(zip(names.states, state, strict=True))
            feed.update(inputs)
            results = self._run(feed)
            return [self._answer(results)]
        states = zip(*(state for state, _ in calls), strict=True)
        feed = dict(zip(names.states, map(np.concatenate, states), strict=True))
        for name, value in calls[0][1].items():
            rows = [inputs[name] for _, inputs in calls]
            feed[name] = np.concatenate(rows) if value.ndim else value
        results = self._run(feed)
        size = len(results[0]) // len(calls)
        cut = [slice(size * i, size * (i + 1)) for i in range(len(calls))]
        return [self._answer([r[part] for r in results]) for part in cut]

    def _run(self, feed: dict[str, Array]) -> list[Array]:
        wanted = [*self._names.outputs, *self._names.nexts]
        if self._turn is None:
            return self._ort.run(wanted, feed)
        with self._turn:
            return self._ort.run(wanted, feed)

    def _answer(self, results: Sequence[Array]) -> Answer:
        n = len(self._names.outputs)
        return dict(zip(self._names.outputs, results[:n], strict=True)), tuple(results[n:])


@cache
def turn_on(memory: str, number: int) -> Lock:
    """The one lock of a device, by its memory: it does one thing after another."""
    del memory, number  # there is a lock for each
    return Lock()
