"""Covers of a song whose parts are known, made in a folder of a test."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import halves

from offline.cache import Cache
from offline.cover.make import Cover, Wanted, make_cover
from offline.cover.settings import checked
from stream.errors import Cancelled


class Seen:
    """A watcher that remembers all that was to be done; `ends_in` is broken off once it goes."""

    def __init__(self, ends_in: str = "") -> None:
        self.missing: tuple[str, ...] = ()
        self.ends_in = ends_in

    def planned(self, missing: tuple[str, ...], kept: tuple[str, ...]) -> None:
        self.missing += missing

    def progress(self, name: str, done: int, total: int) -> None:
        if name == self.ends_in and done > 1:
            raise Cancelled("enough")


class Studio:
    """A folder with a song, and a cache that is kept between covers of it."""

    def __init__(self, folder: Path, song: str = "song.wav") -> None:
        self.folder, self.home = folder, folder / "home"
        self.song = halves.write_song(folder / song)
        self.cache = Cache(folder / "cache")
        self.tools = halves.tools(self.home)

    def make(
        self,
        values: Mapping[str, Any] | None = None,
        *,
        name: str = "cover.wav",
        seen: Seen | None = None,
        song: Path | None = None,
        **wanted: Any,
    ) -> Cover:
        """The cover with these settings; `wanted` beside its file, see `Wanted`."""
        return make_cover(
            song or self.song,
            checked(values or {}),
            Wanted(self.folder / name, **wanted),
            tools=self.tools,
            cache=self.cache,
            workers=2,
            watcher=seen,
        )
