"""Streams that work in step: one call of a model for all of them, and each as if alone."""

import gc
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from streaming import noise

from stream.audio import Audio
from stream.controls import Controls
from stream.engine import Conversion
from stream.models import chorus
from stream.models.chorus import Answer, Call, current_part, together
from stream.models.onnx import OnnxModel
from stream.models.voice import Voice
from stream.timing import hum

RATE = 48_000
LENGTH, PIECE = 10 * 2400, 2400


class Doubling:
    """A model that doubles `x` and counts what it is asked."""

    name = "doubling"

    def __init__(self, refuses: float | None = None) -> None:
        self.sizes: list[int] = []
        self._refuses = refuses

    def together(self, calls: Sequence[Call]) -> list[Answer]:
        self.sizes.append(len(calls))
        if any(np.any(call[1]["x"] == self._refuses) for call in calls):
            raise ArithmeticError("a number that is refused")
        return [({"y": np.multiply(call[1]["x"], 2)}, ()) for call in calls]


def ask(model: Doubling, x: Any) -> Any:
    part = current_part()
    assert part is not None
    return part.ask(model, ((), {"x": np.asarray(x)}))[0]["y"]


def test_calls_of_one_shape_become_one_and_others_wait() -> None:
    model = Doubling()
    asked = [[1.0, 2.0], [3.0, 4.0], [5.0], [6.0, 7.0]]
    ended = together([lambda x=x: ask(model, ask(model, x)) for x in asked])
    assert [list(end.value) for end in ended] == [[4.0 * v for v in x] for x in asked]
    assert model.sizes == [3, 1, 3, 1]


def test_works_of_different_lengths_end_each_in_its_time() -> None:
    model = Doubling()

    def work(times: int) -> float:
        x = np.ones(1)
        for _ in range(times):
            x = ask(model, x)
        return float(x[0])

    assert [end.value for end in together([lambda n=n: work(n) for n in (0, 3, 1, 2)])] == [
        *(1.0, 8.0, 2.0, 4.0)
    ]
    assert model.sizes == [3, 2, 1]


def test_an_error_is_its_own_works_only() -> None:
    model = Doubling(refuses=-1.0)

    def fails() -> None:
        raise KeyError("of its own")

    works = [lambda: ask(model, [1.0]), fails, lambda: ask(model, [-1.0]), lambda: ask(model, [2])]
    first, own, refused, last = together(works)
    assert (first.value, last.value) == (2.0, 4.0)
    assert isinstance(own.error, KeyError)
    assert isinstance(refused.error, ArithmeticError)


def test_one_work_alone_asks_alone_and_calls_are_told() -> None:
    told: list[str] = []
    model = Doubling()
    (ended,) = together([lambda: ask(model, [2.0])[0]], lambda name, _seconds: told.append(name))
    assert (ended.value, told) == (4.0, ["doubling"])
    assert together([]) == []
    assert current_part() is None


@pytest.mark.parametrize("most", [2, 7])
def test_streams_in_step_sound_as_each_alone(starter: Voice, most: int) -> None:
    """Streams at different places, of different hops and controls, one with a gap of silence."""
    names = ("low", "balanced", "quality")
    sounds = [hum(LENGTH, RATE) * (0.4 + 0.2 * i) + 0.01 * noise(LENGTH, i) for i in range(most)]
    sounds[1][LENGTH // 3 : 2 * LENGTH // 3] = 0.0

    def conversions() -> list[Conversion]:
        return [
            Conversion(
                starter,
                RATE,
                profile=starter.profiles[names[i % len(names)]],
                controls=Controls(pitch=float(i)),
                seed=i,
            )
            for i in range(most)
        ]

    whole = [
        np.concatenate([stream.step(sound), stream.flush()])
        for stream, sound in zip(conversions(), sounds, strict=True)
    ]
    heard: list[list[Audio]] = [[] for _ in sounds]
    streams = conversions()
    for at in range(0, LENGTH + PIECE, PIECE):
        begins = [at - PIECE * (i % 2) for i in range(most)]  # every other one comes later
        due = [i for i in range(most) if 0 <= begins[i] < LENGTH]
        works = [partial(streams[i].step, sounds[i][begins[i] : begins[i] + PIECE]) for i in due]
        for i, end in zip(due, together(works), strict=True):
            assert end.error is None
            heard[i].append(end.value)
    for i, stream in enumerate(streams):
        both = np.concatenate([*heard[i], stream.flush()])
        assert both.shape == whole[i].shape
        assert np.linalg.norm(both - whole[i]) < 1e-4 * np.linalg.norm(whole[i]), i


def test_the_models_of_the_starter_answer_several_at_once(starter: Voice) -> None:
    """Counted: four streams in step call each model a quarter as often."""
    calls: dict[int, list[int]] = {}
    plain = OnnxModel.together

    def counted(self: OnnxModel, asked: Sequence[tuple[Any, Mapping[str, Any]]]) -> Any:
        calls.setdefault(id(self), []).append(len(asked))
        return plain(self, asked)

    streams = [Conversion(starter, RATE, profile=starter.profiles["low"]) for _ in range(4)]
    sound = hum(RATE // 5, RATE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OnnxModel, "together", counted)
        for block in sound.reshape(-1, 960):
            together([lambda c=c, b=block: c.step(b) for c in streams])
    assert len(calls) == 3  # encoder, f0, synthesizer
    assert all(set(sizes) == {4} for sizes in calls.values())


def test_nothing_of_a_chorus_stays() -> None:
    """Fault: greenlets that wait for ever would keep their streams alive."""
    model = Doubling()
    together([lambda: ask(model, [1.0]), lambda: ask(model, [1.0, 2.0])])
    gc.collect()
    assert not [o for o in gc.get_objects() if type(o) is chorus.Part and not o.dead]
