"""Pitch as numbers: RVC's scale for the pitch embedding, and matching speaker to voice."""

import numpy as np
from numpy.typing import NDArray

from stream.audio import FRAMES_PER_CONTENT, Audio

COARSE_MIN_HZ = 50.0
COARSE_MAX_HZ = 1100.0
COARSE_BINS = 255  # 1 is unvoiced or lowest, 255 highest


def _mel(hz: Audio) -> Audio:
    return 1127.0 * np.log1p(hz / 700.0)


def coarse(f0: Audio) -> NDArray[np.int64]:
    """Index into RVC's pitch embedding, 1..255, of each f0 in Hz; same shape, 0 Hz gives 1.

    Linear in mel from 50 Hz (1) to 1100 Hz (255).

    >>> coarse(np.array([0.0, 110.0, 440.0, 523.0, 880.0])).tolist()
    [1, 23, 122, 143, 217]
    """
    low, high = _mel(np.array([COARSE_MIN_HZ, COARSE_MAX_HZ]))
    index = (_mel(f0.astype(np.float64)) - low) * (COARSE_BINS - 1) / (high - low) + 1.0
    return np.clip(np.rint(index), 1, COARSE_BINS).astype(np.int64)


def shift(f0: Audio, semitones: float | Audio) -> Audio:
    """`f0` in Hz raised by `semitones` (one number, or one per frame); 0 stays 0.

    >>> shift(np.array([0.0, 100.0], np.float32), 12.0).tolist()
    [0.0, 200.0]
    """
    return (f0 * np.exp2(np.asarray(semitones) / 12.0)).astype(np.float32)


MEMORY = 600  # voiced frames, 6 s of voice: what the speaker's median is taken over
TRUST = 10  # voiced frames after which the offset stops following the median freely
SETTLE = 150  # voiced frames, 1.5 s, after which it has slowed down to GLIDE
GLIDE = 0.04  # semitones per content frame, 2 a second: slower than any intonation
MAX_OFFSET = 24.0  # semitones


class PitchMatch:
    """Semitones that bring the speaker's median pitch to the voice's own.

    The median is taken over the last 6 s of voiced frames. The first 100 ms of voice set the
    offset at once; then it glides, at first fast enough to mend what a single syllable could not
    tell, after 1.5 s of voice by at most 2 semitones a second, so intonation passes untouched. An
    offset depends on f0 up to the end of its own content frame and on nothing later,
    and is the same however the content frames are cut into calls.
    """

    def __init__(self, target_hz: float | None) -> None:
        if target_hz is not None and not target_hz > 0.0:
            raise ValueError(f"target_hz must be positive, got {target_hz}")
        self._target = None if target_hz is None else float(12.0 * np.log2(target_hz))
        self._heard = np.zeros(MEMORY)
        self.reset()

    @property
    def offset(self) -> float:
        """Semitones in force after the newest frame; 0 until a voice was heard."""
        return self._offset

    def step(self, f0: Audio) -> Audio:
        """Offsets in semitones, [2 n], for the f0 frames (Hz, 0 unvoiced) of n content frames."""
        frames = f0.reshape(-1, FRAMES_PER_CONTENT)
        out = np.empty(frames.shape, np.float32)
        for i, frame in enumerate(frames):
            self._update(frame[frame > 0.0])
            out[i] = self._offset
        return out.reshape(-1)

    def towards(self, target_hz: float | None) -> "PitchMatch":
        """The same speaker, on the way to another voice: at its pitch from the first frame on."""
        other = PitchMatch(target_hz)
        other._heard, other._count = self._heard.copy(), self._count
        if self._count:
            other._offset = other._wanted()
        return other

    def _update(self, voiced: Audio) -> None:
        """Take the voiced f0 of one content frame, [0..2], into account."""
        if not len(voiced):
            return
        at = (self._count + np.arange(len(voiced))) % MEMORY
        self._heard[at] = 12.0 * np.log2(voiced.astype(np.float64))
        self._count += len(voiced)
        wanted = self._wanted()
        if self._count <= TRUST:
            self._offset = wanted
        else:
            most = GLIDE * max(1.0, SETTLE / self._count)
            self._offset += min(max(wanted - self._offset, -most), most)

    def _wanted(self) -> float:
        """Semitones from the median of what was heard to the target; 0 when there is none."""
        if self._target is None:
            return 0.0
        known = self._heard[: min(self._count, MEMORY)]
        median = float(np.partition(known, len(known) // 2)[len(known) // 2])
        return min(max(self._target - median, -MAX_OFFSET), MAX_OFFSET)

    def reset(self) -> None:
        """Forget the speaker."""
        self._count = 0  # voiced frames heard
        self._offset = 0.0
