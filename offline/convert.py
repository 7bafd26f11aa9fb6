"""`timbral convert`: a file into another voice, on this machine, without a server."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stream.audio import Audio
from stream.controls import Controls
from stream.engine import Conversion
from stream.files import SoundFile, writing
from stream.models.voice import Voice

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Summary:
    """What was written."""

    seconds: float  # of sound
    rate: int  # Hz
    took: float  # s

    @property
    def rtf(self) -> float:
        """Seconds of computing for a second of sound."""
        return self.took / self.seconds


def convert(
    source: Path,
    target: Path,
    voice: Voice,
    *,
    controls: Controls | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Summary:
    """Write `source`, spoken by `voice`, to `target`: as long, sample by sample in its place.

    The rate is the file's own, or the voice's if that is higher. Memory does not grow with the
    file. `progress` is told how many samples are done, and of how many (0: unknown). Raises
    `AudioError` and `ConfigError`; `target` is then as it was.
    """
    begun = time.perf_counter()
    file = SoundFile(source, least_rate=voice.card.sample_rate)
    conversion = Conversion(voice, file.rate, profile=voice.for_files, controls=controls, seed=seed)
    written = 0
    with writing(target, file.rate, source) as out:
        for block in _spoken(file, conversion):
            out.write(block)
            written += len(block)
            if progress:
                progress(written, file.length)
    return Summary(written / file.rate, file.rate, time.perf_counter() - begun)


def _spoken(file: SoundFile, conversion: Conversion) -> Iterator[Audio]:
    for block in file:
        yield conversion.step(block)
    yield conversion.flush()
