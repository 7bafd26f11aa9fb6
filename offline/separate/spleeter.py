"""Spleeter's two stems: what separates where nothing better is installed. Light and quick."""

from pathlib import Path

import numpy as np

from offline.separate.protocol import INSTRUMENTAL, VOCALS
from offline.separate.spectra import istft, stft
from stream.audio import Audio
from stream.device import CPU, Device
from stream.models.onnx import OnnxModel
from stream.models.separator import checked_separator

SIZE, HOP, BINS = 4096, 1024, 1024  # of the spectra; the networks hear the lowest bins, to 11 kHz
FRAMES = 512  # that they hear at once: 12 s


class Spleeter:
    """The installed networks in `folder` as a `Net`.

    Higher bins than the networks hear take the mean share of those below.
    Raises `ModelNotFound`, `ModelMismatch` and `DeviceUnavailable`.
    """

    rate = 44_100
    stems = (VOCALS, INSTRUMENTAL)
    window = SIZE + (FRAMES - 1) * HOP
    edge = SIZE - HOP  # samples that fewer frames cover than others

    def __init__(self, folder: Path, *, device: Device = CPU, threads: int = 1) -> None:
        self.card, path = checked_separator(folder)
        shape = (None, 2, None, BINS)
        self._model = OnnxModel(
            path, {"magnitude": shape}, {"share": shape}, device=device, threads=threads
        )

    def __call__(self, x: Audio) -> Audio:
        """[window, 2] -> [2, window, 2]."""
        spectra = stft(x, SIZE, HOP)
        heard = np.abs(spectra[..., :BINS])[np.newaxis]
        share = self._model(magnitude=heard)["share"][0]
        high = share.mean(axis=-1, keepdims=True).repeat(spectra.shape[-1] - BINS, axis=-1)
        voice = istft(spectra * np.concatenate([share, high], axis=-1), SIZE, HOP)
        return np.stack([voice, x - voice])
