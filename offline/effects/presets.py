"""Presets of effects: TOML files, those of the package and the user's own."""

import re
import sys
from importlib.resources import files
from pathlib import Path

from pydantic import ValidationError

from offline.effects.chain import Chain, Convolution
from stream.errors import ConfigError
from stream.home import default_home

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NAME = re.compile(r"^[^\W_][\w .+-]{0,63}$")
BIGGEST = 64 * 1024  # bytes


class Presets:
    """Chains by name: the user's in `folder`, before those of the package.

    Methods raise `ConfigError`, which names the file and the key in it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder if folder is not None else default_home() / "effects"

    def names(self) -> list[str]:
        """All of them, sorted."""
        return sorted(self._places())

    def own(self, name: str) -> bool:
        """Whether it is the user's."""
        return (self.folder / f"{name}.toml").is_file()

    def load(self, name: str) -> Chain:
        """The chain of that name, or of that file: what ends in .toml is one."""
        if name.lower().endswith(".toml"):
            return read(Path(name))
        places = self._places()
        if name not in places:
            raise ConfigError(
                f"No preset of effects '{name}'. There are: {', '.join(sorted(places))}; your own "
                f"go into {self.folder} as NAME.toml, or give the path of a file."
            )
        return read(places[name])

    def _places(self) -> dict[str, Path]:
        own = sorted(self.folder.glob("*.toml")) if self.folder.is_dir() else []
        found = [*built_in(), *own]
        return {path.stem: path for path in found if NAME.match(path.stem)}


def built_in() -> list[Path]:
    """The files of the package."""
    folder = Path(str(files("offline.effects") / "built_in"))
    return sorted(folder.glob("*.toml"))


def read(path: Path) -> Chain:
    """A preset's chain; the files that it names are found from its folder. Raises `ConfigError`."""
    if not path.is_file():
        raise ConfigError(f"No file {path}.")
    try:
        if path.stat().st_size > BIGGEST:
            raise ConfigError(f"{path} is too big for a preset of effects.")
        chain = Chain.model_validate(tomllib.loads(path.read_text("utf-8")))
    except ValidationError as error:
        raise ConfigError(f"{path} is no preset of effects: {_told(error)}.") from error
    except (ValueError, RecursionError) as error:  # TOML's and UTF-8's own are ValueErrors
        raise ConfigError(f"{path} is no TOML: {error}.") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from error
    return _placed(chain, path.absolute().parent)


def _placed(chain: Chain, folder: Path) -> Chain:
    effects = tuple(
        effect.model_copy(update={"impulse": folder / effect.impulse})
        if isinstance(effect, Convolution)
        else effect
        for effect in chain.effects
    )
    return chain.model_copy(update={"effects": effects})


def _told(error: ValidationError) -> str:
    """The first fault: where it is, as `effects[2].reverb.room`, and what is allowed there."""
    first = error.errors()[0]
    where = ""
    for step in first["loc"]:
        where += f"[{step + 1}]" if isinstance(step, int) else f".{step}"
    said = "" if first["type"] in {"missing", "extra_forbidden"} else f" (it is {first['input']!r})"
    return f"{where.lstrip('.') or 'the file'}: {first['msg']}{said}"
