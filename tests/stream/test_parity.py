"""How far a voice on a device is from itself on the processor."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runtimes import machine

from stream.audio import Audio
from stream.device import Device
from stream.models.store import Store
from stream.models.synth import Speech, Synthesizer
from stream.models.voice import Voice
from stream.parity import Check, parity


def found(lines: list[tuple[str, bool]]) -> dict[str, bool]:
    """The rows of the table, each with whether it is near enough."""
    rows = [(line.split("|")[1].strip(), good) for line, good in lines if line.startswith("| ")]
    return dict(rows)


def test_state_in_tables_gives_the_same_sound_and_the_report_says_where_it_lies(
    starter: Voice, speech: Audio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, ["cuda", "cpu"])
    voice = Store(tmp_path, shared=True).load("starter", Device("cuda"))
    lines = list(parity(voice, starter, speech[:12_000], crowd=3))
    assert "- synth: CUDAExecutionProvider, states in tables in cpu memory" in "\n".join(
        line for line, _ in lines
    )
    rows = found(lines)
    assert len(rows) == 6
    assert all(rows.values())


class Louder:
    """A synthesizer that says everything a tenth louder."""

    delay_frames, whole_hops = 0, False

    def __init__(self, plain: Synthesizer) -> None:
        self._plain, self.provider = plain, plain.provider

    def open(self, seed: int, context: int) -> Speech:
        speech: Any = self._plain.open(seed, context)
        step = speech.step

        def louder(*given: Any) -> Audio:
            return step(*given) * np.float32(1.1)

        speech.step = louder
        return speech


def test_a_device_that_computes_something_else_is_told(starter: Voice, speech: Audio) -> None:
    other = replace(starter, synth=Louder(starter.synth))
    rows = found(list(parity(other, starter, speech[:8_000], crowd=2)))
    assert [name for name, good in rows.items() if not good] == ["sound, relative"]


def test_what_is_no_number_is_too_far() -> None:
    assert not Check("sound", float("nan"), 1.0).good
    assert Check("sound", 1.0, 1.0).good
    assert not Check("sound", 1.1, 1.0).good
