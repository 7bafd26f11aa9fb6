"""Detectors that hear one window a call, because frame by frame they would cost too much."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from stream.audio import FRAME_HOP, FRAMES_PER_CONTENT, Audio
from stream.models.f0.detector import check_window, faint


class OneWindow(ABC):
    """Hears one window a call: all frames asked for, and the past that they need.

    So, unlike with the detectors that have a window for each frame, what is committed depends a
    little on the hop, as each subclass says of itself. Beyond the newest sample its networks hear
    the sound mirrored, as they were trained to at the end of a recording.

    PAST      frames of 10 ms before the first one asked for, at least
    MULTIPLE  frames: what the number of frames in a window is divisible by
    REACH     samples on either side of a frame's centre that it is made of
    PIECE     frames of a recording heard in one pass
    MARGIN    frames before and after a piece that are heard along with it
    """

    PAST: int
    MULTIPLE: int
    REACH = 512
    PIECE = 2048
    MARGIN = 128

    live = True

    @abstractmethod
    def hear(self, audio: Audio, centres: NDArray[np.int64]) -> Audio:
        """f0 [frames] in Hz, 0 unvoiced, of the frames around samples `centres`, 160 apart."""

    def window(self, n: int, delay: int) -> int:
        return self.REACH + FRAME_HOP * self._frames(n, delay) - FRAME_HOP // 2

    def __call__(self, audio: Audio, n: int, delay: int, *, together: bool = False) -> Audio:
        check_window(self, audio, n, delay)
        frames = self._frames(n, delay)
        centres = self.REACH + FRAME_HOP * np.arange(frames, dtype=np.int64)
        f0 = self.hear(audio, centres).astype(np.float32)
        f0[faint(audio, len(audio) - centres, self.REACH // 2)] = 0.0
        return f0[-FRAMES_PER_CONTENT * (n + delay) :]

    def detect_file(self, audio: Audio) -> Audio:
        frames = len(audio) // FRAME_HOP
        found = [np.zeros(0, np.float32)]
        for first in range(0, frames, self.PIECE):
            stop = min(first + self.PIECE, frames)
            begin, end = max(0, first - self.MARGIN), min(stop + self.MARGIN, frames)
            end = begin + -(-(end - begin) // self.MULTIPLE) * self.MULTIPLE
            since, until = begin * FRAME_HOP, min(len(audio), end * FRAME_HOP + self.REACH)
            heard = audio[max(0, since - self.REACH) : until]
            missing = (end - begin) * FRAME_HOP - (until - since)  # the last frames lie beyond
            heard = np.pad(heard, (0, max(0, missing)))
            lead = since - max(0, since - self.REACH) + FRAME_HOP // 2
            centres = lead + FRAME_HOP * np.arange(end - begin, dtype=np.int64)
            f0 = self.hear(heard, centres).astype(np.float32)
            f0[faint(heard, len(heard) - centres, self.REACH // 2)] = 0.0
            found.append(f0[first - begin : stop - begin])
        return np.concatenate(found)

    def _frames(self, n: int, delay: int) -> int:
        wanted = FRAMES_PER_CONTENT * (n + delay) + self.PAST
        return -(-wanted // self.MULTIPLE) * self.MULTIPLE
