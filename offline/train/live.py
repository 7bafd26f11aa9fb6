"""The finished voice heard live: its preview, and what judges say of it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import soxr

from offline.judge.scores import Scores, judge, open_judges
from offline.train.work import Work
from stream.audio import RATES, Audio, soft_limit
from stream.controls import Controls
from stream.engine import Conversion
from stream.files import writing
from stream.models.voice import Voice

JUDGED: Final = 4  # held-out clips that the finished voice says live
PREVIEW_S: Final = 10.0


def converted(voice: Voice, audio: Audio) -> Audio:
    """Speech [n] at the voice's rate, said live by it: [n], in step. The pitch is not moved."""
    rate = voice.card.sample_rate
    outside = rate if rate in RATES else max(RATES)
    stream = Conversion(
        voice, outside, profile=voice.for_files, controls=Controls(auto_pitch=False)
    )
    given = _resampled(audio, rate, outside)
    said = _resampled(np.concatenate([stream.step(given), stream.flush()]), outside, rate)
    return np.pad(said, (0, max(0, len(audio) - len(said))))[: len(audio)]


def _resampled(audio: Audio, source: int, target: int) -> Audio:
    if source == target:
        return audio
    return np.asarray(soxr.resample(audio, source, target), np.float32)


def preview(voice: Voice, work: Work, path: Path) -> None:
    """The voice's own words, as it says them live."""
    clips = [*work.held_out, *work.training]
    clip = max(clips, key=lambda each: min(each.seconds, PREVIEW_S))
    rate = voice.card.sample_rate
    with writing(path, rate) as file:
        file.write(soft_limit(converted(voice, clip.load().audio[: int(PREVIEW_S * rate)])))


def judged(voice: Voice, work: Work, home: Path) -> tuple[Scores | None, tuple[str, ...]]:
    """The finished voice heard live on held-out clips, and which judges are missing."""
    clips = work.held_out[:JUDGED]
    rate = voice.card.sample_rate
    judges = open_judges(home, work.training, rate)
    if not clips:
        return None, judges.missing
    scores = judge(
        lambda clip: converted(voice, clip.load().audio),
        clips,
        rate=rate,
        judges=judges,
    )
    return scores, judges.missing
