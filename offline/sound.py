"""Music files: every channel, the file's own rate, and the tags that belong to the song.

soundfile reads WAV, FLAC, Ogg and MP3; PyAV, of the extra `offline`, the rest: M4A, WebM, and the
sound of videos. Channels are never averaged here (mono speech for the engine: stream.files); where
a step needs two, `stereo` folds them by the standard coefficients.
"""

import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import soundfile
import soxr

from offline.mp4 import writing_mp4
from offline.tags import Tags, put_tags, tags_of
from stream.audio import Audio
from stream.errors import AudioError, ConfigError
from stream.files import LOUDEST

BLOCK = 1 << 16  # frames read at a time: about a second and a half
SUBTYPES = {  # what is written where nothing else is asked for: as exact as the format allows
    ".wav": "FLOAT",
    ".w64": "FLOAT",
    ".flac": "PCM_24",
    ".ogg": "VORBIS",
    ".mp3": "MPEG_LAYER_III",
    ".m4a": "",
}
MP4 = ".m4a"  # the one that PyAV writes
MOST_IN_WAV = 0xFFFF_0000  # bytes of samples: sizes in a WAV file have 32 bits
CUT_OFF = 1.0  # seconds that may be missing of what a file announces

# Where each channel of a file goes in stereo, as (left, right): Recommendation ITU-R BS.775-3,
# annex 4, table 2, with the channels in the order of WAVE_FORMAT_EXTENSIBLE. The low-frequency
# channel is left out, as there.
HALF = 0.5**0.5
LEFT, RIGHT, CENTRE, BASS = (1.0, 0.0), (0.0, 1.0), (HALF, HALF), (0.0, 0.0)
SIDE_LEFT, SIDE_RIGHT, BACK = (HALF, 0.0), (0.0, HALF), (0.5, 0.5)
FOLD = {
    1: ((1.0, 1.0),),
    2: (LEFT, RIGHT),
    3: (LEFT, RIGHT, CENTRE),
    4: (LEFT, RIGHT, SIDE_LEFT, SIDE_RIGHT),
    5: (LEFT, RIGHT, CENTRE, SIDE_LEFT, SIDE_RIGHT),
    6: (LEFT, RIGHT, CENTRE, BASS, SIDE_LEFT, SIDE_RIGHT),
    7: (LEFT, RIGHT, CENTRE, BASS, BACK, SIDE_LEFT, SIDE_RIGHT),
    8: (LEFT, RIGHT, CENTRE, BASS, SIDE_LEFT, SIDE_RIGHT, SIDE_LEFT, SIDE_RIGHT),
}


@dataclass(frozen=True)
class Sound:
    """A piece of music in memory: `samples` float32 [n, channels], -1..1, at `rate` Hz."""

    samples: Audio
    rate: int
    tags: Tags = field(default_factory=Tags)

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / self.rate


@dataclass(frozen=True)
class Facts:
    """What a file says of itself; `frames` is 0 where it does not tell how long it is."""

    rate: int  # Hz
    channels: int
    frames: int
    tags: Tags


class Sink(Protocol):
    """Where the blocks of a file go that is being written."""

    def write(self, block: Audio) -> None:
        """Append `block` [n, channels] or, of one channel, [n]."""
        ...


def facts(path: Path) -> Facts:
    """What is known of a file before its sound is decoded. Raises `AudioError`."""
    opened = _open(path)
    opened.blocks.close()
    return Facts(opened.rate, opened.channels, opened.frames, tags_of(path))


def read(path: Path, rate: int | None = None) -> Sound:
    """The whole file, at its own rate or at `rate` Hz. Raises `AudioError`."""
    found = facts(path)
    parts = list(_blocks(path, rate))
    return Sound(np.concatenate(parts), rate or found.rate, found.tags)


