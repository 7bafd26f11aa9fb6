"""What can be told of a new voice in figures: whose it is, and whether it keeps the melody."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from offline.curve import Curve, frame_times, read_curve
from offline.judge.files import speakers
from offline.judge.melody import compare_melodies
from offline.judge.similarity import open_speaker
from stream.audio import ANALYSIS_RATE, FRAME_HOP
from stream.errors import AssetMissing

JUDGED = "judged.json"


@dataclass(frozen=True)
class Judged:
    """The new voice against the old one, and against its own preview; None where unknown.

    f0_correlation  of log f0 where both sing, -1..1
    f0_cents        median distance of the melody, transposition apart
    voicing_error   share of 10 ms frames in which only one of them sings, 0..1
    like_voice      similarity of the new voice to the preview of the voice, -1..1
    was_like_voice  the same of the old voice;  like_singer  of the new voice to the old one
    missing         why a figure is not there
    """

    f0_correlation: float | None
    f0_cents: float | None
    voicing_error: float
    like_voice: float | None
    was_like_voice: float | None
    like_singer: float | None
    missing: tuple[str, ...]


def judge(
    files: tuple[Path, Path],
    pitches: tuple[Path, Path],
    preview: Path | None,
    home: Path,
    folder: Path,
) -> Judged:
    """Judge the old and the new voice, each a file and a curve; what is found is kept in `folder`.

    Raises `AudioError`.
    """
    kept = melody(*(read_curve(path) for path in pitches))
    missing: list[str] = []
    likes: dict[str, float | None] = dict.fromkeys(("like_voice", "was_like_voice", "like_singer"))
    if preview is None:
        missing.append("The voice has no preview to compare with.")
    else:
        try:
            own, old, new = speakers(open_speaker(home), [preview, *files])
            for name, (a, b) in zip(likes, ((new, own), (old, own), (new, old)), strict=True):
                likes[name] = a.like(b) if a and b else None
            if None in likes.values():
                missing.append("There is too little of a voice to tell whose it is.")
        except AssetMissing as error:
            missing.append(str(error))
    judged = Judged(*kept, **likes, missing=tuple(missing))
    (folder / JUDGED).write_text(json.dumps(asdict(judged)), "utf-8")
    return judged


def melody(old: Curve, new: Curve) -> tuple[float | None, float | None, float]:
    """Correlation, cents and voicing error of two curves; None for what cannot be told."""
    ends = [float(curve.times[-1]) for curve in (old, new) if len(curve.times)]
    times = frame_times(round(max(ends, default=0.0) * ANALYSIS_RATE / FRAME_HOP))
    kept = compare_melodies(*(curve(times) for curve in (old, new)))
    known = (None if math.isnan(x) else x for x in (kept.correlation, kept.cents))
    return next(known), next(known), float(np.round(kept.voicing_error, 6))


def judged(folder: Path) -> Judged:
    """What `judge` put into `folder`."""
    said = json.loads((folder / JUDGED).read_text("utf-8"))
    return Judged(**said | {"missing": tuple(said["missing"])})
