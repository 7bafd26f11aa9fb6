"""Pitch as numbers: RVC's scale for the pitch embedding, notes, matching speaker to voice."""

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from stream.audio import FRAMES_PER_CONTENT, Audio
from stream.controls import Scale

COARSE_MIN_HZ = 50.0
COARSE_MAX_HZ = 1100.0
COARSE_BINS = 255  # 1 is unvoiced or lowest, 255 highest


MEL = 1127.0, 700.0  # mel = 1127 ln(1 + Hz / 700)
MEL_MIN, MEL_MAX = (MEL[0] * math.log1p(hz / MEL[1]) for hz in (COARSE_MIN_HZ, COARSE_MAX_HZ))


def coarse(f0: Audio) -> NDArray[np.int64]:
    """Index into RVC's pitch embedding, 1..255, of each f0 in Hz; same shape, 0 Hz gives 1.

    Linear in mel from 50 Hz (1) to 1100 Hz (255).

    >>> coarse(np.array([0.0, 110.0, 440.0, 523.0, 880.0])).tolist()
    [1, 23, 122, 143, 217]
    """
    mel = MEL[0] * np.log1p(f0.astype(np.float64) / MEL[1])
    index = np.rint((mel - MEL_MIN) * (COARSE_BINS - 1) / (MEL_MAX - MEL_MIN) + 1.0)
    return np.minimum(np.maximum(index, 1.0), float(COARSE_BINS)).astype(np.int64)


def shift(f0: Audio, semitones: float | Audio) -> Audio:
    """`f0` in Hz raised by `semitones` (one number, or one per frame); 0 stays 0.

    >>> shift(np.array([0.0, 100.0], np.float32), 12.0).tolist()
    [0.0, 200.0]
    """
    return (f0 * np.exp2(np.asarray(semitones) / 12.0)).astype(np.float32)


MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)  # semitones above the key
SCALE_STEPS: Mapping[Scale, tuple[int, ...]] = MappingProxyType(
    {"chromatic": tuple(range(12)), "major": MAJOR, "minor": MINOR}
)
A4_HZ, A4_NOTE = 440.0, 69  # MIDI


def autotune(f0: Audio, strength: float, scale: Scale, key: int) -> Audio:
    """`f0` in Hz drawn towards the nearest note of a scale, A4 being 440 Hz; 0 stays 0.

    strength  0 leaves it as it is, 1 puts it on the note, between them in semitones
    scale     minor is the natural one
    key       0 C, 1 C sharp .. 11 B

    Half-way between two notes the lower one is taken. Each frame depends on itself alone.

    >>> autotune(np.array([0.0, 450.0, 460.0], np.float32), 1.0, "major", 0).tolist()
    [0.0, 440.0, 440.0]
    """
    if strength == 0.0:
        return f0.astype(np.float32)
    notes = _notes(scale, key)
    sung = A4_NOTE + 12.0 * np.log2(np.maximum(f0.astype(np.float64), 1.0) / A4_HZ)
    halves = (notes[1:] + notes[:-1]) / 2.0
    note = notes[np.searchsorted(halves, sung)]
    tuned = A4_HZ * np.exp2((sung + strength * (note - sung) - A4_NOTE) / 12.0)
    return np.where(f0 > 0.0, tuned, 0.0).astype(np.float32)


def _notes(scale: Scale, key: int) -> NDArray[np.float64]:
    """The scale's notes from below 1 Hz to above 20 kHz, as MIDI numbers."""
    octaves = 12 * np.arange(-4, 13)[:, np.newaxis]
    return (octaves + key + np.array(SCALE_STEPS[scale])).astype(np.float64).ravel()


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
