"""Effects on a file."""

from collections.abc import Callable, Iterator
from pathlib import Path

from offline.effects.build import build
from offline.effects.chain import Chain
from offline.sound import facts, pieces, stereo, writing
from offline.stage import through
from stream.audio import Audio
from stream.errors import AudioError

Progress = Callable[[int, int], None]
PIECE_S = 5.0  # seconds read at a time


def apply(source: Path, target: Path, chain: Chain, progress: Progress | None = None) -> None:
    """Write `source` through the chain to `target`, its tags and cover art kept.

    The result is as long as the source and as its tail: sample k of it belongs to sample k of the
    source. Memory does not grow with the file. `progress` is told how many samples are done, and of
    how many. Raises `AudioError` and `ConfigError`; `target` is then as it was.
    """
    found = facts(source)
    if found.channels > 2:
        raise AudioError(
            f"{source} has {found.channels} channels, effects take 1 or 2. Fold it to stereo "
            "first: `timbral mix` does."
        )
    wide = chain.stereo or found.channels == 2
    stage = build(chain, found.rate, 2 if wide else 1)
    with writing(target, found.rate, 2 if wide else 1, tags=found.tags, source=source) as out:
        for block in through(stage, _heard(source, found.frames, wide, progress)):
            out.write(block)


def _heard(source: Path, frames: int, wide: bool, progress: Progress | None) -> Iterator[Audio]:
    done = 0
    for block in pieces(source, PIECE_S):
        yield stereo(block) if wide else block
        done += len(block)
        if progress:
            progress(done, max(done, frames))
