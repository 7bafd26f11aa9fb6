"""Many songs: folders and lists of them, names for their covers, and going on after a break."""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from offline.cover.make import Cover
from offline.cover.settings import CoverSettings, Formats
from stream.errors import AudioError, Cancelled, ConfigError, TimbralError

LISTS = {".txt", ".m3u", ".m3u8"}
SONGS = {
    *(".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".wma"),
    *(".mp4", ".mkv", ".webm", ".mov", ".avi", ".w64", ".wv", ".ac3", ".mka"),
}
RECORD = "cover.json"


class Request(BaseModel):
    """What the command was asked for: enough to go on with it later."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: tuple[str, ...]
    out: str
    single: bool
    format: Formats
    settings: CoverSettings
    step: str | None = None
    f0_in: str | None = None
    f0_out: str | None = None
    report: bool = False
    device: str = "auto"

    def keep(self, home: Path) -> None:
        """Write it down, for `kept`; raises `ConfigError`."""
        beside = home / f".{RECORD}.{os.getpid()}.tmp"
        try:
            home.mkdir(parents=True, exist_ok=True)
            beside.write_text(self.model_dump_json(indent=1), "utf-8")
            os.replace(beside, home / RECORD)
        except OSError as error:
            raise ConfigError(f"{home} cannot be written to: {error}.") from error
        finally:
            with suppress(OSError):
                beside.unlink(missing_ok=True)


def kept(home: Path) -> Request:
    """The request that was broken off; raises `ConfigError` when there is none."""
    path = home / RECORD
    try:
        return Request.model_validate(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        raise ConfigError("No cover was broken off: name the songs.") from None
    except (ValidationError, ValueError, OSError) as error:
        raise ConfigError(f"{path} cannot be read: name the songs again.") from error


def done(home: Path) -> None:
    """Forget the request: it was carried out."""
    (home / RECORD).unlink(missing_ok=True)


def is_address(source: str) -> bool:
    """Whether a song is somewhere on the network.

    >>> is_address("https://example.org/song"), is_address("C:/songs/a.mp3")
    (True, False)
    """
    return source.startswith(("http://", "https://"))


def sources_of(names: Iterable[str]) -> tuple[str, ...]:
    """The songs that `names` mean: files, addresses, folders and lists, each once and absolute.

    Of a folder, what lies in it and below under the name of a sound or video; of a list (.txt,
    .m3u), one name a line, `#` begins a remark, files are found from where the list is. Raises
    `AudioError` where there is none.
    """
    found: dict[str, None] = {}
    for name in names:
        songs = list(_songs(name))
        if not songs:
            raise AudioError(f"{name} holds no songs.")
        found |= dict.fromkeys(songs)
    return tuple(found)


def _songs(name: str) -> Iterator[str]:
    path = Path(name).expanduser()
    if is_address(name):
        yield name
    elif path.is_dir():
        inside = (file for file in path.rglob("*") if file.suffix.lower() in SONGS)
        hidden = (file for file in inside if not file.name.startswith("."))
        yield from (str(file.absolute()) for file in sorted(hidden) if file.is_file())
    elif path.suffix.lower() in LISTS:
        yield from _listed(path)
    elif path.is_file():
        yield str(path.absolute())
    else:
        raise AudioError(f"No file {name}.")


def _listed(path: Path) -> Iterator[str]:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AudioError(f"{path} cannot be read: {error}.") from error
    for line in map(str.strip, lines):
        if line and not line.startswith("#"):
            yield line if is_address(line) else str((path.parent / line).absolute())


def targets_of(request: Request) -> tuple[Path, ...]:
    """A file for each song's cover (of a step alone: a folder); no two are the same."""
    out, many = Path(request.out), len(request.sources) > 1
    if request.single:
        return (out,)
    names: list[str] = []
    for source in request.sources:
        stem = source.rstrip("/").rpartition("/")[2] if is_address(source) else Path(source).stem
        name = f"{_plain(stem)} ({request.settings.voice})"
        count = sum(other == name or other.startswith(f"{name} #") for other in names)
        names.append(f"{name} #{count + 1}" if count else name)
    if request.step:
        return tuple(out / name if many else out for name in names)
    return tuple(out / f"{name}.{request.format}" for name in names)


def _plain(text: str) -> str:
    """`text` as a file may be called everywhere."""
    kept = "".join(char if char.isalnum() or char in " .,-_+'()[]&!" else "_" for char in text)
    return kept.strip(" .")[:120] or "song"


@dataclass(frozen=True)
class Result:
    """What became of a song: a cover, or the reason why not."""

    source: str
    target: Path
    cover: Cover | None
    why: str
    took: float  # s


def batch(
    request: Request, make: Callable[[str, Path], Cover], told: Callable[[Result], Any]
) -> list[Result]:
    """Make all covers; a song that cannot be made ends nothing. `told` hears of each at once.

    Ctrl-C ends all of it, and so does an error that is no `TimbralError`.
    """
    results: list[Result] = []
    for source, target in zip(request.sources, targets_of(request), strict=True):
        begun = time.monotonic()
        cover, why = _tried(lambda source=source, target=target: make(source, target))
        results.append(Result(source, target, cover, why, time.monotonic() - begun))
        told(results[-1])
    return results


def _tried(make: Callable[[], Cover]) -> tuple[Cover | None, str]:
    try:
        return make(), ""
    except Cancelled:
        raise
    except TimbralError as error:
        return None, str(error)
