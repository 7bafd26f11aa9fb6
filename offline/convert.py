"""`timbral convert`: a file into another voice, on this machine, without a server."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from offline import place, sound
from offline.curve import Curve, detect
from offline.place import Place
from stream.audio import ANALYSIS_RATE, Audio
from stream.controls import LIMITS, Controls
from stream.engine import Conversion
from stream.files import SoundFile, stream_rate, writing
from stream.models.f0 import Detectors
from stream.models.voice import Voice

Progress = Callable[[int, int], None]
Channels = Literal["mono", "placed", "each"]
PIECE_SECONDS = 2.0  # read and converted at a time


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
    curve: Curve | None = None,
    keep_key: bool = False,
    channels: Channels = "mono",
    rate: int | None = None,
    subtype: str = "",
    progress: Progress | None = None,
) -> Summary:
    """Write `source`, spoken by `voice`, to `target`: as long, sample by sample in its place.

    curve     the pitch of `source` over time; without one it is detected as in a live stream, or
              beforehand where a detector needs the whole recording
    keep_key  match the pitch (`Controls.auto_pitch`) by whole octaves only, as a song needs
    channels  "mono" is the mean of all, in one channel; "placed" takes the voice from where it
              stands in the channels and puts it back there; "each" converts every one for itself
    rate      Hz of the result; by default the file's own, or the voice's if that is higher
    subtype   of the file to write, as in `sound.writing`; by default 16 bits for "mono"

    Memory does not grow with the file. `progress` is told how many samples are done, and of how
    many (0: unknown). Raises `AudioError` and `ConfigError`; `target` is then as it was.

    Laws: where the pitch is known beforehand, it is matched by the same number of semitones from
    the first frame to the last (`settled`). A voice is converted alike wherever it stands.
    """
    begun = time.perf_counter()
    wanted = controls or Controls()
    if curve is None and (keep_key or not _hears_live(voice, wanted)):
        sound.check_target(target, source)
        curve = pitch_of(source, voice.detectors, wanted)
    if curve is not None:
        wanted = settled(wanted, curve, voice, keep_key=keep_key)
    start = _Start(voice, wanted, seed, curve)
    if channels == "mono" and not subtype and rate is None:
        file = SoundFile(source, least_rate=voice.card.sample_rate)
        rate, length = file.rate, file.length
        spoken, out = _spoken(file, start.conversion(rate)), writing(target, rate, source)
    else:
        found = sound.facts(source)
        rate = rate or stream_rate(max(found.rate, voice.card.sample_rate))
        length = -(-found.frames * rate // found.rate)
        spoken = _channels(source, rate, found.channels, channels, start)
        many = 1 if channels == "mono" else found.channels
        out = sound.writing(target, rate, many, tags=found.tags, subtype=subtype, source=source)
    written = 0
    with out as sink:
        for block in spoken:
            sink.write(block)
            written += len(block)
            if progress:
                progress(written, length)
    return Summary(written / rate, rate, time.perf_counter() - begun)


def settled(controls: Controls, curve: Curve, voice: Voice, *, keep_key: bool) -> Controls:
    """The same, with `auto_pitch` done once and for all: semitones added to `pitch`.

    keep_key  by whole octaves; else the curve's median comes to the voice's

    A match that glides, as live, would leave the key of a song.
    """
    target, median = voice.card.f0_median_hz, curve.median_hz
    if not controls.auto_pitch or target is None or median is None:
        return dataclasses.replace(controls, auto_pitch=False)
    octaves = math.log2(target / median)
    move = 12.0 * (round(octaves) if keep_key else octaves)
    low, high = LIMITS["pitch"]
    while not low <= controls.pitch + move <= high:
        move -= math.copysign(12.0, move)
    return dataclasses.replace(controls, auto_pitch=False, pitch=controls.pitch + move)


def pitch_of(
    source: Path, detectors: Detectors, controls: Controls, progress: Progress | None = None
) -> Curve:
    """The pitch of the voice in a file, by the detectors that `controls` name, any of them.

    It is taken from where it stands in the channels. `progress` is told samples at 16 kHz done,
    and of how many.
    """
    detector = detectors.chosen(controls.f0_methods, controls.f0_blend)
    found = sound.facts(source)
    where = place.find(sound.pieces(source, PIECE_SECONDS), found.channels)
    heard = (where.taken(x) for x in sound.pieces(source, PIECE_SECONDS, ANALYSIS_RATE))
    length = -(-found.frames * ANALYSIS_RATE // found.rate)
    return detect(heard, detector, length, progress)


def _hears_live(voice: Voice, controls: Controls) -> bool:
    return voice.detectors.chosen(controls.f0_methods, controls.f0_blend).live


@dataclass(frozen=True)
class _Start:
    """How every conversion of a file begins."""

    voice: Voice
    controls: Controls
    seed: int
    curve: Curve | None

    def conversion(self, rate: int) -> Conversion:
        return Conversion(
            self.voice,
            rate,
            profile=self.voice.for_files,
            controls=self.controls,
            seed=self.seed,
            curve=self.curve,
        )


def _spoken(file: SoundFile, conversion: Conversion) -> Iterator[Audio]:
    for block in file:
        yield conversion.step(block)
    yield conversion.flush()


def _channels(
    source: Path, rate: int, count: int, channels: Channels, start: _Start
) -> Iterator[Audio]:
    """Converted blocks [n, channels]."""
    pieces = sound.pieces(source, PIECE_SECONDS, rate)
    if channels == "each":
        conversions = [start.conversion(rate) for _ in range(count)]
        for piece in pieces:
            parts = [one.step(piece[:, i]) for i, one in enumerate(conversions)]
            yield np.stack(parts, axis=1)
        yield np.stack([one.flush() for one in conversions], axis=1)
        return
    where = _place(source, count, channels)
    conversion = start.conversion(rate)
    for piece in pieces:
        yield _put(where, conversion.step(where.taken(piece)), channels)
    yield _put(where, conversion.flush(), channels)


def _place(source: Path, count: int, channels: Channels) -> Place:
    if channels == "mono":
        return place.middle(count)
    return place.find(sound.pieces(source, PIECE_SECONDS), count)


def _put(where: Place, voice: Audio, channels: Channels) -> Audio:
    return voice if channels == "mono" else where.put(voice)
