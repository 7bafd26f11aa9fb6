"""A sample of what `make fuzz` plays, always the same; and faults that it must find."""

import asyncio
import random
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calls import FakeConversion, FakeVoices
from fuzz.engine import Play, Score, Target, one_by_one, play
from fuzz.http import Asking
from fuzz.site import Said, Site
from fuzz.talks import talks_with
from fuzz.targets import TARGETS
from fuzz.wire import read_frame

from server.app import Server
from server.config import ServerConfig
from server.openapi import Contract
from server.protocol import AudioFrame, Flag
from stream.audio import Audio

SEED = 8
A_MILLION = 1_000_000


def score(target: Target, folder: Path, cases: int | None = None) -> Score:
    return play(target, SEED, range(cases or target.sample), folder)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_whatever_comes_is_answered_or_refused(target: Target, tmp_path: Path) -> None:
    found = score(target, tmp_path)
    assert not found.findings, "\n".join(f"{each.repeat}\n{each.trace}" for each in found.findings)
    assert found.played == target.sample
    assert len(found.became) > 1, "all cases come to the same: nothing is tried"


def test_a_whole_run_is_a_million_cases() -> None:
    assert sum(target.cases for target in TARGETS) >= A_MILLION


def broken(case: Callable[[random.Random], str], most_s: float = 0.2) -> Target:
    @contextmanager
    def opened(_folder: Path) -> Generator[Play]:
        yield one_by_one(case, most_s)

    return Target("broken", 10, 10, opened, most_b=64 << 20)


def sometimes(error: Callable[[], Any]) -> Callable[[random.Random], str]:
    def case(draw: random.Random) -> str:
        if draw.random() < 0.3:
            error()
        return "fine"

    return case


def test_an_error_that_is_not_ours_is_found_and_can_be_repeated(tmp_path: Path) -> None:
    target = broken(sometimes(lambda: [][0]))
    found = score(target, tmp_path).findings
    assert found
    assert all("IndexError" in each.error for each in found)
    again = play(target, SEED, [found[0].number], tmp_path).findings
    assert [each.error for each in again] == [found[0].error]
    assert f"--seed {SEED} --case {found[0].number}" in found[0].repeat


def test_a_case_that_does_not_end_is_found(tmp_path: Path) -> None:
    found = score(broken(sometimes(lambda: time.sleep(60))), tmp_path).findings
    assert found
    assert all("Hang" in each.error for each in found)


def test_a_warning_is_found(tmp_path: Path) -> None:
    loud = np.full(1, 3e38, np.float32)
    assert score(broken(sometimes(lambda: loud * loud)), tmp_path).findings


def test_memory_that_grows_is_found(tmp_path: Path) -> None:
    held: list[Any] = []
    found = score(broken(sometimes(lambda: held.append(np.ones(6 << 20)))), tmp_path).findings
    assert any("grew" in each.error for each in found)


def test_the_raw_voice_would_be_found(tmp_path: Path) -> None:
    class Leaking(FakeConversion):
        """Says some samples as they came."""

        def step(self, block: Audio) -> Audio:
            out = super().step(block)
            return np.abs(out) if len(self.blocks) % 5 == 4 else out

    target = Target("talks", 1, 1, talks_with(Leaking))
    assert any("raw voice" in each.error for each in score(target, tmp_path, 40).findings)


def test_an_error_in_a_conversation_that_is_not_ours_would_be_found(tmp_path: Path) -> None:
    target = Target("talks", 1, 1, talks_with(lambda: FakeConversion(raising={3})))
    assert any("not ours" in each.error for each in score(target, tmp_path, 40).findings)


def test_a_frame_that_is_read_as_another_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    data = AudioFrame(1, 2, bytes(4), Flag.GAP).pack()
    assert read_frame(data) == "heard"
    right = AudioFrame.pack
    monkeypatch.setattr(AudioFrame, "pack", lambda self: right(self._replace(flags=Flag(0))))
    with pytest.raises(AssertionError, match="not the one"):
        read_frame(data)


@pytest.mark.parametrize(
    "said",
    [
        Said(500, {"content-type": "text/plain"}, b"oh"),
        Said(409, {"content-type": "text/plain"}, b"not told of\n"),
        Said(200, {"content-type": "text/html"}, b"<html>"),
        Said(200, {"content-type": "application/json"}, b'{"default": "ada"}'),
        Said(200, {"server": "aiohttp/3"}, b""),
    ],
)
def test_an_answer_that_the_page_has_not_would_be_found(said: Said, tmp_path: Path) -> None:
    server = Server(ServerConfig(home=tmp_path), FakeVoices)
    app = server._runner.app  # pyright: ignore[reportPrivateUsage]
    page = Contract(ServerConfig(), frozenset()).page(app)
    with closing(asyncio.new_event_loop()) as loop:
        asking = Asking(page, Site(server, loop), tmp_path)
    right = b'{"default": "ada", "voices": [{"name": "ada", "error": "x"}]}'
    asking.judge(Said(200, {"content-type": "application/json"}, right), "/v1/voices", "GET")
    with pytest.raises(Exception, match=r".+"):
        asking.judge(said, "/v1/voices", "GET")
