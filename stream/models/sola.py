"""Joins windows of sound that overlap and whose phases do not agree: SOLA.

Synchronised overlap-add (Roucos and Wilgus, 1985): a new window may be moved by a few milliseconds
to where it continues best what was heard, and is faded in from there.
"""

from dataclasses import dataclass

import numpy as np

from stream.audio import Audio, sin2_rise

SILENT = 1e-9  # energy of a sample, full scale 1; below it nothing can be matched
AS_GOOD = 1e-3  # correlations that differ by less are equally good


@dataclass(frozen=True)
class Overlap:
    """How windows are joined, in samples.

    fade    that lie in both windows and are faded
    search  that a window may be moved either way
    match   that were heard before the fade and are compared as well
    """

    fade: int
    search: int
    match: int

    @classmethod
    def at(cls, rate: int) -> "Overlap":
        """For speech at `rate` Hz: 10 ms of fade and search, 20 ms of match.

        Moved 10 ms either way, any pitch above 50 Hz finds its phase; 30 ms are compared, so a
        period of such a pitch is always among them.
        """
        ms = rate // 1000
        return cls(fade=10 * ms, search=10 * ms, match=20 * ms)

    @property
    def before(self) -> int:
        """Samples that a window needs before what it is asked for."""
        return self.match + self.search

    @property
    def after(self) -> int:
        """Samples that a window needs beyond what it is asked for."""
        return self.search + self.fade


class Sola:
    """Cuts one continuous sound out of one window after another.

    Laws: as many samples come out as were asked for. Windows of one and the same sound come out as
    that sound, unmoved. A sound whose period is at most 2 `search` and whose windows differ in
    phase comes out without a seam: at a join it is at most half a sample off. After `reset`
    nothing of what was before is heard. The same windows give the same samples.
    """

    def __init__(self, overlap: Overlap) -> None:
        self.overlap = overlap
        self._rise = sin2_rise(overlap.fade)
        self.reset()

    def reset(self) -> None:
        """Forget what was heard: the next window begins a new stretch of sound."""
        self._heard: Audio | None = None  # [match + fade]: the end of what came out, and the tail

    def step(self, window: Audio, at: int, n: int) -> Audio:
        """The `n` samples of `window` that follow what came out last; they lie at about `at`.

        Raises `ValueError` when the window does not reach `before` and `after` those samples.
        """
        size = self.overlap
        if at < size.before or at + n + size.after > len(window):
            raise ValueError(
                f"{n} samples at {at} of {len(window)}: {size.before} before and {size.after} "
                "after them are needed"
            )
        if n == 0:
            return np.zeros(0, np.float32)
        start, heard = at, self._heard
        if heard is not None:
            near = window[at - size.before : at + size.after]
            start += best_shift(near, heard, size.search)
        new = window[start - size.match : start + n + size.fade].astype(np.float32)
        if heard is not None:
            fading = slice(size.match, size.match + size.fade)
            new[: size.match] = heard[: size.match]
            new[fading] = join(heard[size.match :], new[fading], self._rise)
        self._heard = new[n:].copy()
        return new[size.match : size.match + n]


def best_shift(window: Audio, pattern: Audio, search: int) -> int:
    """Where `pattern` [m] is found best in `window` [m + 2 search], -search .. search.

    The normalised correlation is greatest there. Of several places that are as good the one
    nearest to the middle is taken, and the middle itself when there is nothing to compare.
    """
    score = correlations(window, pattern)
    sides = np.concatenate([[-np.inf], score, [-np.inf]])
    peak = (score >= sides[:-2]) & (score >= sides[2:])
    good = np.flatnonzero(peak & (score >= score.max() - AS_GOOD))
    return int(good[np.argmin(np.abs(good - search))]) - search


def correlations(window: Audio, pattern: Audio) -> Audio:
    """Normalised correlation, [n - m + 1] within -1..1, of `pattern` [m] along `window` [n].

    0 where one of the two is silent.
    """
    x, y = window.astype(np.float64), pattern.astype(np.float64)
    energy = np.concatenate([[0.0], np.cumsum(x * x)])
    here = np.maximum(energy[len(y) :] - energy[: -len(y)], 0.0)
    silent = SILENT * len(y)
    both = np.sqrt(here * (y @ y))
    product = np.correlate(x, y, "valid")
    return np.where((here < silent) | (y @ y < silent), 0.0, product / np.maximum(both, silent))


def join(old: Audio, new: Audio, rise: Audio) -> Audio:
    """Fade from `old` to `new` along `rise` (sin², [n]) and its mirror image; all are [n].

    The level stays as it is. The power of the faded sum is fi² + fo² + 2 r fi fo times that of the
    two, r their correlation, so it is divided by the root of that: nothing where they are equal,
    an equal-power fade where they have nothing to do with each other.
    """
    if not len(rise):
        return new.copy()
    r = float(np.clip(correlations(new, old)[0], 0.0, 1.0))
    fall = rise[::-1]
    level = np.sqrt(rise * rise + fall * fall + 2.0 * r * rise * fall)
    return ((old * fall + new * rise) / level).astype(np.float32)
