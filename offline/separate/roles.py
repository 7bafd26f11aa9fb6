"""What separators take apart, and what they call it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from offline.separate.protocol import INSTRUMENTAL, VOCALS
from stream.errors import ConfigError

Task = Literal["vocals", "lead", "dereverb", "denoise"]


@dataclass(frozen=True)
class Roles:
    """`target` is what is wanted of a sound; `rest` is the sound without it."""

    target: str
    rest: str


class Parted:
    """What a separator's `roles` tell of its stems."""

    roles: Roles

    @property
    def target(self) -> str:
        """What is wanted."""
        return self.roles.target

    @property
    def rest(self) -> str:
        """The song without it."""
        return self.roles.rest

    @property
    def stems(self) -> tuple[str, ...]:
        """`target` and `rest`."""
        return (self.target, self.rest)


TASKS: Mapping[Task, Roles] = MappingProxyType(
    {
        "vocals": Roles(VOCALS, INSTRUMENTAL),
        "lead": Roles("lead", "backing"),
        "dereverb": Roles("dry", "reverb"),
        "denoise": Roles("clean", "noise"),
    }
)

# How published models call their stems, in lower case; True: it is the task's target.
INSTRUMENTS: Mapping[str, tuple[Task, bool]] = MappingProxyType(
    {
        "vocals": ("vocals", True),
        "instrumental": ("vocals", False),
        "no vocals": ("vocals", False),
        "other": ("vocals", False),
        "karaoke": ("lead", True),
        "lead": ("lead", True),
        "lead vocals": ("lead", True),
        "backing": ("lead", False),
        "backing vocals": ("lead", False),
        "dry": ("dereverb", True),
        "noreverb": ("dereverb", True),
        "no reverb": ("dereverb", True),
        "no echo": ("dereverb", True),
        "reverb": ("dereverb", False),
        "echo": ("dereverb", False),
        "clean": ("denoise", True),
        "no noise": ("denoise", True),
        "noise": ("denoise", False),
    }
)


def roles_of(names: Iterable[str], task: Task | None = None) -> tuple[Roles, tuple[str, ...]]:
    """The roles of a model whose stems are called `names`, and our names for these, in order.

    The first stem that is known says what the model is for, unless `task` does. A stem that has no
    role there keeps its name. Raises `ConfigError` where none has one.

    >>> roles_of(["Drums", "Bass", "Other", "Vocals"], "vocals")[1]
    ('drums', 'bass', 'other', 'vocals')
    >>> roles_of(["Reverb"])
    (Roles(target='dry', rest='reverb'), ('reverb',))
    """
    lower = [name.lower().replace("_", " ") for name in names]
    meant = task
    for name in reversed(lower):
        if not task and name in INSTRUMENTS:
            meant = INSTRUMENTS[name][0]
    known = ", ".join(INSTRUMENTS)
    if meant is None:
        raise ConfigError(f"Nothing says what {', '.join(lower)} is for. Known names: {known}.")
    roles = TASKS[meant]
    ours: list[str] = []
    for name in lower:
        found, is_target = INSTRUMENTS.get(name, (None, False))
        several = name == "other" and len(lower) > 2  # then it is not all but the voice
        if found != meant or several:
            ours.append(name)
        else:
            ours.append(roles.target if is_target else roles.rest)
    if not {roles.target, roles.rest} & set(ours):
        raise ConfigError(f"{', '.join(lower)} is no stem to take {roles.target} from.")
    return roles, tuple(ours)
