"""Steps that need each other, and which of them are still to do."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from offline.cache import Cache, Step
from stream.errors import ConfigError

Progress = Callable[[int, int], None]
Build = Callable[[Mapping[str, Path], Path, Progress], None]
"""Called with the folders of the tasks that it needs, an empty folder to fill, and progress."""


@dataclass(frozen=True)
class Task:
    """One step of a plan.

    name   of the task: a step may be done twice, as by two voices
    step   what it depends on; its key is where the cache keeps what it makes
    needs  names of the tasks before it, whose folders it reads
    build  does it
    says   what it does, for people
    """

    name: str
    step: Step
    needs: tuple[str, ...]
    build: Build
    says: str = ""


@dataclass(frozen=True)
class Plan:
    """Tasks, each after those that it needs.

    Laws: `missing` are exactly the tasks that a goal which is not in the cache cannot do without:
    what is needed only by something that was made before is not made again.
    """

    tasks: tuple[Task, ...]

    def __post_init__(self) -> None:
        known: set[str] = set()
        for task in self.tasks:
            if task.name in known or not set(task.needs) <= known:
                raise ValueError(f"task {task.name} comes twice, or before what it needs")
            known.add(task.name)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all tasks, in order."""
        return tuple(task.name for task in self.tasks)

    def task(self, name: str) -> Task:
        """By its name; raises `ConfigError` with the names that there are."""
        for task in self.tasks:
            if task.name == name:
                return task
        raise ConfigError(f"There is no step '{name}' here. There are: {', '.join(self.names)}.")

    def missing(self, cache: Cache, goals: Iterable[str]) -> tuple[Task, ...]:
        """The tasks that are to be done for `goals`, in order."""
        wanted = set(goals)
        found: list[Task] = []
        for task in reversed(self.tasks):
            if task.name in wanted and not cache.has(task.step):
                found.append(task)
                wanted |= set(task.needs)
        return tuple(reversed(found))


def step_after(
    name: str,
    version: int,
    parameters: Mapping[str, object],
    needs: Iterable[Task],
    *,
    inputs: tuple[str, ...] = (),
    models: tuple[str, ...] = (),
) -> Step:
    """A step whose inputs are what `needs` make, and then `inputs`."""
    keys = tuple(task.step.key for task in needs)
    return Step(name, version, parameters, (*keys, *inputs), models)
