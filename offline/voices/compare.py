"""How alike two voices are."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from offline.judge.scores import analysis
from offline.judge.similarity import open_speaker, similarity
from stream.audio import Audio
from stream.errors import AssetMissing
from stream.files import SoundFile
from stream.importer.mixture import read_weights
from stream.models.nsf import DECODER, PRIOR
from stream.models.store import Store
from stream.models.voice import SYNTH, VoiceCard


@dataclass(frozen=True)
class Likeness:
    """What two voices have in common.

    weights     cosine of the weights of each graph, -1..1; empty where their shapes differ
    apart       what differs between their cards: name: (of one, of the other)
    speaker     similarity of their previews' speakers, -1..1; None where it cannot be told
    semitones   from the pitch of one to that of the other; None where one is not known
    missing     why a figure is not there
    """

    weights: dict[str, float]
    apart: dict[str, tuple[str, str]]
    speaker: float | None
    semitones: float | None
    missing: tuple[str, ...]

    @property
    def told(self) -> list[str]:
        """In words, a line each."""
        lines = [
            f"{name}: weights {_kinship(value)} ({value:.4f})"
            for name, value in self.weights.items()
        ]
        if self.speaker is not None:
            lines.append(f"speakers: {_people(self.speaker)} (similarity {self.speaker:.2f})")
        if self.semitones is not None:
            lines.append(f"pitch: {self.semitones:+.1f} semitones")
        lines += [f"{name}: {one} and {other}" for name, (one, other) in self.apart.items()]
        return [*lines, *self.missing]


def compare(one: str, other: str, store: Store) -> Likeness:
    """Compare two voices; raises `VoiceNotFound` and `BadBundle`."""
    cards = store.card(one), store.card(other)
    missing: list[str] = []
    weights = _weights(cards, (store.folder(one), store.folder(other)))
    if not weights:
        missing.append("weights: the networks are of different shapes, which cannot be compared")
    speaker = None
    try:
        speaker = _speaker(one, other, store)
        if speaker is None:
            missing.append("speakers: one of the voices has no preview to listen to")
    except AssetMissing as error:
        missing.append(f"speakers: {error}")
    a, b = (card.f0_median_hz for card in cards)
    semitones = 12.0 * math.log2(b / a) if a and b else None
    return Likeness(weights, _apart(*cards), speaker, semitones, tuple(missing))


def _weights(cards: tuple[VoiceCard, VoiceCard], folders: tuple[Path, Path]) -> dict[str, float]:
    if cards[0].kind != cards[1].kind or cards[0].kind == "blackbox":
        return {}
    found: dict[str, float] = {}
    for name in (PRIOR, DECODER) if cards[0].kind == "nsf" else (SYNTH,):
        a, b = (read_weights(folder / name).values for folder in folders)
        shared = [place for place in a if place in b and a[place].shape == b[place].shape]
        if len(shared) < 0.9 * max(len(a), len(b)):
            return {}
        found[name] = _cosine([a[place] for place in shared], [b[place] for place in shared])
    return found


def _cosine(one: list[Audio], other: list[Audio]) -> float:
    """Of all the numbers together; each tensor is brought to the same size first."""
    dots = lengths = 0.0
    for a, b in zip(one, other, strict=True):
        size = a.size / max(float(np.linalg.norm(a)) * float(np.linalg.norm(b)), 1e-30)
        dots += size * float(np.sum(a.astype(np.float64) * b))
        lengths += a.size
    return dots / lengths if lengths else 1.0


def _speaker(one: str, other: str, store: Store) -> float | None:
    previews = store.preview(one), store.preview(other)
    if previews[0] is None or previews[1] is None:
        return None
    embed = open_speaker(store.home)
    return similarity(*(embed(_heard(path)) for path in previews if path is not None))


def _heard(path: Path) -> Audio:
    file = SoundFile(path)
    return analysis(file.read(), file.rate)


def _apart(one: VoiceCard, other: VoiceCard) -> dict[str, tuple[str, str]]:
    keys = ("kind", "rvc_version", "sample_rate", "encoder", "licence")
    values = {key: (str(getattr(one, key)), str(getattr(other, key))) for key in keys}
    return {key: pair for key, pair in values.items() if pair[0] != pair[1]}


def _kinship(cosine: float) -> str:
    if cosine > 0.9999:
        return "the same"
    if cosine > 0.9:
        return "of one origin"
    return "akin" if cosine > 0.5 else "unrelated"


def _people(value: float) -> str:
    if value >= 0.85:
        return "the same or very alike"
    return "alike" if value >= 0.75 else "two different people"
