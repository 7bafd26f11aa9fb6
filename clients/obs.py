"""The OBS filter on this machine: where OBS looks for plugins, and putting the filter there.

The filter is built from `obs_plugin/` (see its README) or downloaded; what is copied is a folder
`timbral` with the library and its texts. No OBS needs to run for it.
"""

import os
import platform
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stream.errors import ConfigError

PLUGIN = "timbral"
CHECKOUT = Path(__file__).parent.parent / "obs_plugin"
LIBRARIES = {"Linux": "timbral.so", "Windows": "timbral.dll", "Darwin": "timbral"}
NEXT = (
    "Restart OBS. Then: right-click your microphone in the mixer, Filters, + under Audio Filters, "
    "Voice changer (timbral)."
)


@dataclass(frozen=True)
class Place:
    """A folder in which some OBS looks for plugins."""

    name: str  # user, flatpak, system …
    folder: Path
    is_there: bool  # whether such an OBS seems to be installed
    is_ours: bool = True  # whether to install there; packages own the system's

    @property
    def plugin(self) -> Path:
        """Where the filter is, or would be."""
        return self.folder / (f"{PLUGIN}.plugin" if platform.system() == "Darwin" else PLUGIN)

    @property
    def installed(self) -> bool:
        """Whether the filter is there."""
        found = self.plugin.is_dir() or (self.folder / LIBRARIES["Linux"]).is_file()
        return found


def places(home: Path | None = None, *, system: str | None = None) -> list[Place]:
    """Every place that an OBS of this user may look into, the likeliest first."""
    home = Path.home() if home is None else home
    system = platform.system() if system is None else system
    if system == "Windows":
        data = Path(os.environ.get("PROGRAMDATA", "C:/ProgramData"))
        programs = Path(os.environ.get("PROGRAMFILES", "C:/Program Files"))
        there = (programs / "obs-studio").is_dir()
        return [Place("all users", data / "obs-studio" / "plugins", there)]
    if system == "Darwin":
        there = Path("/Applications/OBS.app").is_dir()
        support = home / "Library" / "Application Support" / "obs-studio"
        return [Place("user", support / "plugins", there)]
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "obs-studio"
    flatpak = home / ".var/app/com.obsproject.Studio"
    found = [
        Place("user", config / "plugins", config.is_dir() or shutil.which("obs") is not None),
        Place("flatpak", flatpak / "config/obs-studio/plugins", flatpak.is_dir()),
    ]
    owned = [Path("/usr/lib/obs-plugins"), *sorted(Path("/usr/lib").glob("*/obs-plugins"))]
    return found + [Place("system", path, True, False) for path in owned if path.is_dir()]


def built(start: Path = CHECKOUT) -> Path:
    """The folder of the filter, ready to copy. Raises `ConfigError` when it was not built."""
    for folder in (start, *sorted((start / "build").glob("*/installed"))):
        if _is_plugin(folder / PLUGIN):
            return folder / PLUGIN
        if _is_plugin(folder):
            return folder
    raise ConfigError(
        f"No built filter in {start}. Build it: cmake -S obs_plugin -B obs_plugin/build/here && "
        "cmake --build obs_plugin/build/here && cmake --install obs_plugin/build/here --prefix "
        "obs_plugin/build/here/installed; or name the folder of a download with `--source`."
    )


def install(source: Path, target: Place) -> Path:
    """Copy the filter's folder; what was there before is replaced as a whole. Returns where it is.

    Raises `ConfigError` when the place cannot be written to.
    """
    try:
        target.folder.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{PLUGIN}-", dir=target.folder))
        try:
            shutil.copytree(source, fresh / PLUGIN)
            if target.plugin.exists():
                target.plugin.rename(fresh / "before")
            (fresh / PLUGIN).rename(target.plugin)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except OSError as error:
        raise ConfigError(
            f"Cannot write to {target.folder}: {error}. Name another folder with `--folder`."
        ) from error
    return target.plugin


def choose(known: Iterable[Place]) -> list[Place]:
    """Where to install unless told otherwise: in every OBS of this user's that is here."""
    chosen = [place for place in known if place.is_there and place.is_ours]
    if not chosen:
        raise ConfigError(
            "No OBS was found. Install OBS 28 or newer and start it once; of a portable one, name "
            "the plugin folder with `--folder`."
        )
    return chosen


def _is_plugin(folder: Path) -> bool:
    files = (folder / "bin/64bit" / name for name in LIBRARIES.values())
    return any(file.is_file() for file in files) or (folder / "Contents/MacOS").is_dir()
