"""Examinations: the voice says held-out speech again, and judges compare."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from offline.judge.scores import Judges, Scores, best, judge, read_scores, worse_since
from offline.train.data import Clip
from offline.train.plan import write_json
from offline.train.recipe import Convert
from offline.train.settings import TrainSettings
from stream.files import writing

SCORES, PREVIEWS = "scores.json", "previews"
SECONDS = 60.0
"""Of held-out speech that an examination hears at most."""
HEARD = 2
"""Clips that are kept to be listened to."""


class HeldOut:
    """The exam on held-out clips; its history is kept in the run's folder.

    Law: what was judged is not judged again, and a run that goes on from a step knows only what was
    judged up to it.
    """

    def __init__(
        self, folder: Path, clips: Sequence[Clip], settings: TrainSettings, judges: Judges
    ) -> None:
        self._folder, self._judges, self._rate = folder, judges, settings.sample_rate
        self._clips = _up_to(clips, SECONDS)
        self.history = read_history(folder)

    def back_to(self, step: int) -> None:
        """Forget later steps: they are about to come again."""
        self.history = {k: v for k, v in self.history.items() if k <= step}
        self._write()

    def taken(self, step: int) -> bool:
        """Whether that step was judged already."""
        return step in self.history

    def take(self, step: int, convert: Convert) -> Mapping[str, float]:
        """Judge it, keep what was found and some of what was said; the figures."""
        scores = judge(convert, self._clips, rate=self._rate, judges=self._judges)
        for number, clip in enumerate(self._clips[:HEARD]):
            path = self._folder / PREVIEWS / f"{number}-step-{step:08d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            with writing(path, self._rate) as out:
                out.write(convert(clip))
            original = self._folder / PREVIEWS / f"{number}-original.wav"
            if not original.exists():
                with writing(original, self._rate) as out:
                    out.write(clip.load().audio)
        self.history[step] = scores
        self._write()
        return {**scores.told, "value": scores.value}

    @property
    def best(self) -> int | None:
        """The step that was judged best."""
        return best(self.history) if self.history else None

    @property
    def without_gain(self) -> int:
        """Examinations since then."""
        return worse_since(self.history) if self.history else 0

    def _write(self) -> None:
        held = {str(step): asdict(scores) for step, scores in sorted(self.history.items())}
        write_json(self._folder / SCORES, held)


def read_history(folder: Path) -> dict[int, Scores]:
    """What the examinations of the run in `folder` found, by step."""
    path = folder / SCORES
    if not path.is_file():
        return {}
    held = json.loads(path.read_text("utf-8"))
    return {int(step): read_scores(told) for step, told in held.items()}


def _up_to(clips: Sequence[Clip], seconds: float) -> list[Clip]:
    """The first clips that last that long together, one at least."""
    chosen: list[Clip] = []
    left = seconds
    for clip in clips:
        if chosen and clip.seconds > left:
            continue
        chosen.append(clip)
        left -= clip.seconds
    return chosen
