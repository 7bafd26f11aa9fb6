"""Named settings of voice and controls, one JSON file each under `TIMBRAL_HOME`/presets."""

import os
import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from server.protocol import ControlValues, ProfileName, VoiceName
from stream.errors import ConfigError
from stream.home import default_home

NAME = re.compile(r"^[^\W_][\w .+-]{0,63}$")
BIGGEST = 16 * 1024  # bytes


class Preset(BaseModel):
    """A voice and how it is to speak. Controls that are absent stay at their defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    name: str = Field(pattern=NAME.pattern)
    voice: VoiceName
    profile: ProfileName = "auto"
    controls: ControlValues = ControlValues()


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
        return _read(path)

    def save(self, preset: Preset) -> Path:
        """Write a preset, over one of the same name."""
        path = self._path(preset.name)
        return _write(path, preset)

    def remove(self, name: str) -> None:
        """Delete a preset."""
        self._path(self.load(name).name).unlink()

    def add(self, path: Path, name: str | None = None) -> Preset:
        """Take a preset that somebody exported into the folder, under `name` if given."""
        if not path.is_file():
            raise ConfigError(f"No file {path}.")
        preset = _read(path)
        if name is not None:
            self._path(name)
            preset = preset.model_copy(update={"name": name})
        self.save(preset)
        return preset

    def export(self, name: str, path: Path) -> None:
        """Write a preset to a file of the user's choice."""
        if path.is_dir():
            path = path / f"{name}.json"
        if not path.parent.is_dir():
            raise ConfigError(f"There is no folder {path.parent} to write {path.name} to.")
        _write(path, self.load(name))

    def _path(self, name: str) -> Path:
        if not NAME.match(name):
            raise ConfigError(
                f"'{name}' is no name for a preset: begin with a letter or digit, and use "
                "letters, digits, spaces and . _ + - only, 64 at most."
            )
        return self.folder / f"{name}.json"


def _read(path: Path) -> Preset:
    try:
        if path.stat().st_size > BIGGEST:
            raise ConfigError(f"{path} is too big for a preset.")
        return Preset.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigError(f"{path} is no preset: {where}: {first['msg']}.") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from error


def _write(path: Path, preset: Preset) -> Path:
    beside = path.with_name(f".{path.stem}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(preset.model_dump_json(indent=2, exclude_none=True) + "\n", "utf-8")
        os.replace(beside, path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error}.") from error
    finally:
        beside.unlink(missing_ok=True)
    return path
