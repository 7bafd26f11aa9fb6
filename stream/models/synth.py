"""The synthesizer: features, pitch and excitation in, sound in the target's voice out."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.audio import Audio
from stream.models.onnx import EXACT_FRAMES, Device, OnnxModel, State


class Synthesizer:
    """RVC's enc_p, flow and decoder as one graph with carried memory.

    All convolutions keep their past, so every sample is computed once and blocks join without a
    seam. Law: the sound is the same however whole content frames (pairs of 10 ms frames) are
    grouped into calls. Nothing random happens inside: noise and excitation come in.
    """

    def __init__(self, path: Path, *, dim: int, latent: int, hop: int, device: Device) -> None:
        self.dim, self.latent, self.hop = dim, latent, hop
        self._model = OnnxModel(
            path,
            {
                "phone": (1, None, dim),
                "pitch": (1, None),
                "noise": (1, latent, None),
                "source": (1, 1, None),
                "sid": (1,),
            },
            {"audio": (1, 1, None)},
            device=device,
        )
        self.provider = self._model.provider

    def initial_state(self) -> State:
        """The memory before the first frame of a stretch of speech."""
        return self._model.initial_state()

    def step(
        self,
        state: State,
        phone: Audio,
        pitch: NDArray[np.int64],
        noise: Audio,
        source: Audio,
        speaker: int,
    ) -> tuple[Audio, State]:
        """T frames of 10 ms, an even number.

        phone   [T, dim]     content features, at 100 frames/s
        pitch   [T]          coarse pitch 1..255 (`stream.pitch.coarse`)
        noise   [latent, T]  normal, already scaled
        source  [T * hop]    excitation at the voice's rate
        Returns [T * hop] samples at the voice's rate, and the memory for the next call.
        """
        sid = np.array([speaker], np.int64)
        audio = np.empty(len(source), np.float32)
        for at in range(0, len(phone), EXACT_FRAMES):
            frames = slice(at, at + EXACT_FRAMES)
            samples = slice(at * self.hop, (at + EXACT_FRAMES) * self.hop)
            outputs, state = self._model.step(
                state,
                phone=phone[np.newaxis, frames],
                pitch=pitch[np.newaxis, frames],
                noise=np.ascontiguousarray(noise[np.newaxis, :, frames]),
                source=source[np.newaxis, np.newaxis, samples],
                sid=sid,
            )
            audio[samples] = outputs["audio"][0, 0]
        return audio, state
