"""RVC's own synthesizer: enc_p and flow over a window, then the decoder with carried memory."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stream.audio import FRAMES_PER_CONTENT, Audio
from stream.device import Device
from stream.excitation import Sine
from stream.models.onnx import Array, OnnxModel
from stream.models.providers import Span
from stream.models.synth import Speaker
from stream.noise import FrameNoise
from stream.pitch import coarse

PRIOR, DECODER = "prior.onnx", "decoder.onnx"
PROVISIONAL = 6  # frames of 10 ms that the decoder wants beyond the new ones
FLOW_REACH = 24  # frames of the past that the flow hears
HOPS = Span(*(PROVISIONAL + frames for frames in (2, 10, 200)))  # that the decoder gets at once
MOST_CONTEXT = 40  # frames of the past that enc_p hears; more was not worth its time


class NsfSynthesizer:
    """A published RVC voice (`stream.importer.graphs` writes the graphs and tells how they work).

    The decoder computes every sample once; nothing is cross-faded. Its sound comes `late` samples
    after the frames it was made of, which is stretched to whole content frames.

    Laws: with all frames committed long before they are said, the sound equals one pass of the
    published network over everything, to 1e-3; noise belongs to absolute frames.

    dim, latent   content features a frame; channels of the flow
    hop, late     samples a frame of 10 ms; samples by which the decoder lags
    f0            whether the voice takes a pitch
    """

    whole_hops = True

    def __init__(
        self,
        folder: Path,
        *,
        dim: int,
        latent: int,
        hop: int,
        late: int,
        f0: bool,
        noise_scale: float,
        device: Device,
        threads: int = 1,
    ) -> None:
        self.latent, self.hop, self.late, self.f0 = latent, hop, late, f0
        self.dim, self.noise_scale = dim, noise_scale
        self.delay_frames = math.ceil(late / (FRAMES_PER_CONTENT * hop))
        speaker = {"sid": (2,), "morph": (1,)}
        pitch = {"pitch": (1, None)} if f0 else {}
        source = {"source": (1, 1, None)} if f0 else {}
        self.prior = OnnxModel(
            folder / PRIOR,
            {"phone": (1, None, dim), "noise": (1, latent, None), "wanted": (1,)} | pitch | speaker,
            {"z": (1, latent, None)},
            device=device,
            threads=threads,
            heavy=True,
        )
        self.decoder = OnnxModel(
            folder / DECODER,
            {"z": (1, latent, None)} | source | speaker,
            {"audio": (1, 1, None)},
            device=device,
            threads=threads,
            heavy=True,
            spans={"frames": HOPS, "samples": HOPS.times(hop)},
        )
        self.provider = self.decoder.provider

    def open(self, seed: int, context: int) -> "NsfSpeech":
        """A new stretch of speech; enc_p hears `context` content frames again, 0.4 s at most."""
        return NsfSpeech(self, seed, min(FRAMES_PER_CONTENT * context, MOST_CONTEXT))


class NsfSpeech:
    """A `Speech` of a published voice."""

    def __init__(self, synth: NsfSynthesizer, seed: int, context: int) -> None:
        self._synth, self._context = synth, context
        self._noise = FrameNoise(seed, synth.latent)
        self._features = np.zeros((0, synth.dim), np.float32)  # the past that enc_p hears again
        self._pitch = np.zeros(0, np.int64)
        self._sine = Sine(100 * synth.hop, synth.hop, seed)
        self._memory = synth.decoder.initial_state()
        stretched = FRAMES_PER_CONTENT * synth.hop * synth.delay_frames
        self._held = np.zeros(stretched - synth.late, np.float32)

    def step(
        self, features: Audio, f0: Audio, ahead: int, first_frame: int, speaker: Speaker
    ) -> Audio:
        """The next frames' sound; see `Speech`."""
        synth, new = self._synth, len(features) - ahead
        person = {
            "sid": np.array([speaker.first, speaker.second], np.int64),
            "morph": np.array([speaker.morph], np.float32),
        }
        z = self._latent(features, f0, ahead, first_frame, person)
        source = {}
        if synth.f0:
            pitches = _at_least(f0, new + PROVISIONAL)
            source["source"] = self._sine.step(pitches, first_frame, new)[np.newaxis, np.newaxis]
        outputs, self._memory = synth.decoder.step(
            self._memory, z=_at_least(z, new + PROVISIONAL), **source, **person
        )
        sound = np.concatenate([self._held, outputs["audio"][0, 0]])
        self._held = sound[new * synth.hop :]
        return sound[: new * synth.hop]

    def _latent(
        self,
        features: Audio,
        f0: Audio,
        ahead: int,
        first_frame: int,
        person: Mapping[str, Array],
    ) -> Audio:
        """[1, latent, T] of the frames given, the past heard again."""
        synth, count = self._synth, len(features)
        phone = np.concatenate([self._features, features])
        pitch = np.concatenate([self._pitch, coarse(f0)])
        kept = len(phone) - ahead
        self._features = phone[max(0, kept - self._context) : kept]
        self._pitch = pitch[max(0, kept - self._context) : kept]
        noisy = min(len(phone), count + FLOW_REACH)
        noise = self._noise.columns(first_frame + count - noisy, noisy)
        feed = {"pitch": pitch[np.newaxis]} if synth.f0 else {}
        outputs = synth.prior(
            phone=phone[np.newaxis],
            noise=noise[np.newaxis] * np.float32(synth.noise_scale),
            wanted=np.array([count], np.int64),
            **feed,
            **person,
        )
        return np.asarray(outputs["z"], np.float32)


def _at_least(frames: Audio, count: int) -> Audio:
    """`frames` [..., T] cut to `count`, or with the newest one held."""
    missing = count - frames.shape[-1]
    if missing <= 0:
        return np.ascontiguousarray(frames[..., :count])
    return np.concatenate([frames, np.repeat(frames[..., -1:], missing, axis=-1)], axis=-1)
