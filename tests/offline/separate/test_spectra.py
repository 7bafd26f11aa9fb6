"""Spectra forth and back, and against torch's."""

import numpy as np
import pytest
import torch
from separators import noise

from offline.separate.spectra import istft, stft


@pytest.mark.parametrize(("size", "hop"), [(64, 16), (64, 32), (60, 17), (4096, 1024)])
def test_the_sound_comes_back_where_frames_cover_it(size: int, hop: int) -> None:
    x = noise(size + 7 * hop)
    inside = slice(size - hop, -(size - hop) or None)
    found = istft(stft(x, size, hop), size, hop)
    assert found.shape == x.shape
    np.testing.assert_allclose(found[inside], x[inside], atol=1e-6)


def test_spectra_are_those_of_torch() -> None:
    torch.set_num_threads(1)
    x = noise(2048)
    wanted = torch.stft(
        torch.from_numpy(x.T.copy()),
        256,
        64,
        window=torch.hann_window(256),
        center=False,
        return_complex=True,
    )
    np.testing.assert_allclose(stft(x, 256, 64), wanted.numpy().transpose(0, 2, 1), atol=2e-5)
