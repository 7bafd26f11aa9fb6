"""Brings published models into the store: downloads, checks, converts."""

import errno
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from stream.errors import ConfigError, DownloadFailed
from stream.importer import wheels
from stream.importer.download import Patience, fetch, holds, no_room
from stream.models.assets import (
    AssetSpec,
    Kind,
    Manifest,
    RemoteFile,
    Strict,
    installed,
    megabytes,
)

BASE_CARD, WORDS_CARD, SPEECH_CARD = "base.json", "words.json", "speech.json"
WHEELS = "wheels"  # the folder in downloads that packages lie in

Progress = Callable[[int, int], None]
"""Called with the bytes that are here and the bytes that there will be."""


class Convert(Protocol):
    """Makes the downloaded files of an asset into the folder models/`identity` in the store."""

    def __call__(
        self, files: Sequence[Path], identity: str, home: Path, *, licence: str, source: str
    ) -> object: ...


class BaseCard(Strict):
    """`base.json`, `words.json`, `speech.json`: files that are kept as they are published."""

    id: str
    licence: str
    source: str
    files: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the files are to come from.

    mirror     the start of an address that is asked first; empty for none
    folder     a folder to take them from instead of the network
    """

    mirror: str = ""
    folder: Path | None = None
    patience: Patience = field(default_factory=Patience)


def pull(
    identities: Iterable[str],
    home: Path,
    manifest: Manifest,
    source: Source,
    *,
    progress: Progress,
    convert: Callable[[Kind], Convert],
) -> list[AssetSpec]:
    """Install the assets that are not installed yet into the store at `home`; returns those.

    Files are kept in `home`/downloads until every asset that needs them is installed, so nothing
    is fetched twice, and an interrupted pull goes on where it stopped. Raises `ConfigError`,
    `DownloadFailed`, and what the conversion raises.
    """
    wanted = [manifest.asset(identity) for identity in dict.fromkeys(identities)]
    wanted = [asset for asset in wanted if not installed(home, asset.id)]
    chosen = [_choose(asset, manifest, source.folder) for asset in wanted]
    sizes = {key: manifest.files[key].size for files in chosen for key in files}
    here = dict.fromkeys(sizes, 0)

    def show(key: str, done: int) -> None:
        here[key] = done
        progress(sum(here.values()), sum(sizes.values()))

    downloads = home / "downloads"
    for i, asset in enumerate(wanted):
        for key, found in chosen[i].items():
            _bring(downloads, key, found, manifest, source, partial(show, key))
            show(key, manifest.files[key].size)
        try:
            convert(asset.kind)(
                [downloads / key for key in chosen[i]],
                asset.id,
                home,
                licence=asset.licence,
                source=asset.source,
            )
        except OSError as error:
            raise _told(error, home, manifest.size(asset)) from error
        for key in set(chosen[i]).difference(*chosen[i + 1 :]):
            _forget(downloads, key)
    _forget_wheels(downloads)
    return wanted


def _bring(
    downloads: Path,
    key: str,
    found: Path | None,
    manifest: Manifest,
    source: Source,
    progress: Callable[[int], None],
) -> None:
    """Make `downloads`/`key` the file of that key: `found`, or from the network."""
    target, file = downloads / key, manifest.files[key]
    if holds(target, file):
        return
    if file.wheel is not None and not (found and holds(found, file)):
        wheels.unpack(file, found or wheels.download(file.wheel, downloads / WHEELS), target)
        return
    if found is None:
        addresses = manifest.addresses(file, source.mirror)
        fetch(file, addresses, target, progress=progress, patience=source.patience)
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        _link(found, target)
    except OSError as error:
        raise _told(error, target.parent, file.size) from error


def _told(error: OSError, place: Path, need: int) -> Exception:
    """What to tell of an error of the disk."""
    if error.errno == errno.ENOSPC:
        return no_room(place, need)
    return DownloadFailed(f"{place} cannot be written: {error}.")


def converter(kind: Kind) -> Convert:
    """What makes assets of that kind out of the files that are published."""
    if kind == "encoder":
        from stream.importer.encoders import add_encoder

        return add_encoder
    if kind == "f0":
        from stream.importer.detectors import add_detector

        return add_detector
    if kind == "speaker":
        from stream.importer.speakers import add_speaker

        return add_speaker
    if kind == "separator":
        from stream.importer.separators import add_separator

        return add_separator
    if kind == "words":
        return partial(_keep, WORDS_CARD)
    if kind == "speech":
        return partial(_keep, SPEECH_CARD)
    return add_base


def add_base(
    files: Sequence[Path], identity: str, home: Path, *, licence: str, source: str
) -> None:
    """Keep the checkpoints as they are, with a card, in models/`identity`; all or nothing."""
    _keep(BASE_CARD, files, identity, home, licence=licence, source=source)


def _keep(
    name: str, files: Sequence[Path], identity: str, home: Path, *, licence: str, source: str
) -> None:
    from stream.models.digest import sha256

    models = home / "models"
    beside = models / f".{identity}.adding"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        for path in files:
            _link(path, beside / path.name)
        card = BaseCard(
            id=identity,
            licence=licence,
            source=source,
            files={path.name: sha256(beside / path.name) for path in files},
        )
        (beside / name).write_text(card.model_dump_json(indent=2) + "\n", "utf-8")
        beside.rename(models / identity)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _choose(asset: AssetSpec, manifest: Manifest, folder: Path | None) -> dict[str, Path | None]:
    """The files to make `asset` from, and where they lie: nowhere yet when they are downloaded."""
    if folder is None:
        return dict.fromkeys(asset.sets[0])
    if not folder.is_dir():
        raise ConfigError(f"There is no folder {folder} to take models from.")
    for keys in asset.sets:
        found = {key: _find(folder, manifest.files[key]) for key in keys}
        if all(found.values()):
            return found
    needed = "\nor ".join(
        ", ".join(_describe(key, manifest.files[key]) for key in keys) for keys in asset.sets
    )
    raise ConfigError(
        f"{folder} does not hold what '{asset.id}' is made from (under any name):\n{needed}\n"
        f"Download it from {manifest.files[asset.sets[0][-1]].origin} and copy it there."
    )


def _describe(key: str, file: RemoteFile) -> str:
    return f"{Path(key).name} ({megabytes(file.size)}, sha256 {file.sha256[:12]}...)"


def _find(folder: Path, file: RemoteFile) -> Path | None:
    """The first file in `folder` that is `file`, or the package that holds it, by its content."""
    wanted = [file] if file.wheel is None else [file, file.wheel]
    found = (path for one in wanted for path in sorted(folder.rglob("*")) if holds(path, one))
    return next(found, None)


def _link(path: Path, target: Path) -> None:
    """`target` is another name for the file, or a copy of it where that cannot be."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def _forget_wheels(downloads: Path) -> None:
    """Delete the packages, whose files are out, and `downloads` if that was all."""
    shutil.rmtree(downloads / WHEELS, ignore_errors=True)
    if downloads.is_dir() and not any(downloads.iterdir()):
        downloads.rmdir()


def _forget(downloads: Path, key: str) -> None:
    """Delete a download, and the folders that become empty."""
    path = downloads / key
    path.unlink(missing_ok=True)
    for folder in path.parents:
        if folder == downloads.parent or any(folder.iterdir()):
            break
        folder.rmdir()
