"""Who has a stream open, how many there may be, and how long each client has talked today.

No clock: the time is told, in seconds that only grow, and the day by a function.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import NamedTuple

from server.config import ServerConfig
from server.failures import POLICY, TRY_LATER, Refused
from server.tokens import write_beside


@dataclass(frozen=True)
class Pass:
    """What a client may do. By default everything: it is the only one, or holds the one token.

    voices        that it may speak with; None is all
    upload_bytes  of one voice that it may add; None is as much as the server takes
    max_jobs      that may wait or run; None is the server's
    """

    name: str
    voices: frozenset[str] | None = None
    max_streams: int | None = None
    minutes_per_day: float | None = None
    upload_bytes: int | None = None
    operator: bool = True
    max_jobs: int | None = None

    def may_speak(self, voice: str) -> bool:
        """Whether the voice is one of its own."""
        return self.voices is None or voice in self.voices

    def check_voice(self, voice: str) -> None:
        """Raise `Refused` for a voice that it may not speak with, as if there were none."""
        if not self.may_speak(voice):
            known = ", ".join(sorted(self.voices or ())) or "none"
            raise Refused("voice_not_found", f"No voice '{voice}'. There are: {known}.")


class Ledger:
    """Seconds of open streams by client, of one day; kept in a file, so that a restart forgets
    nothing. Law: the sum of a day is that of all that was told, whenever it was written and read.

    path   where it is kept; None keeps it in memory
    today  tells the day, UTC
    """

    def __init__(self, path: Path | None, today: Callable[[], date]) -> None:
        self._path = path
        self._today = today
        self._day = today()
        self._seconds: dict[str, float] = {}
        self._changed = False
        if path is not None and path.exists():
            self._read(path)

    def add(self, name: str, seconds: float) -> None:
        """`name` had a stream open for so long."""
        self._turn()
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds
        self._changed = True

    def seconds(self, name: str) -> float:
        """What `name` has used today."""
        self._turn()
        return self._seconds.get(name, 0.0)

    def save(self) -> None:
        """Write the file if there is something new. Raises `ConfigError`."""
        if self._changed and self._path is not None:
            held = {"day": self._day.isoformat(), "seconds": self._seconds}
            write_beside(self._path, json.dumps(held, indent=1) + "\n")
        self._changed = False

    def _turn(self) -> None:
        day = self._today()
        if day != self._day:
            self._day, self._seconds = day, {}

    def _read(self, path: Path) -> None:
        """A file that is damaged counts as nothing used: it guards no secret."""
        try:
            held = json.loads(path.read_text("utf-8"))
            if date.fromisoformat(held["day"]) == self._day:
                told = {str(name): float(used) for name, used in held["seconds"].items()}
                self._seconds = {name: used for name, used in told.items() if math.isfinite(used)}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self._seconds = {}


class _Place(NamedTuple):
    holder: Pass
    since: float


class Places:
    """The places of a server, and who has them.

    Law: never more than `most` are taken, and of one client never more than its own; what is taken
    is given back once, however often `leave` is called.
    """

    def __init__(self, most: int, ledger: Ledger) -> None:
        self._ledger = ledger
        self._places: dict[str, _Place] = {}
        self.most = most
        self.closed = False  # no more are given

    def __len__(self) -> int:
        return len(self._places)

    def enter(self, session: str, holder: Pass, now: float) -> None:
        """Take a place. Raises `Refused` when there is none, or the client has used up its own."""
        if self.closed:
            text = "The server is being shut down. Connect again: another may take over."
            raise Refused("overloaded", text, close=TRY_LATER)
        if len(self._places) >= self.most:
            text = f"All {self.most} streams of this server are in use. Try again later."
            raise Refused("overloaded", text, close=TRY_LATER)
        own = sum(place.holder.name == holder.name for place in self._places.values())
        if holder.max_streams is not None and own >= holder.max_streams:
            text = f"The {holder.max_streams} streams of this token are in use. Stop one first."
            raise Refused("overloaded", text, close=TRY_LATER)
        self.check_minutes(holder, now)
        self._places[session] = _Place(holder, now)

    def in_the_way(self, holder: Pass) -> list[str]:
        """The sessions of which one must go before `holder` can have a place; none if it can."""
        own = [] if self.closed else self.held_by([holder.name])
        if holder.max_streams is not None and len(own) >= holder.max_streams:
            return own
        return list(self._places) if len(self._places) >= self.most and not self.closed else []

    def leave(self, session: str, now: float) -> None:
        """Give the place back."""
        place = self._places.pop(session, None)
        if place is not None:
            self._ledger.add(place.holder.name, max(0.0, now - place.since))

    def check_minutes(self, holder: Pass, now: float) -> None:
        """Raise `Refused` when the client has used up its minutes of today."""
        if self._used_up(holder, now):
            raise _used_up(holder)

    def charge(self, holder: Pass, seconds: float) -> None:
        """The client has used so much outside of streams."""
        self._ledger.add(holder.name, seconds)

    def settle(self, now: float) -> None:
        """Write down what was used until now, so that a crash loses little."""
        for session, place in self._places.items():
            self._ledger.add(place.holder.name, max(0.0, now - place.since))
            self._places[session] = place._replace(since=now)
        self._ledger.save()

    def overdrawn(self, now: float) -> Mapping[str, Refused]:
        """Sessions whose client has used up its minutes, and what to tell them."""
        over = {
            place.holder.name: place.holder
            for place in self._places.values()
            if self._used_up(place.holder, now)
        }
        return {
            session: _used_up(place.holder)
            for session, place in self._places.items()
            if place.holder.name in over
        }

    def held_by(self, names: Iterable[str]) -> list[str]:
        """The sessions of these clients."""
        wanted = set(names)
        return [s for s, place in self._places.items() if place.holder.name in wanted]

    def by_client(self) -> Mapping[str, int]:
        """How many streams each client has open."""
        return Counter(place.holder.name for place in self._places.values())

    def _used_up(self, holder: Pass, now: float) -> bool:
        if holder.minutes_per_day is None:
            return False
        running = sum(
            now - place.since for place in self._places.values() if place.holder.name == holder.name
        )
        return self._ledger.seconds(holder.name) + running >= 60.0 * holder.minutes_per_day


def usage_path(config: ServerConfig) -> Path | None:
    """Where minutes are kept: beside the tokens that have them, by each replica for itself."""
    if config.tokens is None:
        return None
    own = f".{config.replica}.usage.json" if config.replica else ".usage.json"
    return config.tokens.with_suffix(own)


def _used_up(holder: Pass) -> Refused:
    text = (
        f"The {holder.minutes_per_day:g} minutes a day of this token are used up; "
        "there are more from midnight UTC on."
    )
    return Refused("unauthorized", text, close=POLICY)
