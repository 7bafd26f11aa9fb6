"""The work of a job: one song into a cover."""

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from offline.cache import Cache
from offline.cover.make import Wanted, make_cover
from offline.cover.settings import CoverSettings, Formats, Separation, checked
from offline.cover.tools import standard_tools
from offline.effects.presets import Presets
from offline.jobs.job import Order, Told
from offline.separate.models import Fetching, available, fetch_default
from stream.device import Device
from stream.errors import ConfigError, VoiceNotFound
from stream.models.store import Store

FORMAT = "format"  # the one key of a job's settings that is not the cover's
CACHE_BYTES = 20_000_000_000  # what the cache may grow to
SPARED_SECONDS = 24 * 3600  # what was used within a day stays anyway


def settings_of(values: Mapping[str, Any]) -> tuple[CoverSettings, Formats]:
    """A job's settings: those of a cover, and the `format` of its file.

    Raises `ConfigError` for the first that is wrong.
    """
    given = dict(values)
    format = given.pop(FORMAT, "flac")
    if format not in get_args(Formats):
        raise ConfigError(f"{FORMAT} is one of {', '.join(get_args(Formats))}.")
    return checked(given), format


def guard(settings: CoverSettings, home: Path) -> None:
    """Raise `ConfigError` or `VoiceNotFound` unless all that is named lies ready in `home`.

    Law: settings that passed make nobody open a file of this machine, or fetch one from elsewhere,
    because a stranger named it.
    """
    store, presets = Store(home), Presets(home / "effects")
    for voice in voices_of(settings):
        if voice not in store.names():
            raise VoiceNotFound(voice, store.names())
    for name in (settings.effects, settings.backing_effects):
        if name and (name not in presets.names() or name.lower().endswith(".toml")):
            raise ConfigError(
                f"There is no preset of effects {name!r} here. "
                f"There are: {', '.join(presets.names())}."
            )
    known = available(home)
    for name in _models(settings):
        if name not in known:
            raise ConfigError(f"There is no separator {name!r} here. There are: {', '.join(known)}")


def voices_of(settings: CoverSettings) -> tuple[str, ...]:
    """Who sings in it."""
    return tuple(name for name in (settings.voice, settings.backing_voice) if name)


def make(order: Order, told: Told) -> float:
    """See `Work`."""
    os.environ["TIMBRAL_HOME"] = str(order.home)  # presets of effects are found by it
    settings, _ = settings_of(order.settings)
    fetch_default(_models(settings), order.home, _fetching(told))
    cache = Cache(order.home / "cache")
    cover = make_cover(
        order.source,
        settings,
        Wanted(order.target),
        tools=standard_tools(Store(order.home), Device.parse(order.device)),
        cache=cache,
        workers=order.threads,
        watcher=Watching(told),
    )
    cache.prune(CACHE_BYTES, spare_seconds=SPARED_SECONDS)
    return cover.song.seconds


@dataclass(frozen=True)
class Watching:
    """A cover's watcher that tells of its steps as jobs do."""

    told: Told

    def planned(self, missing: tuple[str, ...], kept: tuple[str, ...]) -> None:
        """See `offline.cover.run.Watcher`."""
        for name in missing:
            self.told(name, 0, 1)
        for name in kept:
            self.told(name, 1, 1)

    def progress(self, name: str, done: int, total: int) -> None:
        """See `offline.cover.run.Watcher`."""
        self.told(name, done, total)


def _models(settings: CoverSettings) -> list[str]:
    steps = (settings.separate, settings.lead, settings.dereverb, settings.denoise)
    return [name for step in steps if isinstance(step, Separation) for name in step.models]


def _fetching(told: Told) -> Fetching:
    @contextmanager
    def fetching(_title: str) -> Generator[Any]:
        yield lambda done, total: told("fetch", done, total)

    return fetching
