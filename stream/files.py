"""Audio files in and out: any common format, any rate and channel count, to mono blocks and back.

soundfile reads WAV, FLAC, Ogg, MP3 and more; PyAV, when it is installed, reads the rest (M4A,
WebM, video). Nothing here knows of models.
"""

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import soundfile
import soxr

from stream.audio import RATES, Audio
from stream.errors import AudioError, ConfigError

SUBTYPES = {".wav": "PCM_16", ".flac": "PCM_16", ".ogg": "VORBIS", ".mp3": "MPEG_LAYER_III"}
LOUDEST = 8.0  # a larger sample is no sound: the file holds other numbers than -1..1
BLOCK = 1 << 16  # frames read at a time: about a second


def stream_rate(rate: int) -> int:
    """The rate at which a file of `rate` Hz is streamed: its own, else the next that can be.

    >>> stream_rate(44_100), stream_rate(11_025), stream_rate(96_000)
    (44100, 16000, 48000)
    """
    return min((known for known in RATES if known >= rate), default=max(RATES))


class SoundFile:
    """A file to read: mono float32 blocks at `rate`, channels averaged.

    `rate` is the file's own, as far as that can be streamed, or `least_rate` if that is higher.
    `length` is the number of samples to expect; for containers that do not tell it exactly it is
    an estimate, and 0 when nothing is known. Raises `AudioError` when the file is missing, empty,
    no audio, or holds something other than sound.
    """

    def __init__(self, path: Path, least_rate: int = 0) -> None:
        if not path.is_file():
            raise AudioError(f"No file {path}.")
        if path.stat().st_size == 0:
            raise AudioError(f"{path} is empty (0 bytes). Record or export it again.")
        self.path = path
        self._raw, self.source_rate, frames = _open(path)
        self.rate = stream_rate(max(self.source_rate, least_rate))
        self.length = -(-frames * self.rate // self.source_rate)

    def __iter__(self) -> Iterator[Audio]:
        """Blocks [n]; together `ceil(frames * rate / source_rate)` samples, at least one."""
        convert = soxr.ResampleStream(self.source_rate, self.rate, 1, dtype="float32", quality="HQ")
        heard = given = 0
        for block in self._raw:
            self._check(block, heard)
            heard += len(block)
            y = block if self.rate == self.source_rate else convert.resample_chunk(block)
            given += len(y)
            if len(y):
                yield y
        if heard == 0:
            raise AudioError(f"{self.path} holds no sound: its audio has no samples.")
        if self.rate != self.source_rate:
            rest = convert.resample_chunk(np.zeros(0, np.float32), last=True)
            missing = -(-heard * self.rate // self.source_rate) - given
            yield np.pad(rest, (0, max(0, missing - len(rest))))[:missing]

    def read(self) -> Audio:
        """The whole file, [n]."""
        return np.concatenate(list(self))

    def _check(self, block: Audio, start: int) -> None:
        usable = np.abs(block) <= LOUDEST  # False for NaN as well
        if usable.all():
            return
        at = int(np.argmin(usable))
        second = (start + at) / self.source_rate
        raise AudioError(
            f"{self.path} holds {block[at]:g} at {second:.2f} s, which is no sample "
            "(-1..1). Export it again, normalised, or as 16-bit PCM."
        )


@contextmanager
def writing(
    path: Path, rate: int, source: Path | None = None, *, channels: int = 1
) -> Generator[soundfile.SoundFile, None, None]:
    """A file to write; its suffix says the format. It appears whole at the end, or not at all.

    Until then it grows beside its place under another name, which vanishes when an error comes.
    `source`, the file it is made from, is never replaced. Raises `ConfigError` and `AudioError`.
    """
    subtype = SUBTYPES.get(path.suffix.lower())
    if subtype is None:
        raise ConfigError(f"{path} must end in one of {', '.join(SUBTYPES)}.")
    if not path.parent.is_dir():
        raise ConfigError(f"There is no folder {path.parent} to write {path.name} to.")
    if source and path.exists() and source.exists() and path.samefile(source):
        raise ConfigError(f"{path} is the file to read. Give the result another name.")
    beside = path.with_name(f".{path.stem}.{os.getpid()}.tmp")
    try:
        with soundfile.SoundFile(
            beside, "w", rate, channels, subtype, format=path.suffix[1:].upper()
        ) as file:
            yield file
        os.replace(beside, path)
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioError(f"{path} cannot be written: {error}.") from error
    finally:
        beside.unlink(missing_ok=True)


def _open(path: Path) -> tuple[Iterator[Audio], int, int]:
    """Mono blocks, their rate, and how many frames to expect."""
    try:
        file = soundfile.SoundFile(path)
    except soundfile.LibsndfileError:
        return _open_container(path)
    return _blocks(file, path), file.samplerate, max(0, file.frames)


def _blocks(file: soundfile.SoundFile, path: Path) -> Iterator[Audio]:
    with file:
        while len(block := _next(file, path)):
            with np.errstate(invalid="ignore", over="ignore"):  # what is no sample is told later
                mono = block.mean(axis=1, dtype=np.float32)
            yield mono


def _next(file: soundfile.SoundFile, path: Path) -> Audio:
    try:
        return cast(Audio, file.read(BLOCK, dtype="float32", always_2d=True))
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path} is damaged: {error} Export it again.") from error


def _open_container(path: Path) -> tuple[Iterator[Audio], int, int]:
    av = _pyav(path)
    try:
        container = av.open(str(path))
        stream = container.streams.audio[0]
        rate: int = stream.codec_context.rate  # without a codec for it there is no context
        if rate < 1:
            raise ValueError(f"{rate} Hz")
    except (av.FFmpegError, IndexError, AttributeError, ValueError) as error:
        raise AudioError(
            f"{path} holds no audio that can be read. WAV, FLAC, Ogg, MP3 and M4A work."
        ) from error
    seconds = float((stream.duration or 0) * (stream.time_base or 0))
    return _frames(av, container, path), rate, round(seconds * rate)


def _frames(av: ModuleType, container: Any, path: Path) -> Iterator[Audio]:
    """What PyAV decodes, as mono float32 at the stream's own rate."""
    to_float = av.AudioResampler(format="fltp", rate=container.streams.audio[0].rate)
    with container:
        try:
            for frame in container.decode(audio=0):
                for part in to_float.resample(frame):
                    yield part.to_ndarray().mean(axis=0, dtype=np.float32)
        except av.FFmpegError as error:
            raise AudioError(f"{path} is damaged: {error}. Export it again.") from error


def _pyav(path: Path) -> ModuleType:
    with suppress(ImportError):
        import av

        return av
    raise AudioError(
        f"{path} is no WAV, FLAC, Ogg or MP3. If it is audio or video of another kind, "
        "`pip install 'timbral[offline]'` adds the reader for it."
    )
