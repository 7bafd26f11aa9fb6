"""Pieces of a run, each in a process of its own, with bounded memory: what takes one down or never
ends is found, too.
"""

import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from fuzz.engine import Broken, Score, Target, finding, play
from fuzz.targets import TARGETS

PIECE_S = 45.0  # that a piece takes, about
PER_S = {  # cases, as measured on a busy machine: what counts is how they compare
    **{"frames": 1200, "messages": 450, "answers": 2000, "files": 170, "talks": 25, "http": 90},
    **{"live": 20},
}
SILENT_S = 180.0  # without a case: the process hangs
ROOM = 1 << 31  # bytes of addresses that a process may take besides those it begins with


@dataclass(frozen=True)
class Piece:
    """Cases of one target, to be played by one process."""

    target: str
    first: int
    count: int

    @property
    def seconds(self) -> float:
        """About how long it takes."""
        return self.count / PER_S[self.target]


@dataclass
class Work:
    """A process that plays a piece."""

    piece: Piece
    process: Any
    news: Connection
    heard: float
    done: int = 0


def pieces_of(targets: list[Target], share: float) -> Iterator[Piece]:
    """The slow ones first, so that no process is left alone with them."""
    for target in sorted(targets, key=lambda t: t.cases / PER_S[t.name], reverse=True):
        cases = max(1, round(target.cases * share))
        size = round(PIECE_S * PER_S[target.name])
        for first in range(0, cases, size):
            yield Piece(target.name, first, min(size, cases - first))


def run(
    pieces: list[Piece], seed: int, workers: int, scores: dict[str, Score]
) -> Iterator[tuple[int, float]]:
    """Play all pieces into `scores`; gives how many cases are played, and which part of the work
    that is, now and then.
    """
    waiting, running, played = list(pieces), list[Work](), 0
    whole, part = sum(piece.seconds for piece in pieces), 0.0
    while waiting or running:
        while waiting and len(running) < workers:
            running.append(_begin(waiting.pop(0), seed))
        wait([work.news for work in running], timeout=1.0)
        for work in list(running):
            score = _listen(work, seed)
            if score is not None:
                running.remove(work)
                work.process.join()
                played += work.piece.count
                part += work.piece.seconds / whole
                _add(scores[work.piece.target], score)
        under = sum(work.done * work.piece.seconds / work.piece.count for work in running)
        yield played + sum(work.done for work in running), part + under / whole


def _begin(piece: Piece, seed: int) -> Work:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_play, args=(there, piece, seed), daemon=True)
    process.start()
    there.close()
    return Work(piece, process, here, time.monotonic())


def _listen(work: Work, seed: int) -> Score | None:
    """The score, once the process is done; one with a finding when it died or hangs."""
    try:
        while work.news.poll():
            news = work.news.recv()
            work.heard = time.monotonic()
            if isinstance(news, Score):
                return news
            work.done = news
    except EOFError:
        work.process.join()
        return _lost(work, seed, f"the process died ({work.process.exitcode})")
    if time.monotonic() - work.heard > SILENT_S:
        work.process.kill()
        return _lost(work, seed, f"no case was over for {SILENT_S:g} s")
    return None


def _lost(work: Work, seed: int, why: str) -> Score:
    piece, target = work.piece, target_of(work.piece.target)
    near = piece.first + work.done  # news are not of every case: this one, or one soon after it
    return Score(piece.target, work.done, findings=[finding(target, seed, near, Broken(why))])


def _play(news: Connection, piece: Piece, seed: int) -> None:
    """In a process of its own."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)  # decoders of sound tell of every damage
    target = target_of(piece.target)
    sent = time.monotonic()

    def told(played: int) -> None:
        nonlocal sent
        if time.monotonic() - sent > 0.5:
            sent = time.monotonic()
            news.send(played)

    _bound_memory()
    with tempfile.TemporaryDirectory(prefix="timbral-fuzz-") as folder:
        numbers = range(piece.first, piece.first + piece.count)
        news.send(play(target, seed, numbers, Path(folder), told))


def _bound_memory() -> None:
    """What asks for much more than it should is told that there is none."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    if pages:
        most = pages * resource.getpagesize() + ROOM
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def target_of(name: str) -> Target:
    """By its name."""
    return next(target for target in TARGETS if target.name == name)


def _add(total: Score, score: Score) -> None:
    total.played += score.played
    total.seconds += score.seconds
    total.grown = max(total.grown, score.grown)
    total.became += score.became
    total.findings += score.findings
