"""A look-ahead limiter of true peaks."""

import numpy as np
from scipy.ndimage import maximum_filter1d

from offline.loudness import REACH, Between
from offline.stage import SIZE, Blockwise
from stream.audio import Audio, gain

AHEAD_S = 0.0025  # the gain sinks over twice as long
MARGIN_DB = 0.05  # for what the moving gain itself adds between samples
RELEASE_MS = 100.0


class Limiter(Blockwise):
    """Keeps the true peak at or under a ceiling, and leaves what is under it as it is.

    ceiling_db  dBTP
    release_ms  in which the gain comes back to a third of what was taken

    Laws: the true peak of the output, measured as by `TruePeak`, is at most `ceiling_db`; the
    gain is never above 1, the same for all channels, and where it is 1 the samples are those of the
    input, bit for bit. There is no make-up gain.
    """

    def __init__(
        self, rate: int, channels: int, ceiling_db: float = -1.0, release_ms: float = RELEASE_MS
    ) -> None:
        core = _Core(rate, channels, gain(ceiling_db - MARGIN_DB), release_ms)
        self._core = core
        super().__init__(core.work, channels, rate=rate, late=core.late)

    @property
    def reduction_db(self) -> float:
        """The most that was taken away so far, in dB."""
        return -20.0 * float(np.log10(1.0 - self._core.most))


class _Core:
    """Three windows slide over the sound, each behind the other.

    The peak at a sample is the highest of it and of the values between it and its neighbours. What
    has to be taken away there, as a share, is held for `ahead` samples to both sides, comes back
    exponentially, and is smoothed over as many samples: so the smooth curve takes away at least
    what each sample needs.
    """

    def __init__(self, rate: int, channels: int, ceiling: float, release_ms: float) -> None:
        self._ceiling = ceiling
        self._between = Between(SIZE + 1)
        self._safe = ceiling / self._between.most
        self._ahead = ahead = max(1, round(AHEAD_S * rate))
        self._smooth = np.hanning(2 * ahead + 3)[1:-1]
        self._smooth /= self._smooth.sum()
        self._keep = np.exp(-1000.0 / (release_ms * rate))
        self.late = REACH + 2 * ahead
        self.most = 0.0  # share taken away
        self._sound: Audio = np.zeros((2 * REACH, channels), np.float32)  # before the newest block
        self._delayed: Audio = np.zeros((self.late, channels), np.float32)
        self._needed = np.zeros(2 * ahead)
        self._held = np.zeros(2 * ahead)

    def work(self, block: Audio) -> Audio:
        """`block` [SIZE, channels] `late` samples later, limited."""
        sound = np.concatenate([self._sound, block])
        self._sound = sound[SIZE:]
        needed = np.concatenate([self._needed, self._taken(sound)])
        self._needed = needed[SIZE:]
        held = np.concatenate([self._held, self._returning(needed)])
        self._held = held[SIZE:]
        delayed = np.concatenate([self._delayed, block])
        self._delayed = delayed[SIZE:]
        if not held.any():
            return delayed[:SIZE]
        taken = np.convolve(held, self._smooth, "valid")
        self.most = max(self.most, float(taken.max()))
        return delayed[:SIZE] * (1.0 - taken).astype(np.float32)[:, None]

    def _taken(self, sound: Audio) -> Audio:
        """The share to take away at the samples REACH .. REACH + SIZE - 1 of `sound`, [SIZE]."""
        if np.max(np.abs(sound)) <= self._safe:
            return np.zeros(SIZE)
        highest = self._between.highest(sound)  # after sample REACH - 1, and so on
        own = np.max(np.abs(sound[REACH : REACH + SIZE]), axis=1)
        peak = np.maximum(own, np.maximum(highest[:-1], highest[1:])).astype(np.float64)
        return np.maximum(0.0, 1.0 - self._ceiling / np.maximum(peak, self._ceiling))

    def _returning(self, needed: Audio) -> Audio:
        """What is needed within `ahead` samples, or what is left of what was, [SIZE]."""
        near = maximum_filter1d(needed, 2 * self._ahead + 1)[self._ahead : -self._ahead]
        last = self._held[-1]
        if not near.any() and last < 1e-6:
            return near
        fade = self._keep ** np.arange(1, SIZE + 1)
        return np.maximum(np.maximum.accumulate(near / fade), last) * fade
