"""Several detectors as one."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from types import MappingProxyType
from typing import Any

import numpy as np

from stream.audio import Audio
from stream.controls import F0Blend
from stream.models.f0.contour import NEAR_OCTAVE
from stream.models.f0.detector import F0Detector, check_window

BLENDS: Mapping[F0Blend, Any] = MappingProxyType(
    {"mean": np.nanmean, "median": np.nanmedian, "min": np.nanmin, "max": np.nanmax}
)


class Ensemble:
    """Asks several detectors, the most trusted first, and blends their answers (`blend`).

    Its laws are those of its members: what is committed depends on the hop only as far as theirs
    does. Whether they run side by side or one after the other changes nothing.

    helpers  threads for all members but the first, which runs in the caller's; None: one by one
    """

    def __init__(
        self, detectors: Sequence[F0Detector], how: F0Blend, helpers: Executor | None = None
    ) -> None:
        if not detectors:
            raise ValueError("an ensemble needs at least one detector")
        self._detectors = tuple(detectors)
        self._how: F0Blend = how
        self._helpers = helpers

    @property
    def live(self) -> bool:
        return all(detector.live for detector in self._detectors)

    def window(self, n: int, delay: int) -> int:
        return max(detector.window(n, delay) for detector in self._detectors)

    def __call__(self, audio: Audio, n: int, delay: int, *, together: bool = False) -> Audio:
        check_window(self, audio, n, delay)

        def heard(detector: F0Detector) -> Audio:
            window = audio[len(audio) - detector.window(n, delay) :]
            return detector(window, n, delay, together=together)

        return self._ask(heard)

    def detect_file(self, audio: Audio) -> Audio:
        return self._ask(lambda detector: detector.detect_file(audio))

    def _ask(self, question: Callable[[F0Detector], Audio]) -> Audio:
        first, *others = self._detectors
        if self._helpers is None:
            answers = [question(detector) for detector in self._detectors]
        else:
            waiting = [self._helpers.submit(question, detector) for detector in others]
            answers = [question(first), *(future.result() for future in waiting)]
        return blend(np.stack(answers), self._how)


def blend(f0: Audio, how: F0Blend) -> Audio:
    """Several contours [detectors, frames] in Hz, 0 unvoiced, as one [frames].

    A frame is voiced when more than half of the detectors say so; when just half do, the first one
    decides. The pitch is the mean, median, minimum or maximum of the logarithms of what the
    detectors say that hear voice there, octave errors undone first (`agreed`).
    """
    found = f0 > 0.0
    votes = 2 * found.sum(axis=0)
    voiced = (votes > len(f0)) | ((votes == len(f0)) & found[0])
    octaves = np.full(f0.shape, np.nan)
    np.log2(f0, out=octaves, where=found)
    octaves[:, ~voiced] = 0.0
    return np.where(voiced, np.exp2(BLENDS[how](agreed(octaves), axis=0)), 0.0).astype(np.float32)


def agreed(octaves: Audio) -> Audio:
    """Pitches [detectors, frames] (log2 Hz, NaN unvoiced) with octave errors undone.

    Whoever is about an octave away from the median of the frame (of an even number, the lower of
    the middle two) is moved onto its side. Of two, the first one is believed.
    """
    known = np.isfinite(octaves).sum(axis=0)
    ordered = np.sort(octaves, axis=0)  # NaN last
    frames = np.arange(octaves.shape[1])
    middle = ordered[np.maximum(known - 1, 0) // 2, frames]
    first = octaves[np.argmax(np.isfinite(octaves), axis=0), frames]
    jump = octaves - np.where(known == 2, first, middle)
    wrong = np.abs(np.abs(jump) - 1.0) <= NEAR_OCTAVE
    return np.where(wrong, octaves - np.sign(jump), octaves)
