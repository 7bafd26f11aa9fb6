"""A network made a separator: it hears the song levelled, at its own rate, window by window."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import soxr

from offline.separate.overlap import overlap_add
from offline.separate.protocol import Net, Progress, Song
from offline.separate.roles import Parted, Roles
from stream.audio import Audio
from stream.errors import AudioError

PEAK = 0.9  # what networks hear a song's loudest sample as: they learned from finished songs


@dataclass(frozen=True)
class Windowed(Parted):
    """A `Separator` from a `Net`, which gives `roles.target`, or `roles.rest`, or both.

    Of the two, only the first that the network gives is used: the other is the song without it.

    hop  frames from one window to the next; 0 takes three quarters of what a window may use
    """

    net: Net
    roles: Roles
    digest: str
    hop: int = 0

    def __post_init__(self) -> None:
        if not {self.target, self.rest} & set(self.net.stems):
            raise ValueError(f"{self.net.stems} is neither {self.target} nor {self.rest}")

    @property
    def stems(self) -> tuple[str, ...]:
        """`target`, `rest`, and whatever else the network gives."""
        own = super().stems
        return own + tuple(stem for stem in self.net.stems if stem not in own)

    def stream(self, song: Song, *, progress: Progress | None = None) -> Iterator[Audio]:
        """The stems in pieces [stems, n, 2], at the song's rate."""
        frames, peak = measure(song)
        gain = PEAK / peak if peak else 1.0
        heard = (block * np.float32(gain) for block in song.blocks(self.net.rate))
        given = self.target if self.target in self.net.stems else self.rest
        chosen = [self.net.stems.index(stem) for stem in (given, *self.stems[2:])]
        found = (part[chosen] for part in overlap_add(heard, self.net, hop=self.hop))
        mix, done = Reader(song.blocks(song.rate)), 0
        for part in at_rate(found, self.net.rate, song.rate, frames):
            stems = part / np.float32(gain)
            rest = mix.read(stems.shape[1]) - stems[0]
            pair = [stems[:1], rest[np.newaxis]]
            if given == self.rest:
                pair.reverse()
            done += stems.shape[1]
            yield np.concatenate([*pair, stems[1:]])
            if progress:
                progress(done, frames)


class Reader:
    """Blocks [n, channels] of any size, read in the sizes that one likes."""

    def __init__(self, blocks: Iterable[Audio]) -> None:
        self._blocks = iter(blocks)
        self._held: list[Audio] = []

    def read(self, n: int) -> Audio:
        """The next `n` frames, fewer only at the end."""
        parts, missing = self._held, n - sum(map(len, self._held))
        while missing > 0:
            block = next(self._blocks, None)
            if block is None:
                break
            parts.append(block)
            missing -= len(block)
        if not parts:
            return np.zeros((0, 2), np.float32)
        whole = np.concatenate(parts)
        self._held = [whole[n:]] if len(whole) > n else []
        return whole[:n]


def measure(song: Song) -> tuple[int, float]:
    """How many frames the song has, and its peak. Raises `AudioError` where it has none."""
    frames, peak = 0, 0.0
    for block in song.blocks(song.rate):
        frames += len(block)
        peak = max(peak, float(np.abs(block).max(initial=0.0)))
    if not frames:
        raise AudioError("The song holds no sound: there is nothing to separate.")
    return frames, peak


def at_rate(parts: Iterable[Audio], rate: int, wanted: int, frames: int) -> Iterator[Audio]:
    """Pieces [stems, n, 2] at `rate` as pieces at `wanted` Hz, `frames` in all."""
    left = frames
    if rate == wanted:
        for part in parts:
            yield part[:, :left]
            left -= part.shape[1]
        return
    convert: soxr.ResampleStream | None = None
    stems = channels = 0
    for part in parts:
        stems, n, channels = part.shape
        if convert is None:
            wide = stems * channels
            convert = soxr.ResampleStream(rate, wanted, wide, dtype="float32", quality="VHQ")
        flat = np.ascontiguousarray(part.transpose(1, 0, 2).reshape(n, -1), np.float32)
        out = convert.resample_chunk(flat)[:left]
        left -= len(out)
        if len(out):
            yield out.reshape(len(out), stems, channels).transpose(1, 0, 2)
    if convert is not None and left:
        silence = np.zeros((0, stems * channels), np.float32)
        out = convert.resample_chunk(silence, last=True)[:left]
        out = np.pad(out, ((0, left - len(out)), (0, 0)))
        yield out.reshape(left, stems, channels).transpose(1, 0, 2)
