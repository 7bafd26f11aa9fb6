"""Separators by name: the one that is always there, files that people have, other packages."""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from offline.separate.digest import digest_of
from offline.separate.ensemble import Domain, Method, together
from offline.separate.protocol import Separator
from offline.separate.roles import TASKS, Task, roles_of
from offline.separate.settings import CheckpointSettings, MdxSettings, settings_of
from offline.separate.windowed import Windowed
from stream.device import CPU, Device
from stream.errors import ConfigError, ModelNotFound
from stream.models.assets import installed, manifest
from stream.models.digest import sha256

DEFAULT = "spleeter"
ASSET = "spleeter-2stems"  # what it is called among the models that can be pulled
FOLDER = "separators"  # in the home folder: where people put model files
ENDINGS = (".onnx", ".ckpt", ".pth", ".pt", ".th", ".chpt", ".bin", ".safetensors")
Fetching = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]


def open_separator(
    names: Sequence[str],
    home: Path,
    *,
    method: Method = "mean",
    domain: Domain = "wave",
    weights: Sequence[float] = (),
    device: Device = CPU,
    threads: int = 0,
) -> Separator:
    """The model of that name, or an ensemble of several.

    names    `spleeter`, the name of a file in `home`/separators, a path, or
             `audio-separator:NAME` for one of that package's
    threads  for all together; 0 takes every core

    Raises `ConfigError` for settings that are wrong, `AssetMissing` and `ModelNotFound` with what
    to do, and what opening a damaged file raises.
    """
    if not names:
        raise ConfigError(f"Name a model to separate with, such as {DEFAULT}.")
    each = max(1, (threads or os.cpu_count() or 1) // len(names))
    members = [_open(name, home, device, each) for name in names]
    return together(members, method, domain, weights)


def fetch_default(names: Sequence[str], home: Path, fetching: Fetching) -> None:
    """Install Spleeter in `home` if it is among `names` and not there yet.

    fetching   shows a download: called with a title, it gives a context of a progress callback

    Raises `DownloadFailed`, which says how to bring the file from another machine.
    """
    if DEFAULT not in names or installed(home, ASSET):
        return
    from stream.importer.pull import Source, converter, pull

    with fetching("Fetching Spleeter, once") as show:
        pull([ASSET], home, manifest(), Source(), progress=show, convert=converter)


def available(home: Path) -> list[str]:
    """The names of what can be opened here without fetching anything but Spleeter."""
    folder = home / FOLDER
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return [DEFAULT, *(path.stem for path in files if path.suffix.lower() in ENDINGS)]


def _open(name: str, home: Path, device: Device, threads: int) -> Separator:
    from offline.separate.audio_separator import PREFIX

    if name == DEFAULT:
        return _spleeter(home, device, threads)
    if name.startswith(PREFIX):
        return _other(name[len(PREFIX) :], home)
    path = _find(name, home)
    settings = settings_of(path)
    if isinstance(settings, MdxSettings):
        return _mdx(path, settings, device, threads)
    return _checkpoint(path, settings)


def _spleeter(home: Path, device: Device, threads: int) -> Separator:
    from offline.separate.spleeter import Spleeter
    from stream.models.assets import missing

    folder = home / "models" / ASSET
    if not folder.is_dir():
        raise missing(ASSET, "separator", home, needed_by="Taking a song apart")
    net = Spleeter(folder, device=device, threads=threads)
    digest = digest_of(DEFAULT, {}, *net.card.files.values())
    return Windowed(net, TASKS["vocals"], digest)


def _mdx(path: Path, settings: MdxSettings, device: Device, threads: int) -> Separator:
    from offline.separate.mdx import MdxNet

    roles, (stem,) = roles_of([settings.stem], settings.task)
    net = MdxNet(path, settings, stem, device=device, threads=threads)
    digest = digest_of("mdx", settings.model_dump(mode="json"), sha256(path))
    return Windowed(net, roles, digest, _hop(net.window - 2 * net.edge, settings.overlap))


def _checkpoint(path: Path, settings: CheckpointSettings) -> Separator:
    from offline.separate.pymss import CheckpointNet

    net = CheckpointNet(path, settings)
    contents = (sha256(path), sha256(net.config_path))
    digest = digest_of("checkpoint", settings.model_dump(mode="json"), *contents)
    return Windowed(net, net.roles, digest, _hop(net.window, settings.overlap))


def _other(name: str, home: Path) -> Separator:
    from offline.separate.audio_separator import adapt, open_tool

    models = home / FOLDER / "audio-separator"
    models.mkdir(parents=True, exist_ok=True)
    tool = open_tool(name, models, models)
    file = models / name
    content = sha256(file) if file.is_file() else name
    return adapt(name, tool, models, digest_of("audio-separator", {"name": name}, content))


def _hop(usable: int, overlap: float) -> int:
    return max(1, round(usable * (1 - overlap)))


def _find(name: str, home: Path) -> Path:
    folder = home / FOLDER
    given = Path(name).expanduser()
    for path in (given, folder / name, *(folder / (name + end) for end in ENDINGS)):
        if path.is_file() and path.suffix.lower() in ENDINGS:
            return path
    here = ", ".join(available(home))
    raise ModelNotFound(
        given if given.suffix else folder / name,
        f"Put the model's file into {folder} (.onnx or .ckpt, with its .yaml or .json), or take "
        f"one that is here: {here}.",
    )


def task_of(separator: Separator) -> Task | None:
    """What a separator is for, by what it gives; None for something of its own."""
    return next((task for task, roles in TASKS.items() if roles.target == separator.target), None)
