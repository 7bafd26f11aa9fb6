"""CREPE: hears 64 ms around each frame and nothing else."""

import math
from pathlib import Path

import numpy as np

from stream.audio import CONTENT_HOP, FRAME_HOP, FRAMES_PER_CONTENT, Audio
from stream.device import CPU, Device
from stream.models.f0.detector import (
    HIGHEST_HZ,
    LOWEST_HZ,
    centres,
    check_window,
    faint,
    hold_newest,
)
from stream.models.f0.salience import BINS, CREPE_CENTS, Pitch, around
from stream.models.onnx import OnnxModel


class Crepe:
    """CREPE, tiny or full (stream.importer.graphs.crepe).

    Tiny is an alternative where SwiftF0 misreads a voice; it costs nearly twice as much and,
    without context, errs more: against SwiftF0 over whole recordings of a low voice (95 Hz), the
    same voicing in 91 % of the frames, median difference 9 cents, 3 % beyond 200 cents (7 %
    without the step to the lower octave in `decode`).

    The two frames of a content frame are read together, and from nothing else: what is committed
    depends on the audio at fixed distances only, bit for bit, however many frames a call has.
    """

    FRAME = 1024  # samples
    OCTAVE = 60  # bins
    NEIGHBOUR = 0.5  # say of the other frame, 10 ms away, in which peak is the pitch
    LOWER = 0.35  # salience, in parts of the best, at which the octave below is preferred
    VOICED = 0.3  # salience

    live = True

    def __init__(self, path: Path, device: Device = CPU) -> None:
        octaves = CREPE_CENTS / 1200.0 + math.log2(10.0)
        self._allowed = (octaves >= math.log2(LOWEST_HZ)) & (octaves <= math.log2(HIGHEST_HZ))
        self._model = OnnxModel(
            path, {"frames": (None, self.FRAME)}, {"salience": (None, BINS)}, device=device
        )

    def window(self, n: int, delay: int) -> int:
        return CONTENT_HOP * (n + delay) - FRAME_HOP // 2 + self.FRAME // 2

    def __call__(self, audio: Audio, n: int, delay: int, *, together: bool = False) -> Audio:
        check_window(self, audio, n, delay)
        half = self.FRAME // 2
        before_end = centres(n, delay)
        starts = len(audio) - before_end - half
        padded = np.concatenate([audio, np.zeros(half, np.float32)])
        frames = np.lib.stride_tricks.sliding_window_view(padded, self.FRAME)[starts]
        pairs = frames.reshape(-1, FRAMES_PER_CONTENT, self.FRAME)
        heard = pairs[:-1] if delay else pairs  # the newest would hear 5 and 15 ms of what follows
        f0 = np.zeros(len(before_end), np.float32)
        batches = [heard] if together else [pair[np.newaxis] for pair in heard]
        found = [self._detect(pairs) for pairs in batches]
        f0[: FRAMES_PER_CONTENT * len(heard)] = np.concatenate(found)
        f0[faint(audio, before_end, self.FRAME // 4)] = 0.0
        return hold_newest(f0, delay)

    def detect_file(self, audio: Audio) -> Audio:
        frames = len(audio) // FRAME_HOP
        n = -(-frames // FRAMES_PER_CONTENT)
        if not n:
            return np.zeros(0, np.float32)
        ahead = self.FRAME // CONTENT_HOP  # content frames that complete the last ones' windows
        before = self.window(n, ahead) - CONTENT_HOP * (n + ahead)
        after = CONTENT_HOP * (n + ahead) - len(audio)
        return self(np.pad(audio, (before, after)), n, ahead)[:frames]

    def _detect(self, pairs: Audio) -> Audio:
        """[n, 2, 1024] -> f0 [2 n]."""
        frames = pairs.reshape(-1, self.FRAME)
        salience = np.asarray(self._model(frames=frames)["salience"], np.float64)
        salience = np.where(self._allowed, salience, 0.0).reshape(-1, FRAMES_PER_CONTENT, BINS)
        pitches = [self.decode(pair) for pair in salience]
        octaves, sure = (np.concatenate(part) for part in zip(*pitches, strict=True))
        return np.where(sure >= self.VOICED, np.exp2(octaves), 0.0).astype(np.float32)

    def decode(self, salience: Audio) -> Pitch:
        """[2, bins] -> [2] pitches.

        CREPE tiny tends to answer a low voice with its second harmonic, but then shows the
        fundamental as a lesser peak. High voices show none there.
        """
        together = (salience + self.NEIGHBOUR * salience[::-1]) / (1.0 + self.NEIGHBOUR)
        frames = np.arange(len(together))
        best = np.argmax(together, axis=1)
        sure = together[frames, best]
        about = best - self.OCTAVE + np.arange(-2, 3)[:, np.newaxis]  # [5, 2]
        lower = np.where(about >= 0, together[frames, np.maximum(about, 0)], 0.0)
        below = about[np.argmax(lower, axis=0), frames]
        best = np.where(lower.max(axis=0) > self.LOWER * sure, below, best)
        return Pitch(around(salience, best, CREPE_CENTS), sure)
