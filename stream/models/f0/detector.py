"""What a pitch detector is, and where in a window its frames lie."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream.audio import FRAME_HOP, FRAMES_PER_CONTENT, Audio

LOWEST_HZ, HIGHEST_HZ = 50.0, 1100.0  # the range of RVC's pitch embedding
FAINT = 2e-4  # peak, full scale 1: below it there is no pitch, whatever a model says


class F0Detector(Protocol):
    """Finds f0 at the frames of 10 ms that the newest content frames consist of.

    It holds nothing of what it heard, so one detector serves every stream and thread.

    live  whether it may be called hop by hop; those that need a whole recording may not
    """

    @property
    def live(self) -> bool: ...

    def window(self, n: int, delay: int) -> int:
        """Samples of 16 kHz audio that a call for `n` >= 1 content frames wants to hear.

        delay  content frames that follow them: the encoder's look-ahead
        """
        ...

    def __call__(self, audio: Audio, n: int, delay: int, *, together: bool = False) -> Audio:
        """f0 [2 (n + delay)] in Hz, 0 where there is no voice.

        audio     [window(n, delay)], its last sample the newest
        together  hear all frames in one pass, which is cheaper; then what is committed depends a
                  little on `n`

        Two frames a content frame, centred 80 and 240 samples after its start. The first 2 n are
        committed: they hear `delay` content frames of what follows. The others are provisional:
        the nearer to the newest sample, the less they know (`hold_newest`).
        """
        ...

    def detect_file(self, audio: Audio) -> Audio:
        """f0 [len(audio) // 160] in Hz, 0 unvoiced, of a whole recording; as good as it can be."""
        ...


def centres(n: int, delay: int) -> NDArray[np.int64]:
    """How many samples before the window's end the frames' centres lie, [2 (n + delay)].

    >>> centres(1, 2).tolist()
    [880, 720, 560, 400, 240, 80]
    """
    if n < 0 or delay < 0:
        raise ValueError(f"neither n nor delay may be negative, got {n} and {delay}")
    frames = FRAMES_PER_CONTENT * (n + delay)
    return FRAME_HOP // 2 + FRAME_HOP * np.arange(frames, dtype=np.int64)[::-1]


def faint(audio: Audio, before_end: NDArray[np.int64], reach: int) -> NDArray[np.bool_]:
    """Whether there is next to no sound within `reach` samples of each centre, [frames]."""
    size = np.abs(audio)
    middles = (len(size) - before_end).tolist()
    peaks = [size[max(0, at - reach) : max(0, at + reach)].max(initial=0.0) for at in middles]
    return np.array(peaks, np.float32) < FAINT


def check_window(detector: F0Detector, audio: Audio, n: int, delay: int) -> None:
    """Raises `ValueError` when `audio` is not what the detector's `window` asks for."""
    wanted = detector.window(n, delay)
    if n < 1 or audio.shape != (wanted,):
        raise ValueError(f"expected [{wanted}] samples for {n} frames, got {audio.shape}")


def hold_newest(f0: Audio, delay: int) -> Audio:
    """`f0` [2 (n + delay)], its newest content frame voiced where the one before it ends voiced.

    A frame that hears less than 20 ms of what follows is found unvoiced for want of sound. Where
    that frame is provisional, holding the last pitch is right more often: in 91 of 100 such frames
    of speech the voicing is what is committed later, without it in 62 (SwiftF0; stream/LOG.md).
    """
    if delay == 0:
        return f0
    held = f0.copy()
    newest = held[-FRAMES_PER_CONTENT:]
    newest[newest == 0.0] = f0[-FRAMES_PER_CONTENT - 1]
    return held
