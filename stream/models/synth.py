"""The synthesizer: content features and pitch in, sound in the target's voice out."""

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from stream.audio import FRAMES_PER_CONTENT, Audio
from stream.device import Device
from stream.excitation import Excitation
from stream.models.onnx import EXACT_FRAMES, OnnxModel
from stream.models.providers import Span
from stream.noise import FrameNoise
from stream.pitch import coarse


class Speaker(NamedTuple):
    """Whose voice, for voices with several: somebody between two of them."""

    first: int = 0
    second: int = 0
    morph: float = 0.0  # 0 the first .. 1 the second


class Speech(Protocol):
    """One stretch of speech: the memory of a synthesizer, which belongs to a stream."""

    def step(
        self, features: Audio, f0: Audio, ahead: int, first_frame: int, speaker: Speaker
    ) -> Audio:
        """The sound of the next T - ahead frames of 10 ms; an even number.

        features     [T, dim] content features, at 100 frames/s
        f0           [T] Hz, 0 where unvoiced
        ahead        how many of the last frames are provisional: heard now, to be said later
        first_frame  the absolute number of the first one; noise belongs to a frame

        Returns [(T - ahead) * hop] samples at the voice's rate. The first of them lies
        `delay_frames` content frames before `first_frame`.
        """
        ...


class Synthesizer(Protocol):
    """Weights that speak; shared by streams and threads.

    delay_frames  content frames of 20 ms by which the sound lags behind its features
    whole_hops    True: wants the same number of frames in every call; False: any cut, same sound
    """

    @property
    def provider(self) -> str: ...
    @property
    def delay_frames(self) -> int: ...
    @property
    def whole_hops(self) -> bool: ...

    def open(self, seed: int, context: int) -> Speech:
        """A new stretch of speech that may use `context` content frames of past features."""
        ...


class StudentSynthesizer:
    """The starter's: one graph with enc_p, flow and a source-filter vocoder, all of it causal.

    All convolutions keep their past, so every sample is computed once and blocks join without a
    seam. Law: the sound is the same however whole content frames (pairs of 10 ms frames) are
    grouped into calls. Nothing random happens inside: noise and excitation come in.

    latent       channels of the flow
    hop          samples a frame of 10 ms
    noise_scale  spread of the prior's noise
    """

    delay_frames = 0
    whole_hops = False

    def __init__(
        self, path: Path, *, dim: int, latent: int, hop: int, noise_scale: float, device: Device
    ) -> None:
        self.latent, self.hop, self.noise_scale = latent, hop, noise_scale
        frames = Span(FRAMES_PER_CONTENT, 2 * FRAMES_PER_CONTENT, EXACT_FRAMES)
        self.model = OnnxModel(
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
            spans={"frames": frames, "samples": frames.times(hop)},
        )
        self.provider = self.model.provider

    def open(self, seed: int, context: int) -> "StudentSpeech":
        """A new stretch of speech; the network's own memory is its context."""
        del context
        return StudentSpeech(self, seed)


class StudentSpeech:
    """A `Speech` of the student: nothing of what comes in is provisional."""

    def __init__(self, synth: StudentSynthesizer, seed: int) -> None:
        self._synth = synth
        self._noise = FrameNoise(seed, synth.latent)
        self._memory = synth.model.initial_state()
        self._excitation = Excitation(synth.hop * 100, synth.hop, seed)

    def step(
        self, features: Audio, f0: Audio, ahead: int, first_frame: int, speaker: Speaker
    ) -> Audio:
        """The next frames' sound; see `Speech`."""
        if ahead:
            raise ValueError(f"a causal synthesizer hears nothing ahead, got {ahead} frames")
        synth, sid = self._synth, np.array([speaker.first], np.int64)
        source = self._excitation.step(f0, first_frame)
        noise = self._noise.columns(first_frame, len(f0)) * np.float32(synth.noise_scale)
        pitch = coarse(f0)
        audio = np.empty(len(source), np.float32)
        for at in range(0, len(features), EXACT_FRAMES):
            frames = slice(at, at + EXACT_FRAMES)
            samples = slice(at * synth.hop, (at + EXACT_FRAMES) * synth.hop)
            outputs, self._memory = synth.model.step(
                self._memory,
                phone=features[np.newaxis, frames],
                pitch=pitch[np.newaxis, frames],
                noise=np.ascontiguousarray(noise[np.newaxis, :, frames]),
                source=source[np.newaxis, np.newaxis, samples],
                sid=sid,
            )
            audio[samples] = outputs["audio"][0, 0]
        return audio
