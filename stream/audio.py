"""Sound as arrays: the `Audio` alias, the engine's constants, and pure functions.

No state, no I/O, no logging. Mono, float32 at run time, -1..1.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.floating[Any]]
"""Samples in -1..1, float32 at run time (numpy's stubs widen products of float32 arrays)."""

ANALYSIS_RATE = 16_000  # Hz, what content encoders and f0 detectors hear
CONTENT_HOP = 320  # analysis samples a content frame: 20 ms, 50 frames/s
FRAME_HOP = 160  # analysis samples an f0 and synthesizer frame: 10 ms, 100 frames/s
FRAMES_PER_CONTENT = CONTENT_HOP // FRAME_HOP
RATES = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)  # Hz, what a client may send
