"""Plays cases against a target and keeps what should not have happened.

A case is made of a seed and a number, so that it can be played again alone. Law of every case: what
comes is a valid answer or a refusal of ours; nothing else is raised, not even a warning, it is over
in time, and the memory of the process stays within bounds.
"""

import random
import resource
import signal
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from server.figures import resident_bytes

MOST_TRACE = 4000  # characters kept of a traceback


class Hang(BaseException):
    """A case took too long. No `Exception`: what is being tested must not catch it."""


class Broken(AssertionError):
    """An answer that must not be."""


class Dice(NamedTuple):
    """A case: its number, and where all its choices come from."""

    number: int
    draw: random.Random


class Played(NamedTuple):
    """What became of a case: a short word for it, or what went wrong."""

    number: int
    became: str
    error: BaseException | None = None


Play = Callable[[Iterable[Dice]], Iterator[Played]]


@dataclass(frozen=True)
class Target:
    """Something that takes what strangers send.

    cases   of a whole run;  sample   of the sample that continuous integration plays
    open    with a folder of its own: gives what plays cases
    most_b  by how much the process may grow, in bytes
    """

    name: str
    cases: int
    sample: int
    open: Callable[[Path], AbstractContextManager[Play]]
    most_b: int = 384 << 20


@dataclass(frozen=True)
class Finding:
    """A case whose law broke."""

    target: str
    seed: int
    number: int
    error: str
    trace: str

    @property
    def repeat(self) -> str:
        """The command that plays it again."""
        return f"make fuzz ARGS='--target {self.target} --seed {self.seed} --case {self.number}'"


@dataclass
class Score:
    """What came of some cases of one target."""

    target: str
    played: int = 0
    seconds: float = 0.0
    grown: int = 0  # bytes, of the process's highest
    became: Counter[str] = field(default_factory=Counter[str])
    findings: list[Finding] = field(default_factory=list[Finding])


def dice(target: str, seed: int, number: int) -> Dice:
    """The case of that number."""
    return Dice(number, random.Random(f"{seed} {target} {number}"))


def play(
    target: Target,
    seed: int,
    numbers: Iterable[int],
    folder: Path,
    told: Callable[[int], None] = lambda played: None,
) -> Score:
    """Play the cases of those numbers; `told` hears how many are done, case by case."""
    score, began = Score(target.name), time.monotonic()
    highest, held = highest_memory(), resident_bytes() or 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with target.open(folder) as cases:
            for played in cases(dice(target.name, seed, number) for number in numbers):
                score.played += 1
                score.became[played.became] += 1
                if played.error is not None:
                    score.findings.append(finding(target, seed, played.number, played.error))
                told(score.played)
    score.seconds = time.monotonic() - began
    score.grown = max(highest_memory() - highest, (resident_bytes() or 0) - held)
    if score.grown > target.most_b:
        grown = Broken(f"the process grew by {score.grown >> 20} MiB")
        score.findings.append(finding(target, seed, -1, grown))
    return score


def finding(target: Target, seed: int, number: int, error: BaseException) -> Finding:
    """What is kept of it."""
    trace = "".join(traceback.format_exception(error))[-MOST_TRACE:]
    return Finding(target.name, seed, number, f"{type(error).__name__}: {error}"[:500], trace)


def one_by_one(case: Callable[[random.Random], str], most_s: float) -> Play:
    """Plays cases that are functions of their dice, each within `most_s`."""

    def each(cases: Iterable[Dice]) -> Iterator[Played]:
        for number, draw in cases:
            yield once(number, draw)

    def once(number: int, draw: random.Random) -> Played:
        try:
            with within(most_s):
                return Played(number, case(draw))
        except (Exception, Hang) as error:
            return Played(number, "finding", error)

    return each


@contextmanager
def within(seconds: float) -> Generator[None]:
    """Raise `Hang` in the main thread when this lasts longer; in others nothing is watched."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(_number: int, _frame: object) -> None:
        raise Hang(f"it took more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def highest_memory() -> int:
    """Bytes of memory that this process ever held at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
