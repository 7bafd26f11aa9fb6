"""Judges two files: whose voices they are, and whether they have the same melody."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from offline.judge.similarity import Embed, similarity
from offline.sound import pieces
from stream.audio import ANALYSIS_RATE, Audio, rms_db

PIECE_SECONDS: Final = 1.0
QUIET_DB: Final = -50.0  # dBFS: what is quieter says little of who it is
SECONDS: Final = 60.0  # of sound tell who it is; more cost time and memory


@dataclass(frozen=True)
class Speaker:
    """Who is heard in a file: an embedding [256] of length 1."""

    embedding: Audio

    def like(self, other: "Speaker") -> float:
        """-1..1; of one speaker above 0.75 or so."""
        return similarity(self.embedding, other.embedding)


def heard(path: Path) -> Audio:
    """What tells who is heard: the first minute that is not quiet, [n] at 16 kHz.

    Raises `AudioError`.
    """
    found: list[Audio] = []
    for piece in pieces(path, PIECE_SECONDS, ANALYSIS_RATE):
        mono = piece.mean(axis=1, dtype=np.float32)
        if rms_db(mono) > QUIET_DB:
            found.append(mono)
        if len(found) * PIECE_SECONDS >= SECONDS:
            break
    return np.concatenate([np.zeros(0, np.float32), *found])


def speakers(embed: Embed, paths: Sequence[Path]) -> list[Speaker | None]:
    """Who is heard in each file; None where there is less than a second to hear."""
    found: list[Speaker | None] = []
    for path in paths:
        sound = heard(path)
        found.append(Speaker(embed(sound)) if len(sound) >= ANALYSIS_RATE else None)
    return found