def pieces(path: Path, seconds: float, rate: int | None = None) -> Iterator[Audio]:
    """The file in pieces [n, channels] of that many seconds, the last one shorter.

    Together they are `read(path, rate)`, bit for bit; memory does not grow with the file. Raises
    `AudioError`, also half way where a file is damaged.
    """
    size = round(seconds * (rate or facts(path).rate))
    if size < 1:
        raise ValueError(f"pieces of {seconds} s hold no sample")
    kept: list[Audio] = []
    have = 0
    for block in _blocks(path, rate):
        kept.append(block)
        have += len(block)
        if have >= size:
            joined = np.concatenate(kept)
            whole = have - have % size
            yield from np.split(joined[:whole], whole // size)
            kept, have = [joined[whole:]], have - whole
    if have:
        yield np.concatenate(kept)


def stereo(x: Audio) -> Audio:
    """`x` [n, channels] as [n, 2]: one channel twice, 3 to 8 folded as ITU-R BS.775-3 says.

    Two channels stay as they are. The sum may leave -1..1: nothing is scaled, nothing clipped.
    Raises `AudioError` for more than 8.
    """
    weights = FOLD.get(x.shape[1])
    if weights is None:
        raise AudioError(f"Sound of {x.shape[1]} channels: up to 8 are known (7.1).")
    if len(weights) == 2:
        return x
    return x @ np.array(weights, np.float32)


def write(path: Path, sound: Sound, *, subtype: str = "", source: Path | None = None) -> None:
    """Write `sound` and its tags to `path`; the rest is as in `writing`."""
    frames = (sound.samples[i : i + BLOCK] for i in range(0, len(sound.samples), BLOCK))
    channels = sound.samples.shape[1]
    with writing(
        path, sound.rate, channels, tags=sound.tags, subtype=subtype, source=source
    ) as sink:
        for block in frames:
            sink.write(block)


@contextmanager
def writing(
    path: Path,
    rate: int,
    channels: int,
    *,
    tags: Tags | None = None,
    subtype: str = "",
    source: Path | None = None,
) -> Generator[Sink, None, None]:
    """A file to write in blocks; its suffix says the format: .wav .w64 .flac .ogg .mp3 .m4a.

    It appears whole at the end, tags and cover art included, or not at all; until then it grows
    beside its place under another name. `source`, the file it is made from, is never replaced.

    subtype   one of soundfile's, such as PCM_16; empty for the most exact of the format: WAV and
              W64 hold floats, which may leave -1..1; all others are clipped

    Raises `ConfigError` where the place or the format is wrong, and `AudioError` when the disk is
    full or the format cannot hold the sound.
    """
    check_target(path, source)
    ending = path.suffix.lower()
    beside = path.with_name(f".{path.stem}.{os.getpid()}.tmp{ending}")
    tagged = path.with_name(f".{path.stem}.{os.getpid()}.tagged{ending}")
    try:
        if ending == MP4:
            with writing_mp4(pyav(path), beside, rate, channels) as sink:
                yield sink
        else:
            kind = subtype or SUBTYPES[ending]
            form = ending[1:].upper()
            with soundfile.SoundFile(beside, "w", rate, channels, kind, format=form) as file:
                yield _Bounded(file, path, ending == ".wav")
        done = put_tags(beside, tagged, tags) if tags else beside
        os.replace(done, path)
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioError(f"{path} cannot be written: {error}") from error
    finally:
        beside.unlink(missing_ok=True)
        tagged.unlink(missing_ok=True)


def check_target(path: Path, source: Path | None = None) -> None:
    """Raise `ConfigError` unless `path` is a place and a format that `writing` can write."""
    if path.suffix.lower() not in SUBTYPES:
        raise ConfigError(f"{path} must end in one of {', '.join(SUBTYPES)}.")
    if not path.parent.is_dir():
        raise ConfigError(f"There is no folder {path.parent} to write {path.name} to.")
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"The folder {path.parent} may not be written to. Choose another.")
    if path.is_dir():
        raise ConfigError(f"{path} is a folder. Name a file.")
    if source and path.exists() and source.exists() and path.samefile(source):
        raise ConfigError(f"{path} is the file to read. Give the result another name.")


@dataclass(frozen=True)
class _Opened:
    blocks: Generator[Audio, None, None]  # [n, channels]
    rate: int
    channels: int
    frames: int  # 0: unknown
    exact: bool  # whether `frames` is counted rather than estimated


@dataclass
class _Bounded:
    """A soundfile that refuses more samples than a WAV file can count."""

    file: soundfile.SoundFile
    path: Path
    wav: bool
    bytes: int = 0

    def write(self, block: Audio) -> None:
        self.bytes += block.size * 4
        if self.wav and self.bytes > MOST_IN_WAV:
            raise AudioError(f"{self.path} would pass 4 GB, more than WAV holds. Write .w64.")
        self.file.write(block)


