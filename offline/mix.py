"""Many tracks into one: floats throughout, as loud as wanted, the true peak under a ceiling."""

import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from offline.effects.chain import Filter
from offline.filters import Filters
from offline.loudness import SILENT_LUFS, Loudness, measure
from offline.master import Played, Steps, Take
from offline.sound import SUBTYPES, check_target, facts, pieces, stereo, writing
from offline.tags import Tags
from stream.audio import Audio, gain
from stream.errors import AudioError, ConfigError

Progress = Callable[[int, int], None]
PIECE_S = 5.0  # seconds mixed at a time
BLOCK = 1 << 16  # samples of silence at a time
SPARE_DB = 0.1  # by which a mix is to be lower than needed when it is encoded anew
ENCODED = {".mp3", ".ogg", ".m4a"}
MOST_ENCODED = 48_000  # Hz, that these hold


class Track(BaseModel):
    """One track of a mix.

    pan      -1 left .. 1 right, at even power; 0 leaves both channels as they are
    delay_ms later, or earlier where it is negative: then its beginning is cut off
    eq       filters, one after the other
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    path: Path
    gain_db: float = Field(default=0.0, ge=-120.0, le=40.0)
    pan: float = Field(default=0.0, ge=-1.0, le=1.0)
    delay_ms: float = Field(default=0.0, ge=-600_000.0, le=600_000.0)
    eq: tuple[Filter, ...] = ()


Lufs = Annotated[float, Field(ge=-60.0, le=-5.0)]


class MixSettings(BaseModel):
    """How a mix ends.

    loudness    LUFS, or the file whose loudness it is to have; None leaves it as it comes
    ceiling_db  dBTP, held by the limiter; None for no limiter
    rate        Hz; None for the highest of the tracks
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    loudness: Lufs | Path | None = -14.0
    ceiling_db: float | None = Field(default=-1.0, ge=-40.0, le=0.0)
    rate: int | None = Field(default=None, ge=8_000, le=192_000)


@dataclass(frozen=True)
class Mixed:
    """What a mix has become, as it is in the file."""

    lufs: float  # -70 for silence
    true_peak_db: float  # dBTP, -120 for silence
    gain_db: float  # given to the sum of the tracks, to be as loud as wanted
    reduction_db: float  # the most that the limiter took away
    seconds: float


def mix(
    tracks: Sequence[Track],
    target: Path,
    settings: MixSettings | None = None,
    progress: Progress | None = None,
    *,
    tags: Tags | None = None,
) -> Mixed:
    """Write the sum of the tracks to `target`; tell what it has become.

    It is as long as the longest track, with one channel where all tracks have one and none is
    panned, else with two; more are folded to two. Laws: without loudness and limiter it is the
    plain sum, so that the untouched stems of a song make the song; its true peak is at most
    `ceiling_db`, also after what a lossy format has changed; its loudness is within 0.5 LU of what
    is wanted, as long as a limited mix can be that loud. Memory does not grow with the tracks: the
    sum waits in an unnamed file beside `target`.

    tags   of the result; None for those of the first track that has any

    `progress` is told how many samples are done, and of how many, over all passes. Raises
    `AudioError` and `ConfigError`; `target` is then as it was.
    """
    wanted = settings or MixSettings()
    check_target(target)
    if target.exists() and any(t.path.exists() and target.samefile(t.path) for t in tracks):
        raise ConfigError(f"{target} is one of the tracks. Give the mix another name.")
    desk = _Desk(tracks, wanted.rate, target.suffix.lower() in ENCODED)
    lufs = _lufs(wanted.loudness)
    steps = Steps(progress, 2 * desk.frames)
    try:
        with tempfile.TemporaryFile(dir=target.parent) as file:
            take = Take(file, desk.rate, desk.channels)
            raw = take.record(desk.blocks(), steps)
            gain_db = 0.0 if lufs is None else take.gain_for(lufs, raw, wanted.ceiling_db, steps)
            chosen = desk.tags if tags is None else tags
            played, heard = _written(take, target, gain_db, wanted.ceiling_db, chosen, steps)
    except OSError as error:
        raise AudioError(f"{target} cannot be written: {error}.") from error
    seconds = take.frames / take.rate
    return Mixed(heard.lufs, heard.true_peak_db, gain_db, played.reduction_db, seconds)


