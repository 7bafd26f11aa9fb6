"""Detectors that need a whole recording: Praat's and WORLD's. For files only, never live."""

from typing import Any, Literal

import numpy as np

from stream.audio import ANALYSIS_RATE, FRAME_HOP, Audio
from stream.errors import ConfigError
from stream.models.f0.detector import HIGHEST_HZ, LOWEST_HZ
from stream.models.f0.salience import in_range

RecordingMethod = Literal["pm", "harvest", "dio"]
SHORTEST = 4_800  # samples: shorter ones are followed by silence, the methods want a few periods
PRAAT_VOICED = 0.6  # strength; RVC's


class WholeRecording:
    """pm is Praat's autocorrelation method, harvest and dio are WORLD's; dio is refined after.

    Raises `ConfigError` when the package that has the method is not installed.
    """

    live = False

    def __init__(self, method: RecordingMethod) -> None:
        self._method: RecordingMethod = method
        self._package = _package(method)

    def window(self, n: int, delay: int) -> int:
        raise ConfigError(only_files(self._method))

    def __call__(self, audio: Audio, n: int, delay: int, *, together: bool = False) -> Audio:
        raise ConfigError(only_files(self._method))

    def detect_file(self, audio: Audio) -> Audio:
        frames = len(audio) // FRAME_HOP
        sound = np.pad(audio.astype(np.float64), (0, max(0, SHORTEST - len(audio))))
        f0 = self._praat(sound) if self._method == "pm" else self._world(sound)
        return in_range(np.pad(f0, (0, max(0, frames - len(f0))))[:frames]).astype(np.float32)

    def _praat(self, sound: Audio) -> Audio:
        found: Any = self._package.Sound(sound, ANALYSIS_RATE).to_pitch_ac(
            time_step=FRAME_HOP / ANALYSIS_RATE,
            voicing_threshold=PRAAT_VOICED,
            pitch_floor=LOWEST_HZ,
            pitch_ceiling=HIGHEST_HZ,
        )
        times = (np.arange(len(sound) // FRAME_HOP) + 0.5) * FRAME_HOP / ANALYSIS_RATE
        f0 = np.array([found.get_value_at_time(time) for time in times], np.float64)
        return np.nan_to_num(f0)

    def _world(self, sound: Audio) -> Audio:
        """WORLD's frames begin at 0; asked for twice as many, every other one is in a middle."""
        period = 500.0 * FRAME_HOP / ANALYSIS_RATE  # ms
        detect: Any = getattr(self._package, self._method)
        f0, times = detect(
            sound, ANALYSIS_RATE, f0_floor=LOWEST_HZ, f0_ceil=HIGHEST_HZ, frame_period=period
        )
        if self._method == "dio":
            f0 = self._package.stonemask(sound, f0, times, ANALYSIS_RATE)
        return np.asarray(f0, np.float64)[1::2]


def only_files(method: RecordingMethod) -> str:
    """What to tell someone who asks for `method` live."""
    return (
        f"The pitch detector '{method}' needs a whole recording and cannot be used live. "
        "Choose another one, or convert a file with it: timbral convert."
    )


def _package(method: RecordingMethod) -> Any:
    try:
        if method == "pm":
            import parselmouth

            return parselmouth
        import pyworld

        return pyworld
    except ImportError as error:
        raise ConfigError(
            f"The pitch detector '{method}' needs the package {error.name}, which is not "
            "installed. Install it: pip install 'timbral[offline]'"
        ) from error
