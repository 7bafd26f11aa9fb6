"""What training gets: clips of speech that load themselves, and the data set that they make."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from offline.dataset.features import PART
from offline.dataset.settings import DatasetSettings
from offline.dataset.sound import loud, piece
from stream.audio import FRAMES_PER_CONTENT, Audio
from stream.errors import AudioError

CONTENT_RATE = 50  # frames/s


@dataclass(frozen=True)
class Example:
    """A clip in memory; T frames of 10 ms, an even number.

    audio     [T hop] float32 at the voice's rate
    features  [T, dim] float32: each content frame twice
    f0        [T] float32 Hz, 0 unvoiced
    """

    audio: Audio
    features: Audio
    f0: Audio


@dataclass(frozen=True)
class Stored:
    """Where a recording's sound and what was heard in it lie: parts of 48 s, in order."""

    said: Path
    content: tuple[Path, ...]
    f0: tuple[Path, ...]
    gain_db: float
    hop: int


@dataclass(frozen=True)
class Clip:
    """A slice of a recording: content frames `first` to `first + frames` - 1 of it.

    recording  its name; sha256 of its file; speaker, a number
    """

    recording: str
    sha256: str
    speaker: int
    first: int
    frames: int
    stored: Stored

    @property
    def start_s(self) -> float:
        """Where in the recording it begins."""
        return self.first / CONTENT_RATE

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.frames / CONTENT_RATE

    def load(self) -> Example:
        """Its sound and what was heard. Raises `AudioError` when the cache was emptied since."""
        until, pairs = self.first + self.frames, FRAMES_PER_CONTENT
        try:
            said = np.load(self.stored.said, mmap_mode="r")
            features = _joined(self.stored.content, self.first, until, PART)
            f0 = _joined(self.stored.f0, pairs * self.first, pairs * until, pairs * PART)
        except FileNotFoundError as error:
            raise AudioError(
                f"What was heard in {self.recording} is no longer in the cache. "
                "Start the training again: it is made again."
            ) from error
        hop = pairs * self.stored.hop
        audio = loud(piece(said, hop * self.first, hop * until), self.stored.gain_db)
        return Example(audio, np.repeat(features, pairs, axis=0), f0)


@dataclass(frozen=True)
class Dataset:
    """Everything to train on and to judge by.

    recordings  what is known of each file used, for people and cards: JSON
    refused     files that were left out, and why
    remarks     what a person should know of how it was made
    key         equal for equal recordings, settings and models
    """

    speakers: tuple[str, ...]
    sample_rate: int
    encoder: str
    dim: int
    training: tuple[Clip, ...]
    held_out: tuple[Clip, ...]
    recordings: tuple[dict[str, Any], ...]
    refused: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]
    settings: DatasetSettings
    key: str

    @property
    def f0_median_hz(self) -> float:
        """Of all voiced frames to train on; 0 where nothing is voiced."""
        f0 = np.concatenate([np.zeros(0, np.float32), *(_f0(clip) for clip in self.training)])
        return float(np.median(f0[f0 > 0.0])) if (f0 > 0.0).any() else 0.0

    def facts(self) -> dict[str, Any]:
        """What a voice's card tells of it: JSON."""
        return {
            "key": self.key,
            "speakers": list(self.speakers),
            "training_minutes": _minutes(self.training),
            "held_out_minutes": _minutes(self.held_out),
            "held_out": sorted({clip.recording for clip in self.held_out}),
            "recordings": list(self.recordings),
            "refused": [{"file": name, "why": why} for name, why in self.refused],
            "remarks": list(self.remarks),
            "settings": self.settings.model_dump(mode="json"),
        }


def dataset_key(
    clips: tuple[tuple[Clip, ...], ...], settings: DatasetSettings, *models: str
) -> str:
    """sha256 of what training depends on: what is in the clips, not what they are called."""
    told = [[[c.sha256, c.speaker, c.first, c.frames] for c in side] for side in clips]
    text = json.dumps([told, settings.model_dump(mode="json"), models], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _f0(clip: Clip) -> Audio:
    pairs = FRAMES_PER_CONTENT
    begin, end = pairs * clip.first, pairs * (clip.first + clip.frames)
    return _joined(clip.stored.f0, begin, end, pairs * PART)


def _joined(files: tuple[Path, ...], begin: int, end: int, size: int) -> Audio:
    """Rows begin .. end - 1 of arrays that lie in files of `size` rows each."""
    found: list[Audio] = []
    for place in range(begin // size, -(-end // size)):
        rows = np.load(files[place], mmap_mode="r")
        found.append(np.asarray(rows[max(0, begin - place * size) : end - place * size]))
    return np.concatenate(found)


def _minutes(clips: tuple[Clip, ...]) -> float:
    return round(sum(clip.seconds for clip in clips) / 60.0, 2)