def _blocks(path: Path, rate: int | None) -> Iterator[Audio]:
    """Checked blocks [n, channels] at `rate`; together ceil(frames * rate / own rate) frames."""
    opened = _open(path)
    convert = None
    if rate and rate != opened.rate:
        channels = opened.channels
        convert = soxr.ResampleStream(opened.rate, rate, channels, dtype="float32", quality="VHQ")
    heard = given = 0
    for block in opened.blocks:
        _check(path, block, heard / opened.rate)
        heard += len(block)
        y = convert.resample_chunk(block) if convert else block
        given += len(y)
        if len(y):
            yield y
    if heard == 0:
        raise AudioError(f"{path} holds no sound: its audio has no samples.")
    if opened.exact and heard + CUT_OFF * opened.rate < opened.frames:
        raise AudioError(
            f"{path} is cut off: {heard / opened.rate:.1f} s can be read of the "
            f"{opened.frames / opened.rate:.1f} s that it announces. Get the whole file."
        )
    if convert and rate:
        rest = convert.resample_chunk(np.zeros((0, opened.channels), np.float32), last=True)
        missing = -(-heard * rate // opened.rate) - given
        yield np.pad(rest, ((0, max(0, missing - len(rest))), (0, 0)))[:missing]


def _check(path: Path, block: Audio, second: float) -> None:
    usable = np.abs(block) <= LOUDEST  # False for NaN as well
    if not usable.all():
        worst = block.flat[int(np.argmin(usable))]
        raise AudioError(
            f"{path} holds {worst:g} near {second:.1f} s, which is no sample (-1..1). "
            "Export it again, normalised, or as 16-bit PCM."
        )


def _open(path: Path) -> _Opened:
    if not path.is_file():
        raise AudioError(f"No file {path}.")
    if path.stat().st_size == 0:
        raise AudioError(f"{path} is empty (0 bytes). Record or export it again.")
    try:
        file = soundfile.SoundFile(path)
    except soundfile.LibsndfileError:
        return _open_container(path)
    if file.channels > 2 and file.format == "OGG":  # its channels come in an order of their own
        file.close()
        return _open_container(path)
    exact = file.format != "MP3" or _counted(path)
    frames = max(0, file.frames) if file.frames < 1 << 62 else 0
    return _Opened(_from_soundfile(file, path), file.samplerate, file.channels, frames, exact)


def _counted(path: Path) -> bool:
    """Whether an MP3 file tells its length: its first frame is "Xing" or "Info", behind tags."""
    with path.open("rb") as file:
        head = file.read(10)
        if head[:3] == b"ID3":  # whose size is written in seven bits a byte
            file.seek(10 + sum(byte << 7 * (3 - i) for i, byte in enumerate(head[6:10])))
        else:
            file.seek(0)
        first = file.read(1 << 12)
    return b"Xing" in first or b"Info" in first


def _from_soundfile(file: soundfile.SoundFile, path: Path) -> Generator[Audio, None, None]:
    with file:
        try:
            while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
                yield np.asarray(block, np.float32)
        except soundfile.LibsndfileError as error:
            raise _damaged(path, error) from error


def _open_container(path: Path) -> _Opened:
    av = pyav(path)
    try:
        container = av.open(str(path))
    except av.FFmpegError as error:
        raise AudioError(
            f"{path} is no audio or video that can be read. WAV, FLAC, Ogg, MP3, M4A and the "
            "common video formats work; is it damaged, or something else under that name?"
        ) from error
    if not container.streams.audio:
        container.close()
        raise AudioError(f"{path} has no sound: there is no audio stream in it.")
    stream = container.streams.audio[0]
    if not stream.rate or not stream.channels:
        container.close()
        raise AudioError(f"{path} is damaged: its sound has no rate. Export it again.")
    seconds = float((stream.duration or 0) * (stream.time_base or 0))
    frames = round(seconds * stream.rate)
    return _Opened(_decoded(av, container, path), stream.rate, stream.channels, frames, False)


def _decoded(av: ModuleType, container: Any, path: Path) -> Generator[Audio, None, None]:
    """What PyAV decodes, [n, channels] at the stream's own rate and layout."""
    stream = container.streams.audio[0]
    even = av.AudioResampler(format="flt", layout=stream.layout, rate=stream.rate)
    channels = stream.channels
    with container:
        try:
            for frame in container.decode(audio=0):
                yield from _interleaved(even.resample(frame), channels)
        except av.FFmpegError as error:
            raise _damaged(path, error) from error


def _interleaved(frames: Iterable[Any], channels: int) -> Iterator[Audio]:
    for frame in frames:
        yield frame.to_ndarray().reshape(-1, channels)


def _damaged(path: Path, error: Exception) -> AudioError:
    why = str(error).rstrip(".")
    return AudioError(f"{path} is damaged: {why}. Export or download it again.")


def pyav(path: Path) -> ModuleType:
    """PyAV; raises `AudioError` with what to do where it is not installed.

    path   the file that needs it
    """
    with suppress(ImportError):
        import av

        return av
    raise AudioError(
        f"{path} is no WAV, FLAC, Ogg or MP3. If it is audio or video of another kind, "
        "`pip install 'timbral[offline]'` adds the reader for it."
    )
