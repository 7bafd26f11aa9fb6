"""Whose voice it is: speaker embeddings compared."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from stream.audio import ANALYSIS_RATE, Audio, frame_levels, gain, rms_db
from stream.models.assets import installed, missing
from stream.models.speaker import SpeakerModel

MODEL: Final = "speaker-ge2e"
LEVEL_DB: Final = -30.0  # dBFS, to which quiet speech is raised: the model was trained so
FRAME: Final = ANALYSIS_RATE * 30 // 1000
DEEP_DB: Final = 40.0  # below the loud frames, a frame is silence
SMOOTHED, LONGEST = 8, 6  # frames: of the moving mean, and of a silence that stays

Embed = Callable[[Audio], Audio]
"""16 kHz speech [n] -> [256] of length 1."""


def open_speaker(home: Path) -> Embed:
    """What tells speakers apart; raises `AssetMissing` when it is not installed."""
    if not installed(home, MODEL):
        raise missing(MODEL, "speaker", home, needed_by="Comparing speakers")
    model = SpeakerModel(home / "models" / MODEL)
    return lambda audio: model(prepared(audio))


def prepared(audio: Audio) -> Audio:
    """Speech [n] at 16 kHz as the model wants it: never quieter than -30 dBFS, pauses cut short.

    Law: at most `audio`'s length, and the same for any quieter copy of it.
    """
    level = rms_db(audio)
    raised = audio * gain(LEVEL_DB - level) if -120.0 < level < LEVEL_DB else audio
    count = len(raised) // FRAME
    if not count:
        return raised.astype(np.float32)
    whole = raised[: count * FRAME]
    levels = frame_levels(whole, FRAME)
    loud = (levels > np.percentile(levels, 95) - DEEP_DB).astype(np.float64)
    smooth = np.convolve(loud, np.full(SMOOTHED, 1.0 / SMOOTHED), "same") >= 0.5
    kept = np.convolve(smooth, np.ones(LONGEST + 1), "same") > 0.5
    if not kept.any():
        return whole.astype(np.float32)
    return whole.reshape(count, FRAME)[kept].ravel().astype(np.float32)


def speaker_of(embed: Embed, recordings: Sequence[Audio]) -> Audio:
    """The embedding [256] of who speaks in all `recordings`: their mean, of length 1."""
    mean = np.mean([embed(audio) for audio in recordings], axis=0)
    return (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)


def similarity(one: Audio, other: Audio) -> float:
    """Of two embeddings, -1..1; recordings of one speaker are above 0.75 or so, of two below."""
    return float(np.dot(one, other))
