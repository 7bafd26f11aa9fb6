"""What the timed tests share."""

import pytest

from stream.device import CPU
from stream.models.store import Store
from stream.models.voice import Voice


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Voice:
    return Store(tmp_path_factory.mktemp("home")).load("starter", CPU)
