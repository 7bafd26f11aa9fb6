"""What a separator is: a song in, its stems out, in pieces, so that no song is too long."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from offline.sound import BLOCK, facts, pieces, stereo
from stream.audio import Audio

Progress = Callable[[int, int], None]
"""Called with the frames that are done and the frames that there are; to stop, it raises."""

VOCALS, INSTRUMENTAL = "vocals", "instrumental"
PIECE = 2.0  # seconds read from a file at a time


class Net(Protocol):
    """What computes: a window of sound into stems, however near the edges its output is wrong.

    stems   their names, in the order in which they come
    rate    Hz
    window  frames that are heard at once
    edge    frames at both ends of a window that are not to be used

    Law: of sound that is all one stem's, that stem is the sound and the others are silence.
    """

    @property
    def stems(self) -> tuple[str, ...]: ...

    @property
    def rate(self) -> int: ...

    @property
    def window(self) -> int: ...

    @property
    def edge(self) -> int: ...

    def __call__(self, x: Audio) -> Audio:
        """[window, 2] -> [stems, window, 2]."""
        ...


class Song(Protocol):
    """A song that can be heard as often as needed."""

    @property
    def rate(self) -> int: ...

    def blocks(self, rate: int) -> Iterator[Audio]:
        """From its beginning, [n, 2] at `rate` Hz."""
        ...


class Separator(Protocol):
    """Takes a song apart.

    Laws: every stem is as long as the song, sample by sample in its place; `rest` is the song less
    `target`, so that both sum to it; a song twice as loud gives stems twice as loud; and how the
    song was cut into blocks changes nothing.

    stems   all that it gives: `target`, `rest`, and what else it knows
    digest  of all that decides the result: a cache's key
    """

    @property
    def stems(self) -> tuple[str, ...]: ...

    @property
    def target(self) -> str: ...

    @property
    def rest(self) -> str: ...

    @property
    def digest(self) -> str: ...

    def stream(self, song: Song, *, progress: Progress | None = None) -> Iterator[Audio]:
        """The stems in pieces [stems, n, 2], at the song's rate."""
        ...


@dataclass(frozen=True)
class SongInMemory:
    """Samples [n, channels] at `rate` Hz."""

    samples: Audio
    rate: int

    def blocks(self, rate: int) -> Iterator[Audio]:
        """From its beginning, [n, 2] at `rate` Hz."""
        import soxr

        x = stereo(self.samples)
        if rate != self.rate:
            x = soxr.resample(x, self.rate, rate, quality="VHQ").astype(np.float32)
        for start in range(0, len(x), BLOCK):
            yield x[start : start + BLOCK]


@dataclass(frozen=True)
class SongFile:
    """A file; its sound is decoded anew each time. Raises `AudioError` where it cannot be."""

    path: Path

    @property
    def rate(self) -> int:
        """Its own, in Hz."""
        return facts(self.path).rate

    def blocks(self, rate: int) -> Iterator[Audio]:
        """From its beginning, [n, 2] at `rate` Hz."""
        return map(stereo, pieces(self.path, PIECE, rate))
