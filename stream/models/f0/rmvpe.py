"""RMVPE, in the forms in which people have it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.audio import FRAME_HOP, FRAMES_PER_CONTENT, Audio
from stream.device import CPU, Device
from stream.models.f0.mel import BANDS, LogMel
from stream.models.f0.one_window import OneWindow
from stream.models.f0.salience import BINS, CREPE_CENTS, in_range, strongest
from stream.models.onnx import OnnxModel


class Rmvpe(OneWindow):
    """RMVPE from `rmvpe.pt` (stream.importer.graphs.rmvpe) or the `rmvpe.onnx` that RVC publishes.

    Its U-Net wants a multiple of 32 frames, so a window is 320 ms or 640 ms long, and what the
    frames asked for leave of it is past. The first three frames of a window are never used, nor do
    RVC's own live tools use them. Nothing of the past is carried, so every hop pays for a whole
    window: sensible at hops of 100 ms and more, allowed below.
    """

    PAST = 3
    MULTIPLE = 32
    VOICED = 0.03  # salience

    def __init__(self, path: Path, device: Device = CPU) -> None:
        self._mel = LogMel("htk", 30.0, 8_000.0)
        self._model = OnnxModel(
            path, {"input": (1, BANDS, None)}, {"output": (1, None, BINS)}, device=device
        )

    def hear(self, audio: Audio, centres: NDArray[np.int64]) -> Audio:
        mel = self._mel(audio, centres).T[np.newaxis]
        pitch = strongest(self.salience(mel)[0].astype(np.float64), CREPE_CENTS)
        return in_range(np.where(pitch.sure > self.VOICED, np.exp2(pitch.octaves), 0.0))

    def salience(self, mel: Audio) -> Audio:
        """[1, 128, frames], frames a multiple of 32 -> [1, frames, 360]."""
        return np.asarray(self._model(input=mel)["output"], np.float32)


class RmvpeFromMel(OneWindow):
    """RMVPE that decodes by itself: deiteris' `rmvpe.onnx` and `rmvpe_upd.onnx`."""

    PAST = 3
    MULTIPLE = 32

    def __init__(self, path: Path, device: Device = CPU) -> None:
        self._mel = LogMel("htk", 30.0, 8_000.0)
        self._model = OnnxModel(path, {"mel": (1, BANDS, None)}, {"pitchf": (None,)}, device=device)

    def hear(self, audio: Audio, centres: NDArray[np.int64]) -> Audio:
        mel = self._mel(audio, centres).T[np.newaxis]
        return in_range(np.asarray(self._model(mel=mel)["pitchf"], np.float64))


class RmvpeFromSound(OneWindow):
    """RMVPE that makes its spectrogram by itself: w-okada's `rmvpe_20231006.onnx`.

    Its frames are centred 0, 160, 320 … samples after the beginning of what it hears: 32 of them
    begin with three whose centres lie before the first one wanted.
    """

    PAST = 3
    MULTIPLE = 32
    BEFORE = 3

    def __init__(self, path: Path, device: Device = CPU) -> None:
        self._model = OnnxModel(path, {"waveform": (1, None)}, {"pitchf": (None,)}, device=device)

    def hear(self, audio: Audio, centres: NDArray[np.int64]) -> Audio:
        before, start = divmod(int(centres[0]), FRAME_HOP)
        frames = -(-(before + len(centres)) // self.MULTIPLE) * self.MULTIPLE
        length = FRAME_HOP * frames - FRAME_HOP // 2
        heard = audio[start : start + length]
        heard = np.pad(heard, (0, length - len(heard)))[np.newaxis]
        found = np.asarray(self._model(waveform=heard)["pitchf"], np.float64)
        return in_range(found[before : before + len(centres)])

    def _frames(self, n: int, delay: int) -> int:
        wanted = FRAMES_PER_CONTENT * (n + delay) + self.PAST + self.BEFORE
        return -(-wanted // self.MULTIPLE) * self.MULTIPLE - self.BEFORE
