"""The last step: the new voice in place of the old one, as loud as that was."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Generic, TypeVar

from offline.cover.plan import Progress
from offline.cover.settings import CoverSettings
from stream.errors import AudioError

FIGURES = "mix.json"
SILENT_LUFS = -60.0  # what is quieter is the rest of a voice that is not there
MOST_DB = 24.0  # by which the new voice is made louder or quieter
T = TypeVar("T")
S = TypeVar("S")


@dataclass(frozen=True)
class Parts(Generic[T]):
    """What a song consists of, before and after; a backing may be missing."""

    old_voice: T
    new_voice: T
    band: T
    old_backing: T | None
    new_backing: T | None

    @property
    def all(self) -> tuple[T, ...]:
        """Those that there are."""
        parts = (self.old_voice, self.new_voice, self.band, self.old_backing, self.new_backing)
        return tuple(part for part in parts if part is not None)

    def each(self, do: Callable[[T], S]) -> "Parts[S]":
        """`do` done to all of them."""
        old = None if self.old_backing is None else do(self.old_backing)
        new = None if self.new_backing is None else do(self.new_backing)
        return Parts(do(self.old_voice), do(self.new_voice), do(self.band), old, new)


def mixdown(
    song: Path, parts: Parts[Path], settings: CoverSettings, target: Path, progress: Progress
) -> None:
    """Write the mix to `target`, and beside it what was measured (`FIGURES`).

    Law: where the new parts are the old ones, and no gain, key or loudness is asked for, the mix
    is the song.
    """
    from offline.loudness import measure
    from offline.mix import MixSettings, Track, mix

    voice = match(parts.old_voice, parts.new_voice)
    tracks = [
        Track(path=parts.band, gain_db=settings.band_db),
        Track(path=parts.new_voice, gain_db=voice.gain_db + settings.voice_db),
    ]
    if parts.old_backing and parts.new_backing:
        backing = match(parts.old_backing, parts.new_backing)
        tracks.append(Track(path=parts.new_backing, gain_db=backing.gain_db + settings.backing_db))
    loudness = (
        song if settings.lufs == "song" else None if settings.lufs == "off" else settings.lufs
    )
    wanted = MixSettings(loudness=loudness, ceiling_db=settings.ceiling_db)
    mixed = mix(tracks, target, wanted, progress)
    figures = asdict(mixed) | {
        "song_lufs": measure(song).lufs,
        "old_voice_lufs": voice.before,
        "new_voice_lufs": voice.after,
        "new_voice_gain_db": voice.gain_db + settings.voice_db,
    }
    (target.parent / FIGURES).write_text(json.dumps(figures, indent=1), "utf-8")


@dataclass(frozen=True)
class Match:
    """How loud a voice was and is now, in LUFS, and the gain in dB that makes both alike."""

    before: float
    after: float
    gain_db: float


def match(old: Path, new: Path) -> Match:
    """What makes `new` as loud as `old`; no gain where one of them is silent."""
    from offline.loudness import measure

    before = measure(old).lufs
    after = before if old == new else measure(new).lufs
    heard = min(before, after) >= SILENT_LUFS
    gain_db = min(max(before - after, -MOST_DB), MOST_DB) if heard else 0.0
    return Match(before, after, gain_db)


def figures_of(folder: Path) -> dict[str, float]:
    """What was measured of the mix in `folder`; raises `AudioError` when it is not there."""
    try:
        return json.loads((folder / FIGURES).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise AudioError(f"{folder} holds no mix: {error}.") from error
