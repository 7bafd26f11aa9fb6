"""What a job is, and what does it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

State = Literal["waiting", "running", "done", "failed", "cancelled"]
ENDED: tuple[State, ...] = ("done", "failed", "cancelled")
Steps = Mapping[str, tuple[int, int]]
"""By a step's name: how much of it is done, of how much; (0, 0) has begun, (1, 1) is over."""


@dataclass(frozen=True)
class Job:
    """One song that is to become a cover.

    owner    whose it is
    name     of the song, for people
    made, began, ended   s since 1970
    why      it failed
    seconds  of sound that were made
    tries    how often it was begun
    stop     somebody wants it to end
    """

    id: str
    owner: str
    name: str
    state: State
    source: Path
    target: Path
    settings: Mapping[str, Any]
    made: float
    began: float | None = None
    ended: float | None = None
    steps: Steps = field(default_factory=dict[str, tuple[int, int]])
    why: str = ""
    seconds: float = 0.0
    tries: int = 0
    stop: bool = False

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED

    def told(self) -> dict[str, Any]:
        """What may be told outside, as JSON: no paths of this machine."""
        return {
            "id": self.id,
            "owner": self.owner,
            "name": self.name,
            "state": self.state,
            "settings": dict(self.settings),
            "steps": {name: list(now) for name, now in self.steps.items()},
            "made": self.made,
            "began": self.began,
            "ended": self.ended,
            "why": self.why,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class Order:
    """What a worker is given; it can be sent to another process, or another machine.

    threads  that it should take
    """

    source: Path
    target: Path
    settings: Mapping[str, Any]
    home: Path
    device: str = "auto"
    threads: int = 1


Told = Callable[[str, int, int], None]
"""Called with a step's name and how far it is; raises `Cancelled` to end the work."""

Work = Callable[[Order, Told], float]
"""Does an order and gives the seconds of sound; a module's function. Raises `TimbralError`."""


@dataclass(frozen=True)
class End:
    """How it came out; `died` when the process of the work is gone without a word."""

    state: Literal["done", "failed", "cancelled", "died"]
    why: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class News:
    """What happened since it was last asked: the newest of each step, and the end."""

    steps: Steps
    end: End | None = None


class Running(Protocol):
    """Work that is being done somewhere. Nothing here blocks."""

    def news(self) -> News:
        """What is new. After an end there is nothing more to ask."""
        ...

    def cancel(self) -> None:
        """Ask it to end: it does at its next sign of progress."""
        ...

    def kill(self) -> None:
        """End it at once; its news is then that it died, or that it was over before."""
        ...


class Executor(Protocol):
    """Where orders are done."""

    @property
    def places(self) -> int:
        """How many at once."""
        ...

    def begin(self, order: Order) -> Running:
        """Do it there."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...
