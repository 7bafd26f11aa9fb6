"""A song whose parts are known, and a separator that knows them: voice left, band right."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from offline.cover.settings import Separation
from offline.cover.tools import Tools
from offline.separate.protocol import Progress, Song
from stream.audio import Audio
from stream.device import CPU
from stream.files import SoundFile
from stream.models.store import Store

SPEECH = Path(__file__).parent / "speech" / "sense-and-sensibility-0880.wav"
RATE = 44_100


def voice(seconds: float = 1.5) -> Audio:
    """Somebody speaks, again and again, [n] at 44.1 kHz."""
    return np.resize(SoundFile(SPEECH, least_rate=RATE).read(), round(seconds * RATE))


def band(seconds: float = 1.5) -> Audio:
    """A chord with a beat, [n] at 44.1 kHz."""
    t = np.arange(round(seconds * RATE)) / RATE
    chord = sum(np.sin(2 * np.pi * hz * t) for hz in (130.8, 164.8, 196.0))
    return (0.08 * chord * np.exp(-3.0 * (t % 0.5))).astype(np.float32)


def write_song(path: Path, left: Audio | None = None, right: Audio | None = None) -> Path:
    """The song as a file of floats or, if the name says so, in another format."""
    parts = (voice() if left is None else left, band() if right is None else right)
    subtype = "FLOAT" if path.suffix == ".wav" else None
    soundfile.write(path, np.stack(parts, axis=1), RATE, subtype=subtype)
    return path


@dataclass(frozen=True)
class Halves:
    """Gives the left side as `target` and the right side as `rest`."""

    target: str = "vocals"
    rest: str = "instrumental"
    digest: str = "halves-1"

    @property
    def stems(self) -> tuple[str, ...]:
        return self.target, self.rest

    def stream(self, song: Song, *, progress: Progress | None = None) -> Iterator[Audio]:
        done = 0
        for block in song.blocks(song.rate):
            sides = np.eye(2, dtype=np.float32)[:, np.newaxis, :]
            yield block * sides
            done += len(block)
            if progress:
                progress(done, done)


@dataclass(frozen=True)
class Backs(Halves):
    """All of it is the lead; the backing is a tenth of it."""

    target: str = "lead"
    rest: str = "backing"

    def stream(self, song: Song, *, progress: Progress | None = None) -> Iterator[Audio]:
        for block in song.blocks(song.rate):
            yield np.stack([0.9 * block, 0.1 * block])


def tools(home: Path, **digests: str) -> Tools:
    """Tools that need no model but the starter's; `digests` of separators by their names."""

    def opened(wanted: Separation) -> Halves:
        name = wanted.models[0]
        kind = Backs if name == "lead" else Halves
        return kind(digest=digests.get(name, f"{name}-1"))

    return Tools(Store(home), opened, CPU)
