"""Voices that others have exported: graphs that remember nothing, run on windows that overlap."""

from pathlib import Path
from typing import Protocol

import numpy as np

from stream.audio import FRAMES_PER_CONTENT, Audio
from stream.device import Device
from stream.models.onnx import OnnxModel, Shape
from stream.models.sola import Overlap, Sola
from stream.models.synth import Speaker
from stream.noise import FrameNoise
from stream.pitch import coarse

DELAY = 1  # content frames: what SOLA wants to see beyond a sample
CONTEXT = (12, 24)  # content frames of past, at least and at most: what RVC's convolutions hear
EDGE = 12  # frames of 10 ms that a decoder needs before the first one that is right
LONGEST = 100  # content frames, 2 s, that one window says at most


def inputs_of(dim: int, noise: int) -> dict[str, Shape]:
    """The inputs of such a graph, for t frames of 10 ms.

    features [1, t, dim] · pitch [1, t] coarse 1..255 · f0 [1, t] Hz · speaker [1] · noise
    [1, noise, t] normal · skip [1]: frames at the beginning whose sound may be left out

    Its output is `audio`: the sound of the t frames, or of the last of them from `skip` on.
    """
    return {
        "features": (1, None, dim),
        "pitch": (1, None),
        "f0": (1, None),
        "speaker": (1,),
        "skip": (1,),
        "noise": (1, noise, None),
    }


class Card(Protocol):
    """What a voice's card tells of such a graph."""

    @property
    def feature_dim(self) -> int: ...
    @property
    def latent(self) -> int: ...
    @property
    def hop(self) -> int: ...


class BlackBox:
    """A `Synthesizer` for graphs made by `stream.importer.foreign`.

    Such a graph starts anew at every call, so it is run on a window with its past, and what is
    new is joined to what was heard by SOLA, 20 ms behind.

    Laws: step gives as many samples as were asked for; the same calls give the same samples; a
    stretch of speech begins from nothing, whatever was before it. A voice whose sound depends only
    on what is in its window comes out as in one pass over the whole; where windows differ in phase
    alone, there is no seam (`stream.models.sola`).

    noise  rows of normal numbers that a frame of the graph takes; hop  samples a frame of 10 ms
    """

    delay_frames = DELAY
    whole_hops = True

    def __init__(
        self, path: Path, *, dim: int, noise: int, hop: int, device: Device, threads: int = 1
    ) -> None:
        self.dim, self.noise, self.hop = dim, noise, hop
        self.model = OnnxModel(
            path, inputs_of(dim, noise), {"audio": (None,)}, device=device, threads=threads
        )
        self.provider = self.model.provider

    @classmethod
    def of_card(cls, path: Path, card: Card, device: Device, threads: int) -> "BlackBox":
        """The graph at `path`, whose sizes stand in the voice's card; raises `ModelError`."""
        dim, noise, hop = card.feature_dim, card.latent, card.hop
        return cls(path, dim=dim, noise=noise, hop=hop, device=device, threads=threads)

    def open(self, seed: int, context: int) -> "BlackBoxSpeech":
        """A new stretch of speech, with `context` content frames of past as far as they help."""
        return BlackBoxSpeech(self, seed, int(np.clip(context, *CONTEXT)) * FRAMES_PER_CONTENT)


class BlackBoxSpeech:
    """A `Speech` of a black box: the last features and pitches, and the end of what was heard.

    context  frames of 10 ms that are kept
    """

    def __init__(self, synth: BlackBox, seed: int, context: int) -> None:
        self._synth, self._context = synth, context
        self._noise = FrameNoise(seed, synth.noise)
        self._sola = Sola(Overlap.at(100 * synth.hop))
        self._features: Audio = np.zeros((0, synth.dim), np.float32)
        self._f0: Audio = np.zeros(0, np.float32)
        self._next: int | None = None  # the frame that the next call begins with

    def step(
        self, features: Audio, f0: Audio, ahead: int, first_frame: int, speaker: Speaker
    ) -> Audio:
        """The next frames' sound; see `Speech`. A jump in `first_frame` begins anew."""
        new = len(f0) - ahead
        if new == 0:
            return np.zeros(0, np.float32)
        if first_frame != self._next:
            self._begin(features[:1])
        began = self._next is None
        pieces: list[Audio] = []
        for at in range(0, new, LONGEST * FRAMES_PER_CONTENT):
            n = min(LONGEST * FRAMES_PER_CONTENT, new - at)
            seen = slice(at, at + n + ahead)
            pieces.append(self._piece(features[seen], f0[seen], ahead, first_frame + at, speaker))
        speech = np.concatenate(pieces)
        if began:  # nobody spoke before the stretch began
            speech[: DELAY * FRAMES_PER_CONTENT * self._synth.hop] = 0.0
        self._next = first_frame + new
        return speech

    def _begin(self, features: Audio) -> None:
        """The past of a stretch of speech: as if its first sound had been whispered for long."""
        self._sola.reset()
        self._features = np.repeat(features, self._context, axis=0)
        self._f0 = np.zeros(self._context, np.float32)
        self._next = None

    def _piece(
        self, features: Audio, f0: Audio, ahead: int, first_frame: int, speaker: Speaker
    ) -> Audio:
        """What `step` says, for at most `LONGEST` content frames."""
        features = np.concatenate([self._features, features])
        f0 = np.concatenate([self._f0, f0])
        kept = len(f0) - ahead
        self._features = features[kept - self._context : kept]
        self._f0 = f0[kept - self._context : kept]
        begin = first_frame - self._context
        window, missing = self._run(features, f0, begin, speaker)
        hop = self._synth.hop
        at = (self._context - DELAY * FRAMES_PER_CONTENT) * hop - missing
        return self._sola.step(window, at, (kept - self._context) * hop)

    def _run(self, features: Audio, f0: Audio, begin: int, speaker: Speaker) -> tuple[Audio, int]:
        """The graph's sound of t frames from `begin` on, and how many samples it left out first."""
        synth = self._synth
        who = speaker.first if speaker.morph < 0.5 else speaker.second
        before = Overlap.at(100 * synth.hop).before
        skip = self._context - DELAY * FRAMES_PER_CONTENT - EDGE - -(-before // synth.hop)
        outputs = synth.model(
            features=np.ascontiguousarray(features[np.newaxis], np.float32),
            pitch=coarse(f0)[np.newaxis],
            f0=np.ascontiguousarray(f0[np.newaxis], np.float32),
            speaker=np.array([who], np.int64),
            skip=np.array([max(skip, 0)], np.int64),
            noise=self._noise.columns(begin, len(f0))[np.newaxis],
        )
        window = np.asarray(outputs["audio"], np.float32)
        return window, len(f0) * synth.hop - len(window)
