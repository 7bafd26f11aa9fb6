"""Piper, the one place that knows it: it is under the GPL-3 and of the extra `say`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from stream.audio import Audio
from stream.errors import ConfigError


def load(path: Path) -> tuple[Callable[[str], Audio], int]:
    """What says a text with the voice at `path`, mono [n], and its rate in Hz.

    Raises `ConfigError` without the package.
    """
    try:
        from piper import PiperVoice
    except ImportError as error:
        raise ConfigError(
            f"{path.name} is a voice for Piper: pip install 'timbral[say]'."
        ) from error
    voice = PiperVoice.load(path)
    rate = int(voice.config.sample_rate)

    def say(text: str) -> Audio:
        parts = [chunk.audio_float_array for chunk in voice.synthesize(text)]
        return np.concatenate([np.zeros(0, np.float32), *parts]).astype(np.float32)

    return say, rate
