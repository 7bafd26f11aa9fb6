"""RMVPE's graph against RVC's own module, with seeded weights of the published shape.

What random weights show: that every layer, its order and its numbers are those of the original.
What they cannot show: how well the published weights hear.
"""

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from reference import modules

from stream.audio import Audio
from stream.importer.detectors import add_detector
from stream.importer.graphs import rmvpe
from stream.models.f0 import Detectors, Rmvpe

pytestmark = pytest.mark.slow


def mel_filters(*, sr: int, n_fft: int, n_mels: int, fmin: float, fmax: float, htk: bool) -> Any:
    """librosa's `filters.mel`, written out band by band: triangles over HTK's mels, equal areas."""
    assert htk
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (fmin, fmax))
    mels = np.linspace(low, high, n_mels + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    hz = np.arange(n_fft // 2 + 1) * sr / n_fft
    bands = [np.interp(hz, edges[i : i + 3], [0.0, 1.0, 0.0]) for i in range(n_mels)]
    return np.stack([2 * b / (edges[i + 2] - edges[i]) for i, b in enumerate(bands)])


@pytest.fixture(scope="module")
def original() -> Iterator[Any]:
    """RVC's module for RMVPE, given `mel_filters` in place of librosa's."""
    librosa, filters = ModuleType("librosa"), ModuleType("librosa.filters")
    filters.__dict__["mel"] = mel_filters
    sys.modules |= {"librosa": librosa, "librosa.filters": filters}
    try:
        yield modules("rmvpe")
    finally:
        del sys.modules["librosa"], sys.modules["librosa.filters"]


@pytest.fixture(scope="module")
def both(original: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Rmvpe]:
    """Their detector and ours, from the same file."""
    folder = tmp_path_factory.mktemp("rmvpe")
    torch.manual_seed(0)
    net = original.E2E(4, 1, (2, 2))
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
            elif name.endswith(("running_mean", "bias")) or value.ndim == 1:
                value.add_(0.1 * torch.randn(value.shape))
        net.fc[1].weight.mul_(6.0)  # so that some pitches stand out
    held = {k: v.half() if v.is_floating_point() else v for k, v in net.state_dict().items()}
    torch.save(held, folder / "rmvpe.pt")
    add_detector([folder / "rmvpe.pt"], "rmvpe", folder, licence="MIT", source="a test")
    ours = Detectors(folder)["rmvpe"]
    assert isinstance(ours, Rmvpe)
    return original.RMVPE(folder / "rmvpe.pt", is_half=False, device="cpu"), ours


def test_the_graph_computes_what_rvcs_module_computes(both: tuple[Any, Rmvpe]) -> None:
    theirs, ours = both
    published = {k: tuple(v.shape) for k, v in theirs.model.state_dict().items()}
    counts = {k for k in published if k.endswith("num_batches_tracked")}
    assert {k: v for k, v in published.items() if k not in counts} == rmvpe.shapes()
    mel = torch.randn(1, 128, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs.model(mel).numpy()
    found = ours.salience(mel.numpy())
    assert np.linalg.norm(found - expected) <= 1e-4 * np.linalg.norm(expected)
    assert expected.std() > 0.1


def test_it_hears_the_pitch_that_rvc_hears(both: tuple[Any, Rmvpe], speech: Audio) -> None:
    """From sound to Hz: spectrogram, padding and decoding are RVC's too."""
    theirs, ours = both
    sound = speech[: 160 * 63].copy()
    expected = theirs.pitch_based_audio_inference(sound)  # 64 frames
    found = ours.hear(sound, 160 * np.arange(64, dtype=np.int64))
    same = np.isclose(found, expected, rtol=1e-3)
    assert (expected > 0.0).mean() > 0.1
    assert np.mean(same) >= 0.97  # where two pitches are equally strong, either may win
