"""Which files there are, and whose voice is in them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stream.errors import AudioError, ConfigError

Speakers = Literal["one", "folders"]

SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".m4b", ".aac", ".ac3", ".wma"),
    *(".aif", ".aiff", ".aifc", ".au", ".caf", ".w64", ".rf64", ".wv", ".amr", ".mka"),
    *(".mp4", ".mkv", ".mov", ".avi", ".webm", ".3gp"),
)
"""What is taken for audio or video in a folder. A file that is named itself is always taken."""


@dataclass(frozen=True)
class Source:
    """A file to learn from.

    name     how reports call it: its path inside the folder that was given
    speaker  number of the person
    """

    name: str
    path: Path
    speaker: int


@dataclass(frozen=True)
class Collection:
    """All files, in a fixed order, and the people's names."""

    speakers: tuple[str, ...]
    sources: tuple[Source, ...]


def collect(given: Sequence[str | Path], speakers: Speakers = "one") -> Collection:
    """The audio files among `given` and in the folders among them.

    given     PATH, or NAME=PATH for what NAME says; with one NAME= all must have one
    speakers  "folders": each sub-folder of a folder that was given is a person of that name

    Law: the result does not depend on the order in which a disk lists its files; a file that is
    given twice is taken once. Raises `ConfigError` for a contradiction and `AudioError` where
    there is no file, or no audio at all.
    """
    if not given:
        raise ConfigError("Name the recordings to learn from: audio files, or folders of them.")
    pairs = [_named(item) for item in given]
    if any(name for name, _ in pairs) and not all(name for name, _ in pairs):
        raise ConfigError("Either every path has a speaker's name, as in ada=recordings/, or none.")
    if speakers == "folders" and pairs[0][0]:
        raise ConfigError("NAME=PATH names the speakers already; leave out `--speakers folders`.")
    found: dict[Path, tuple[str, str]] = {}  # real path: speaker, name
    for name, path in pairs:
        for file, who, shown in _files(path, name, speakers):
            found.setdefault(file, (who, shown))
    if not found:
        places = ", ".join(str(path) for _, path in pairs)
        raise AudioError(
            f"There is no audio in {places}. Put recordings there: WAV, FLAC, Ogg, MP3, M4A …"
        )
    names = tuple(dict.fromkeys(sorted(who for who, _ in found.values())))
    listed = sorted(found.items(), key=lambda item: (item[1][0], item[1][1], str(item[0])))
    sources = [Source(shown, file, names.index(who)) for file, (who, shown) in listed]
    return Collection(names, tuple(_distinct(sources)))


def _named(item: str | Path) -> tuple[str, Path]:
    """NAME=PATH apart; a path that exists as it stands is one, whatever is in its name."""
    text = str(item)
    name, equals, rest = text.partition("=")
    if isinstance(item, Path) or not equals or Path(text).exists():
        return "", Path(item)
    if not name.strip() or "/" in name or not rest:
        raise ConfigError(f"{text!r} is neither a path that exists nor NAME=PATH.")
    return name.strip(), Path(rest)


def _files(path: Path, name: str, speakers: Speakers) -> list[tuple[Path, str, str]]:
    """Real path, speaker, and the name to show, of each file."""
    if path.is_file():
        return [(path.resolve(), name or "voice", path.name)]
    if not path.is_dir():
        raise AudioError(f"No file or folder {path}.")
    found: list[tuple[Path, str, str]] = []
    for folder, below, files in os.walk(path):
        below[:] = sorted(each for each in below if not each.startswith("."))
        for each in sorted(files):
            file = Path(folder) / each
            if each.startswith(".") or file.suffix.lower() not in SUFFIXES:
                continue
            inside = file.relative_to(path)
            who = name or "voice"
            if speakers == "folders":
                if len(inside.parts) == 1:
                    raise ConfigError(
                        f"{file} lies beside the speakers' folders. With `--speakers folders` "
                        "every recording belongs into the folder of whoever speaks."
                    )
                who = inside.parts[0]
            found.append((file.resolve(), who, inside.as_posix()))
    return found


def _distinct(sources: list[Source]) -> list[Source]:
    """The same with names that differ: of equal ones, the folder before them is told too."""
    seen: dict[str, int] = {}
    for source in sources:
        seen[source.name] = seen.get(source.name, 0) + 1
    return [
        source if seen[source.name] == 1 else Source(str(source.path), source.path, source.speaker)
        for source in sources
    ]
