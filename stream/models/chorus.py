"""Several streams in step: what they ask of one model at the same time becomes one call.

A stream is written as if it were alone. Its work runs in a greenlet of its own; where it asks a
model, it stops there and the next stream goes on, until all of them wait. Then the questions to one
model, of one shape, go to it together, and everybody goes on with the answer.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

import numpy as np
from greenlet import getcurrent, greenlet
from numpy.typing import NDArray

Array = NDArray[np.generic]
State: TypeAlias = Sequence[Array]
Call: TypeAlias = tuple[State, Mapping[str, Array]]
Answer: TypeAlias = tuple[dict[str, Array], State]


class Stacked(Protocol):
    """A model that answers several calls at once; `name` is its file's."""

    @property
    def name(self) -> str: ...

    def together(self, calls: Sequence[Call]) -> list[Answer]:
        """The answers to calls of one shape, each as if it had been alone."""
        ...


class Ended(NamedTuple):
    """What became of a work: its value, or the error that it raised."""

    value: Any
    error: Exception | None


Ran = Callable[[str, float], None]
"""Told of each call: the model's name and how many seconds it took."""


def _unheard(_name: str, _seconds: float) -> None:
    pass


class Part(greenlet):
    """One work while it runs."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(self.guarded)
        self._work = work

    def guarded(self) -> Ended:
        """Do the work; nothing is raised."""
        try:
            return Ended(self._work(), None)
        except Exception as error:
            return Ended(None, error)

    def ask(self, model: Stacked, call: Call) -> Answer:
        """The model's answer; until it comes, others work. Raises what the model raises."""
        answer = self._leader.switch(_Question(model, call))
        if isinstance(answer, Exception):
            raise answer
        return cast(Answer, answer)

    @property
    def _leader(self) -> greenlet:
        assert self.parent is not None
        return self.parent


class _Question(NamedTuple):
    model: Stacked
    call: Call

    @property
    def kind(self) -> tuple[object, ...]:
        """Questions of one kind can be one call."""
        shapes = ((name, value.shape) for name, value in self.call[1].items())
        return id(self.model), *shapes


def current_part() -> Part | None:
    """The work that runs here and now, if a chorus leads it."""
    current = getcurrent()
    return current if isinstance(current, Part) else None


def together(works: Sequence[Callable[[], Any]], ran: Ran = _unheard) -> list[Ended]:
    """Do all of `works` in this thread, and what they ask of models in as few calls as possible.

    Law: each gives what it gives alone, however many there are, and its errors are its own: a call
    that fails is made again for each of them.
    """
    parts = [Part(work) for work in works]
    ended: dict[Part, Ended] = {}
    answers: list[tuple[Part, Any]] = [(part, None) for part in parts]
    while answers:
        asked: dict[tuple[object, ...], list[tuple[Part, _Question]]] = {}
        for part, answer in answers:
            said = part.switch(answer) if part else part.switch()
            if isinstance(said, Ended):
                ended[part] = said
            else:
                question = cast(_Question, said)
                asked.setdefault(question.kind, []).append((part, question))
        answers = [pair for group in asked.values() for pair in _answered(group, ran)]
    return [ended[part] for part in parts]


def _answered(group: list[tuple[Part, _Question]], ran: Ran) -> list[tuple[Part, Any]]:
    """The parts of a group, each with its answer or with the error that is its own."""
    model = group[0][1].model
    begun = time.perf_counter()
    try:
        answers: Sequence[Any] = model.together([question.call for _, question in group])
    except Exception as error:
        if len(group) == 1:
            return [(group[0][0], error)]
        return [pair for one in group for pair in _answered([one], ran)]
    ran(model.name, time.perf_counter() - begun)
    return [(part, answer) for (part, _), answer in zip(group, answers, strict=True)]
