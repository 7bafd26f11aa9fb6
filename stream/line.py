"""One voice speaking in one stream: analysis audio in, the target's speech out."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from stream.audio import CONTENT_HOP, FRAMES_PER_CONTENT, Audio, gain, soft_limit
from stream.controls import Controls
from stream.excitation import Excitation
from stream.gate import Open, edges, needed
from stream.models.voice import Voice
from stream.noise import frame_noise
from stream.pitch import PitchMatch, coarse, shift
from stream.resample import Resampler
from stream.ring import Ring

Lap = Callable[[str], AbstractContextManager[None]]
"""Called with a stage's name, times what runs inside; `stream.timing` has one."""

WARM_FRAMES = 10  # content frames heard before speech starts, so that the encoder has a past


def no_lap(_stage: str) -> AbstractContextManager[None]:
    """The `Lap` that times nothing."""
    return nullcontext()


class Line:
    """Converts content frame after content frame with one voice.

    voice     what to speak with
    rate      Hz of the sound that comes out
    heard     16 kHz audio on the stream's own clock; content frame `t` is [320 t, 320 t + 320)
    first     the first content frame to convert; the output's sample 0 is that frame's start
    match     follows the speaker's pitch
    skipped   samples at the voice's rate by which `heard` lags behind the stream's clock

    Laws: the sound is the same however the frames are grouped into calls; frames that the gate
    closes are exact zeros and cost no inference. Every stretch of speech starts from the same
    memory, whatever came before it.
    """

    def __init__(
        self,
        voice: Voice,
        rate: int,
        heard: Ring,
        first: int,
        *,
        skipped: int,
        seed: int,
        match: PitchMatch,
        lap: Lap = no_lap,
    ) -> None:
        self._voice, self._heard, self._lap = voice, heard, lap
        self._seed = seed
        self._next = first
        self._skip = skipped
        self._ahead = voice.encoder.delay_frames
        self._frame = FRAMES_PER_CONTENT * voice.card.hop  # voice samples a content frame
        self._open = False  # the gate at the last frame
        self._awake = False  # whether the last frame was inferred
        self._content = voice.encoder.quiet
        self._memory = voice.synth.initial_state()
        self._excitation = Excitation(voice.card.sample_rate, voice.card.hop, seed)
        self.match = match
        self._to_rate = Resampler(voice.card.sample_rate, rate)

    def step(self, opened: Open, controls: Controls) -> Audio:
        """Convert the next `len(opened)` content frames; returns what is ready, at `rate`."""
        awake = needed(opened, self._open)
        speech = np.zeros(len(opened) * self._frame, np.float32)
        for start, stop in runs(awake):
            if start > 0 or not self._awake:
                self._begin()
            speech[start * self._frame : stop * self._frame] = self._speak(
                self._next + start, stop - start, controls
            )
        speech *= edges(opened, self._open, self._frame, self._frame // 2)
        self._open, self._awake = bool(opened[-1]), bool(awake[-1])
        self._next += len(opened)
        with self._lap("output"):
            speech = soft_limit(speech * np.float32(gain(controls.output_gain_db)))
            cut = min(self._skip, len(speech))
            self._skip -= cut
            return self._to_rate.step(speech[cut:])

    def _begin(self) -> None:
        self._awake = False
        self._memory = self._voice.synth.initial_state()
        self._excitation.reset()

    def _speak(self, first: int, n: int, controls: Controls) -> Audio:
        """[n] content frames from `first` on -> [n * frame] samples at the voice's rate."""
        voice = self._voice
        with self._lap("content"):
            plain = self._features(first, n)
        self._awake = True
        with self._lap("f0"):
            f0 = self._f0(first, n, controls)
        with self._lap("index"):
            features = self._retrieve(plain, f0, controls)
        with self._lap("source"):
            at = first * FRAMES_PER_CONTENT
            source = self._excitation.step(f0, at)
            noise = frame_noise(self._seed, at, len(f0), voice.synth.latent)
        with self._lap("synth"):
            speech, self._memory = voice.synth.step(
                self._memory,
                features,
                coarse(f0),
                noise * np.float32(voice.card.noise_scale),
                source,
                min(controls.speaker, len(voice.card.speakers) - 1),
            )
        return speech

    def _features(self, first: int, n: int) -> Audio:
        """[n, dim]; starts anew from silence when a stretch of speech begins."""
        until = first + n + self._ahead
        if self._awake:
            since = first + self._ahead
        else:
            since, self._content = max(0, first - WARM_FRAMES), self._voice.encoder.quiet
        audio = self._heard.read(since * CONTENT_HOP, until * CONTENT_HOP)
        features, self._content = self._voice.encoder.step(self._content, audio)
        return features[-n:]

    def _f0(self, first: int, n: int, controls: Controls) -> Audio:
        """[2 n] Hz at 100 frames/s, 0 where unvoiced, moved to where the voice shall sing."""
        detector = self._voice.detectors[controls.f0_methods[0]]
        end = (first + n + self._ahead) * CONTENT_HOP
        window = self._heard.read(end - detector.window(n, self._ahead), end)
        f0 = detector(window, n, self._ahead)[: FRAMES_PER_CONTENT * n]
        offset = self.match.step(f0)
        return shift(f0, controls.pitch + offset if controls.auto_pitch else controls.pitch)

    def _retrieve(self, plain: Audio, f0: Audio, controls: Controls) -> Audio:
        """[2 n, dim] at 100 frames/s: features drawn towards the index, less so where unvoiced."""
        repeat = FRAMES_PER_CONTENT
        if self._voice.index is None or controls.index_rate == 0.0:
            return np.repeat(plain, repeat, axis=0)
        drawn = np.repeat(self._voice.index.blend(plain, controls.index_rate), repeat, axis=0)
        if controls.protect >= 0.5:
            return drawn
        keep = np.where(f0 > 0.0, 1.0, controls.protect)[:, np.newaxis].astype(np.float32)
        return drawn * keep + np.repeat(plain, repeat, axis=0) * (1.0 - keep)


def runs(flags: Open) -> Iterator[tuple[int, int]]:
    """The stretches [start, stop) over which `flags` is set.

    >>> list(runs(np.array([False, True, True, False, True])))
    [(1, 3), (4, 5)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