def _written(
    take: Take,
    target: Path,
    gain_db: float,
    ceiling_db: float | None,
    tags: Tags,
    steps: Steps,
) -> tuple[Played, Loudness]:
    """Write the take; a lossy file is read again, and written anew where it peaks too high."""
    ending = target.suffix.lower()
    lower = 0.0
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".mix-") as folder:
        made = Path(folder) / target.name
        while True:
            ceiling = None if ceiling_db is None else ceiling_db - lower
            with writing(made, take.rate, take.channels, tags=tags) as out:
                played = take.play(gain_db, ceiling, steps, out.write)
                if played.highest > 1.0 and SUBTYPES[ending] != "FLOAT":
                    raise AudioError(_too_loud(target, played.highest))
            heard = measure(made) if ending in ENCODED else played.heard
            if ceiling_db is None or heard.true_peak_db <= ceiling_db:
                break
            lower += heard.true_peak_db - ceiling_db + SPARE_DB
            steps.expect(take.frames)
        os.replace(made, target)
    return played, heard


def _too_loud(target: Path, highest: float) -> str:
    return (
        f"{target} would be clipped: its loudest sample is {20 * math.log10(highest):.1f} dB above "
        "full scale. Keep the limiter (a ceiling of -1 dBTP), or write .wav, which holds floats."
    )


def _lufs(loudness: float | Path | None) -> float | None:
    """What is wanted, in LUFS. Raises `AudioError` for a song without any loudness."""
    if not isinstance(loudness, Path):
        return loudness
    found = measure(loudness).lufs
    if found <= SILENT_LUFS:
        raise AudioError(f"{loudness} is silent: there is no loudness to match. Name a figure.")
    return found


class _Desk:
    """Sums the tracks.

    frames  of the sum, as far as the files tell
    tags    of the first track that has any
    """

    def __init__(self, tracks: Sequence[Track], rate: int | None, encoded: bool) -> None:
        if not tracks:
            raise ConfigError("There is nothing to mix. Name at least one track.")
        found = [facts(track.path) for track in tracks]
        highest = rate or max(f.rate for f in found)
        self.rate = min(highest, MOST_ENCODED) if encoded else highest
        mono = all(f.channels == 1 for f in found) and not any(t.pan for t in tracks)
        self.channels = 1 if mono else 2
        self.frames = max(
            _at(f.frames / f.rate + t.delay_ms / 1000.0, self.rate)
            for f, t in zip(found, tracks, strict=True)
        )
        self.tags = next((f.tags for f in found if f.tags), Tags())
        self._tracks = tracks

    def blocks(self) -> Iterator[Audio]:
        """The sum [n, channels], in blocks, until the last track has ended."""
        size = _at(PIECE_S, self.rate)
        playing = [_Feed(self._played(track)) for track in self._tracks]
        while True:
            heard = [feed.take(size) for feed in playing]
            longest = max(len(block) for block in heard)
            if not longest:
                return
            total = np.zeros((longest, self.channels), np.float32)
            for block in heard:
                total[: len(block)] += block
            yield total

    def _played(self, track: Track) -> Iterator[Audio]:
        """One track as it goes into the sum, in blocks [n, channels]."""
        filters = Filters(track.eq, self.rate, self.channels)
        angle = (track.pan + 1.0) * math.pi / 4.0
        sides = math.sqrt(2.0) * np.array([math.cos(angle), math.sin(angle)])
        shares = gain(track.gain_db) * (sides if track.pan else np.ones(self.channels))
        late = _at(track.delay_ms / 1000.0, self.rate)
        for start in range(0, late, BLOCK):
            yield np.zeros((min(BLOCK, late - start), self.channels), np.float32)
        for block in pieces(track.path, PIECE_S, self.rate):
            wide = block if self.channels == 1 else stereo(block)
            early = min(max(0, -late), len(wide))
            late += early
            yield filters.step(wide[early:]) * shares.astype(np.float32)


class _Feed:
    """Blocks of any size in, blocks of the size asked for out, fewer samples only at the end."""

    def __init__(self, blocks: Iterator[Audio]) -> None:
        self._blocks = blocks
        self._held = next(blocks, np.zeros((0, 1), np.float32))

    def take(self, size: int) -> Audio:
        """The next `size` samples, or what is left of them."""
        parts = [self._held]
        have = len(self._held)
        while have < size and (block := next(self._blocks, None)) is not None:
            parts.append(block)
            have += len(block)
        joined = np.concatenate(parts) if len(parts) > 1 else self._held
        self._held = joined[size:]
        return joined[:size]


def _at(seconds: float, rate: int) -> int:
    return round(seconds * rate)
