"""Named settings of voice and controls, one JSON file each under `TIMBRAL_HOME`/presets.

Between people and programs they travel as `Exchange`, which the web page reads and writes too.
"""

import os
import re
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from server.protocol import ControlValues, ProfileName
from stream.errors import ConfigError
from stream.home import default_home

NAME = re.compile(r"^[^\W_][\w .+-]{0,63}$")
BIGGEST = 16 * 1024  # bytes


class Preset(BaseModel):
    """A voice and how it is to speak. Controls that are absent stay at their defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    name: str = Field(pattern=NAME.pattern)
    voice: str = Field(default="", max_length=64)  # "": whichever speaks
    profile: ProfileName = "auto"
    controls: ControlValues = ControlValues()


class Exchange(BaseModel):
    """Presets on their way to somebody else."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timbral_presets: Literal[1] = 1
    presets: tuple[Preset, ...]


class Presets:
    """The presets in a folder. Methods raise `ConfigError`."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder if folder is not None else default_home() / "presets"

    def names(self) -> list[str]:
        """All of them, sorted."""
        return sorted(path.stem for path in self.folder.glob("*.json") if NAME.match(path.stem))

    def load(self, name: str) -> Preset:
        """The preset of that name."""
        path = self._path(name)
        if not path.is_file():
            known = ", ".join(self.names()) or "none"
            raise ConfigError(f"No preset '{name}'. There are: {known}.")
        return _read(path, Preset)

    def save(self, preset: Preset) -> Path:
        """Write a preset, over one of the same name."""
        path = self._path(preset.name)
        return _write(path, preset.model_dump_json(indent=2, exclude_none=True))

    def remove(self, name: str) -> None:
        """Delete a preset."""
        self._path(self.load(name).name).unlink()

    def add(self, path: Path) -> list[Preset]:
        """Take the presets that somebody exported into the folder, over those of the same names."""
        if not path.is_file():
            raise ConfigError(f"No file {path}.")
        found = _read(path, Exchange).presets
        for preset in found:
            self.save(preset)
        return list(found)

    def export(self, name: str, path: Path) -> None:
        """Write a preset to a file of the user's choice."""
        if path.is_dir():
            path = path / f"{name}.json"
        if not path.parent.is_dir():
            raise ConfigError(f"There is no folder {path.parent} to write {path.name} to.")
        told = Exchange(presets=(self.load(name),))
        unsaid = {"presets": {"__all__": {"format", "profile"}}}
        _write(path, told.model_dump_json(indent=2, exclude_none=True, exclude=unsaid))

    def _path(self, name: str) -> Path:
        if not NAME.match(name):
            raise ConfigError(
                f"'{name}' is no name for a preset: begin with a letter or digit, and use "
                "letters, digits, spaces and . _ + - only, 64 at most."
            )
        return self.folder / f"{name}.json"


Told = TypeVar("Told", Preset, Exchange)


def _read(path: Path, kind: type[Told]) -> Told:
    try:
        if path.stat().st_size > BIGGEST:
            raise ConfigError(f"{path} is too big for a preset.")
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigError(f"{path} is no preset: {where}: {first['msg']}.") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from error


def _write(path: Path, text: str) -> Path:
    beside = path.with_name(f".{path.stem}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text + "\n", "utf-8")
        os.replace(beside, path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error}.") from error
    finally:
        beside.unlink(missing_ok=True)
    return path
