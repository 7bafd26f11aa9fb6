from pathlib import Path

import numpy as np
import pytest
import soundfile

from offline.cache import Cache
from stream.audio import Audio

SPEECH = sorted((Path(__file__).parents[2] / "speech").glob("*.wav"))


@pytest.fixture(scope="session")
def clips() -> list[Audio]:
    """Five sentences of one person reading, 16 kHz."""
    return [np.asarray(soundfile.read(path, dtype="float32")[0], np.float32) for path in SPEECH]


@pytest.fixture(scope="session")
def speech(clips: list[Audio]) -> Audio:
    """All of them, 24.7 s."""
    sound = np.concatenate(clips).astype(np.float32)
    sound.flags.writeable = False
    return sound


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """One for all tests: what was heard once need not be heard again."""
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where nothing is installed."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def folder(tmp_path: Path, clips: list[Audio]) -> Path:
    """A folder with three recordings of 7, 5 and 6 s."""
    place = tmp_path / "ada"
    place.mkdir()
    for name, clip in zip(("one", "two", "three"), (clips[0], clips[2], clips[3]), strict=True):
        soundfile.write(place / f"{name}.wav", clip, 16_000)
    return place
