"""One target's way from its sentences to a bundle in the package."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from offline.train.starter import bundle, decoder, prior, target
from offline.train.starter.crops import NORMAL
from offline.train.starter.target import TARGETS, Target

log = logging.getLogger(__name__)

PRIOR, TUNED = 0.25, 0.1
"""Shares of the training time that a voice needs which goes on from a finished one."""


def first_of(work: Path, spoken: Target) -> Path | None:
    """The finished voice that training goes on from: `work`/start/voice, or the first target."""
    if spoken is not TARGETS[0]:
        return target.folder_of(work, TARGETS[0].name)
    given = work / "start" / "voice"
    return given if given.is_dir() else None


def make(work: Path, spoken: Target, minutes: float, device: str, into: Path) -> None:
    """Train the target's synthesizer on the student's features; the bundle goes to `into`.

    minutes  training time of each part of a voice that starts from nothing
    """
    folder = target.folder_of(work, spoken.name)
    first = first_of(work, spoken)
    log.info("%s: from %s", spoken.name, "nothing" if first is None else first)
    prior.listen(folder, work / "student.pt")
    if first is None:
        decoder.train(folder, minutes, device=device)
        prior.train(folder, minutes, device=device)
        decoder.tune(folder, minutes, device=device)
    else:
        shutil.copyfile(first / NORMAL, folder / NORMAL)
        tuned = TUNED if spoken is not TARGETS[0] else 0.0  # its decoder knows its own spectra
        prior.train(folder, PRIOR * minutes, first=first, device=device)
        decoder.tune(folder, tuned * minutes, first=first, device=device)
    bundle.bundle(folder, spoken, into)
