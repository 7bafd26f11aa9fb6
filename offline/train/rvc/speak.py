"""One pass of RVC's synthesizer from folded weights: what an exported voice is compared with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from offline.train.rvc.networks import RvcSynthesizer
from offline.train.trained import unfolded
from stream.audio import Audio
from stream.importer.checkpoint import RvcShape


def speak(
    weights: Mapping[str, NDArray[np.float32]],
    shape: RvcShape,
    phone: Audio,
    pitch: NDArray[np.int64],
    noise: Audio,
    source: Audio,
    sid: int = 0,
) -> Audio:
    """The sound of T frames, [T hop].

    weights  under the published names, weight norm folded
    phone    [T, dim] features; pitch [T] coarse
    noise    [inter, T] normal numbers times their scale
    source   [T hop] the excitation
    """
    synth = RvcSynthesizer(shape).eval()
    synth.load_state_dict(unfolded(weights, synth.state_dict()))
    with torch.no_grad():
        sound = synth.speak(
            torch.from_numpy(np.ascontiguousarray(phone, np.float32))[None],
            torch.from_numpy(np.ascontiguousarray(pitch, np.int64))[None],
            torch.from_numpy(np.ascontiguousarray(noise, np.float32))[None],
            torch.from_numpy(np.ascontiguousarray(source, np.float32))[None, None],
            torch.tensor([sid]),
        )
    return sound[0, 0].numpy()
