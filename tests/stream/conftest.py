from pathlib import Path

import numpy as np
import pytest
import soundfile

from stream.audio import Audio
from stream.device import CPU
from stream.models.store import Store
from stream.models.voice import Voice

SPEECH = sorted((Path(__file__).parent.parent / "speech").glob("*.wav"))


@pytest.fixture(scope="session")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Voice:
    return Store(tmp_path_factory.mktemp("home")).load("starter", CPU)


@pytest.fixture(scope="session")
def speech() -> Audio:
    """A person reading, 16 kHz, several sentences."""
    clips = [soundfile.read(path, dtype="float32")[0] for path in SPEECH]
    sound = np.concatenate(clips).astype(np.float32)
    sound.flags.writeable = False  # every test hears the same
    return sound
