"""The song that a cover is made of: heard once, known by its sound and not by its name."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from offline.cover.plan import Progress
from offline.sound import facts, pieces, stereo, writing
from stream.errors import AudioError

PIECE_SECONDS = 5.0
QUIETEST = 1e-4  # peak: -80 dBFS
LONGEST_SECONDS = 3 * 3600
SHORTEST_SECONDS = 0.5
RATES = (44_100, 48_000)  # Hz, of what a cover is made at
NARROW_HZ = 16_000  # a lower rate is that of a telephone


@dataclass(frozen=True)
class Song:
    """A file, heard from beginning to end.

    digest  of its sound, decoded: the same under another name, in another container, with other
            tags; another one as soon as a single sample is
    rate    Hz at which a cover of it is made
    notes   what a listener should know beforehand, in sentences
    """

    path: Path
    digest: str
    own_rate: int
    channels: int
    frames: int
    rate: int
    notes: tuple[str, ...]
    stamp: tuple[int, int]  # size in bytes, time of the last change

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.frames / self.own_rate


def listen(path: Path, progress: Progress | None = None) -> Song:
    """Hear a song through. Raises `AudioError` when no cover can be made of it."""
    found = facts(path)
    _refuse_long(path, found.frames / found.rate)
    stamp = _stamp(path)
    digest = hashlib.sha256(f"{found.rate} {found.channels} ".encode())
    frames, peak = 0, 0.0
    for piece in pieces(path, PIECE_SECONDS):
        digest.update(np.ascontiguousarray(piece, "<f4").tobytes())
        frames += len(piece)
        peak = max(peak, float(np.abs(piece).max()))
        _refuse_long(path, frames / found.rate)
        if progress:
            progress(frames, max(frames, found.frames))
    if frames < SHORTEST_SECONDS * found.rate:
        raise AudioError(f"{path} is {frames / found.rate:.2f} s long. That is no song.")
    if peak < QUIETEST:
        raise AudioError(f"{path} is silent: its loudest sample is {peak:.1g}. Is it the song?")
    stereo(np.zeros((1, found.channels), np.float32))  # more channels than are known are refused
    return Song(
        path=path,
        digest=digest.hexdigest(),
        own_rate=found.rate,
        channels=found.channels,
        frames=frames,
        rate=max(rate for rate in RATES if rate <= max(found.rate, RATES[0])),
        notes=_notes(found.rate, found.channels, peak),
        stamp=stamp,
    )


def read(song: Song, target: Path, progress: Progress) -> None:
    """Write the song to `target` as float stereo at `song.rate`.

    Raises `AudioError`, also when the file is not any more what was heard.
    """
    total = -(-song.frames * song.rate // song.own_rate)
    done = 0
    with writing(target, song.rate, 2) as out:
        for piece in pieces(song.path, PIECE_SECONDS, song.rate):
            out.write(stereo(piece))
            done += len(piece)
            progress(done, max(done, total))
    if _stamp(song.path) != song.stamp:
        target.unlink()
        raise AudioError(f"{song.path} was changed while it was read. Start again.")


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _refuse_long(path: Path, seconds: float) -> None:
    if seconds > LONGEST_SECONDS:
        raise AudioError(
            f"{path} is longer than {LONGEST_SECONDS // 3600} hours. Cut it into parts and give "
            "all of them: timbral cover part1.wav part2.wav"
        )


def _notes(rate: int, channels: int, peak: float) -> tuple[str, ...]:
    notes: list[str] = []
    if rate < NARROW_HZ:
        notes.append(f"It has {rate} Hz, as on a telephone: expect a dull cover.")
    if channels > 2:
        notes.append(f"Its {channels} channels are folded to stereo.")
    if peak >= 1.0:
        notes.append("It clips: its loudest sample is full scale.")
    return tuple(notes)
