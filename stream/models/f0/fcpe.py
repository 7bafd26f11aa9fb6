"""FCPE: a convolutional detector that hears a second on either side of a frame."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.audio import Audio
from stream.device import CPU, Device
from stream.models.f0.mel import LogMel
from stream.models.f0.one_window import OneWindow
from stream.models.f0.salience import BINS, in_range, strongest
from stream.models.onnx import OnnxModel


class Fcpe(OneWindow):
    """FCPE (stream.importer.graphs.fcpe), on a window of the frames asked for and 0.32 s before."""

    PAST = 32
    MULTIPLE = 1
    LOWEST, HIGHEST = 32.7, 1975.5  # Hz of the first and the last bin
    CENTS = np.linspace(1200 * np.log2(LOWEST / 10), 1200 * np.log2(HIGHEST / 10), BINS)
    VOICED = 0.2  # salience; at its authors' 0.006 it hears voice in a third of what is none

    def __init__(self, path: Path, device: Device = CPU) -> None:
        self._mel = LogMel("slaney", 0.0, 8_000.0, floor=1e-9)
        self._model = OnnxModel(
            path, {"mel": (1, None, 128)}, {"salience": (1, None, BINS)}, device=device
        )

    def hear(self, audio: Audio, centres: NDArray[np.int64]) -> Audio:
        mel = self._mel(audio, centres)[np.newaxis]
        salience = np.asarray(self._model(mel=mel)["salience"][0], np.float64)
        pitch = strongest(salience, self.CENTS)
        return in_range(np.where(pitch.sure > self.VOICED, np.exp2(pitch.octaves), 0.0))
