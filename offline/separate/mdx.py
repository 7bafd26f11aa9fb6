"""MDX-Nets as ONNX files, as UVR's are published: complex spectra in, those of one stem out."""

from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from offline.separate.settings import MdxSettings
from offline.separate.spectra import Spectra, istft, stft
from stream.audio import Audio
from stream.device import CPU, Device
from stream.errors import ModelMismatch, ModelNotFound
from stream.models.onnx import OnnxModel

LOWEST = 3  # bins that these networks are not shown


class MdxNet:
    """The network in the file `path` as a `Net` of one stem, called `stem`.

    Raises `ModelNotFound`, `ModelMismatch` where the file is damaged or does not fit its settings,
    and `DeviceUnavailable`.
    """

    def __init__(
        self,
        path: Path,
        settings: MdxSettings,
        stem: str,
        *,
        device: Device = CPU,
        threads: int = 1,
    ) -> None:
        self.rate = settings.rate
        self.stems = (stem,)
        self.window = settings.hop * (settings.frames - 1)
        self.edge = settings.n_fft // 2
        self._settings = settings
        self._input, self._output, batch = _signature(path)
        shape = (batch, 4, settings.bins, settings.frames)
        names = {self._input: shape}, {self._output: shape}
        self._model = OnnxModel(path, *names, device=device, threads=threads, heavy=True)

    def __call__(self, x: Audio) -> Audio:
        """[window, 2] -> [1, window, 2]."""
        size, hop = self._settings.n_fft, self._settings.hop
        spectra = stft(np.pad(x, ((size // 2, size // 2), (0, 0)), mode="reflect"), size, hop)
        heard = self._heard(spectra)
        found = self._run(heard)
        if self._settings.denoise:
            found = 0.5 * (found - self._run(-heard))
        whole = np.zeros_like(spectra)
        apart = found.reshape(2, 2, *found.shape[1:])
        bins = apart[:, 0] + 1j * apart[:, 1]
        whole[..., : self._settings.bins] = bins.transpose(0, 2, 1) * self._settings.compensate
        return istft(whole, size, hop)[size // 2 : -(size // 2)][np.newaxis]

    def _heard(self, spectra: Spectra) -> Audio:
        """[2, frames, bins] complex as [4, bins, frames]: left, real and imaginary, then right."""
        low = spectra[..., : self._settings.bins].transpose(0, 2, 1)
        heard = np.stack([low.real, low.imag], axis=1).reshape(4, *low.shape[1:])
        heard[:, :LOWEST] = 0.0
        return heard

    def _run(self, heard: Audio) -> Audio:
        return self._model(**{self._input: heard[np.newaxis]})[self._output][0]


def _signature(path: Path) -> tuple[str, str, int | None]:
    """The names of a graph's only input and output, and its batch where that is fixed."""
    if not path.is_file():
        raise ModelNotFound(path, "Put the model file there.")
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except (DecodeError, ValueError, OSError) as error:
        raise ModelMismatch(path, f"it is no ONNX file ({error})") from error
    held = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in held]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise ModelMismatch(path, "an MDX model has one input and one output, this one others")
    first = inputs[0].type.tensor_type.shape.dim[:1]
    batch = first[0].dim_value if first and first[0].HasField("dim_value") else 0
    return inputs[0].name, graph.output[0].name, batch or None
