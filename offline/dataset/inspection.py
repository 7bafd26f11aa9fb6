"""A look at recordings before anything is trained: what is good, what to mind, what to do."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from offline.cache import Cache
from offline.dataset.features import open_ears
from offline.dataset.prepare import Found, Progress, crew, explore
from offline.dataset.quality import GATED_DB, Pitch, Quality
from offline.dataset.recordings import Speakers
from offline.dataset.settings import DatasetSettings
from offline.dataset.slices import FRAMES_A_SECOND
from offline.dataset.sound import is_telephone
from offline.page import Mood
from stream.audio import Audio
from stream.device import CPU, Device

GOOD_S, FAIR_S = 600.0, 120.0  # of speech
SOME_CLIPPED, MUCH_CLIPPED = 5e-4, 1e-2  # share of the samples
CLEAN_DB, NOISY_DB = 20.0, 10.0  # speech above noise
QUIET_DB = -40.0  # speech
MOSTLY_SILENT = 0.6
TONES, HEARD_TONES_DB = 0.2, 45.0  # share of what is in the pauses; below speech
UNSTEADY = 0.22  # share of the voiced frames
ANOTHER = 5.0  # semitones between a recording's median and its speaker's
MONOTONE = 5.0  # semitones between the lowest and the highest 5 %
BAND = 0.6  # of what the voice's rate could hold


@dataclass(frozen=True)
class Advice:
    """A sentence for whoever recorded: what is so, and what to do."""

    text: str
    mood: Mood


@dataclass(frozen=True)
class Row:
    """What is known of one recording, and what to mind in it."""

    name: str
    path: Path
    speaker: str
    quality: Quality
    pitch: Pitch
    usable_seconds: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Inspection:
    """The report as data."""

    speakers: tuple[str, ...]
    rows: tuple[Row, ...]
    advice: tuple[Advice, ...]
    refused: tuple[tuple[str, str], ...]
    usable_seconds: float
    settings: DatasetSettings
    found: Found

    @property
    def usable(self) -> bool:
        """Whether `prepare` would make a data set of it."""
        return self.usable_seconds >= self.settings.least_s


def inspect(
    files: Sequence[str | Path],
    *,
    speakers: Speakers = "one",
    settings: DatasetSettings,
    cache: Cache,
    home: Path | None = None,
    device: Device = CPU,
    progress: Progress | None = None,
) -> Inspection:
    """Listen to everything and say what is good and what is not; trains and refuses nothing.

    The arguments are those of `prepare`, which finds again what was heard here. Raises
    `ConfigError` and `AudioError` only where there is nothing to listen to.
    """
    ears = open_ears(settings, home, device)
    with crew(progress) as workers:
        found = explore(files, speakers, settings, cache, ears, workers)
    rows = tuple(_rows(found, settings))
    return Inspection(
        speakers=found.collection.speakers,
        rows=rows,
        advice=tuple(_advice(rows, found, settings)),
        refused=found.refused,
        usable_seconds=found.usable_seconds,
        settings=settings,
        found=found,
    )


def _rows(found: Found, settings: DatasetSettings) -> Iterator[Row]:
    names = found.collection.speakers
    voiced: dict[int, list[Audio]] = {}
    for recording, f0 in zip(found.recordings, found.f0, strict=True):
        voiced.setdefault(recording.source.speaker, []).append(f0[f0 > 0.0])
    for recording, pitch, cut in zip(found.recordings, found.pitches, found.slices, strict=True):
        speaker = recording.source.speaker
        own = np.concatenate(voiced[speaker])
        median = float(np.median(own)) if len(own) else 0.0
        yield Row(
            name=recording.source.name,
            path=recording.source.path,
            speaker=names[speaker],
            quality=recording.quality,
            pitch=pitch,
            usable_seconds=sum(end - begin for begin, end in cut) / FRAMES_A_SECOND,
            notes=tuple(notes(recording.quality, pitch, median, settings)),
        )


def notes(
    quality: Quality, pitch: Pitch, median_hz: float, settings: DatasetSettings
) -> Iterator[str]:
    """What to mind in a recording, in a few words each; `median_hz` is the speaker's pitch."""
    if quality.clipped > SOME_CLIPPED:
        yield "badly clipped" if quality.clipped > MUCH_CLIPPED else "clipped"
    if quality.snr_db < CLEAN_DB:
        yield "very noisy" if quality.snr_db < NOISY_DB else "noisy"
    if quality.speech_db < QUIET_DB:
        yield "very quiet"
    if is_telephone(quality):
        yield "telephone sound"
    elif quality.bandwidth_hz < BAND * settings.sample_rate / 2:
        yield "dull"
    if quality.silence > MOSTLY_SILENT:
        yield "mostly silence"
    background = quality.noise_db > max(quality.speech_db - HEARD_TONES_DB, GATED_DB)
    if quality.tonal is not None and quality.tonal > TONES and background:
        yield "music or hum in the pauses"
    if pitch.unsteady is not None and pitch.unsteady > UNSTEADY:
        yield "a second voice, music or echo?"
    if median_hz and pitch.median_hz and _semitones(pitch.median_hz, median_hz) > ANOTHER:
        yield "another person?"


def _semitones(one: float, two: float) -> float:
    return abs(12.0 * math.log2(one / two))


WHAT_TO_DO: Mapping[str, tuple[str, Mood]] = MappingProxyType(
    {
        "badly clipped": (
            "The recording level was too high: peaks are cut off, and the voice will learn that "
            "rasp. Record again with the gain 10 dB lower.",
            "bad",
        ),
        "clipped": (
            "Some peaks are cut off. Turn the recording level down a little; what is there can "
            "be used.",
            "warn",
        ),
        "very noisy": (
            "Speech hardly stands above the noise. Record closer to the microphone, in a quieter "
            "room; `--denoise 0.7` helps a little.",
            "bad",
        ),
        "noisy": (
            "There is audible noise, which becomes part of the voice. A quieter room or "
            "`--denoise 0.5` makes it cleaner.",
            "warn",
        ),
        "very quiet": (
            "It was recorded very quietly, so that the converter's own noise is raised along. "
            "Turn the recording level up.",
            "warn",
        ),
        "telephone sound": (
            "There is nothing above 4 kHz, whatever rate the file has, and the voice would be as "
            "dull. Record again at 32 kHz or more, without a telephone or a headset's profile "
            "for calls.",
            "bad",
        ),
        "dull": (
            "The sound ends far below what the voice could say. Heavily compressed files and "
            "wireless headsets do that; take the original recording, or a lower `--sample-rate`.",
            "warn",
        ),
        "mostly silence": (
            "Most of it is silence, which is left out. That costs nothing but your time.",
            "good",
        ),
        "music or hum in the pauses": (
            "In the pauses there are tones: music, a hum, or other voices. `timbral separate` "
            "takes music away; better is a recording without it.",
            "warn",
        ),
        "a second voice, music or echo?": (
            "The sound often does not repeat as one voice alone does. If a second person, music or "
            "a strong echo can be heard, leave the file out.",
            "warn",
        ),
        "another person?": (
            "Its pitch is far from the speaker's others. If somebody else speaks, give every "
            "person a folder and `--speakers folders`.",
            "warn",
        ),
    }
)


def _advice(rows: Sequence[Row], found: Found, settings: DatasetSettings) -> Iterator[Advice]:
    yield _amount(found.usable_seconds, settings)
    for name, why in found.refused:
        yield Advice(f"{name} is left out. {why}", "bad")
    for copy, first in found.copies:
        yield Advice(f"{copy} is a copy of {first}: it is used once.", "warn")
    for pair in found.alike:
        one, two = (found.recordings[k].source.name for k in (pair.first, pair.second))
        yield Advice(
            f"{one} and {two} have {pair.seconds:.0f} s of the same sound in them "
            f"({100 * pair.share:.0f} % of the shorter one). Leave one of them out, unless it is "
            "meant to count twice.",
            "warn",
        )
    for note, (text, mood) in WHAT_TO_DO.items():
        which = [row.name for row in rows if note in row.notes]
        if which:
            yield Advice(f"{_listed(which)}: {note}. {text}", mood)
    yield from _melodies(found)


def _amount(seconds: float, settings: DatasetSettings) -> Advice:
    """What can be expected of so much speech."""
    told = f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.0f} s"
    if seconds < settings.least_s:
        return Advice(
            f"There are {told} of speech, too little to learn from: at least "
            f"{settings.least_s:g} s are needed, and 10 minutes make a good voice.",
            "bad",
        )
    if seconds < FAIR_S:
        return Advice(
            f"There are {told} of speech. The voice will be recognisable but rough; 10 minutes "
            "make a good one.",
            "warn",
        )
    if seconds < GOOD_S:
        return Advice(f"There are {told} of speech. That is enough; 10 would be better.", "good")
    return Advice(f"There are {told} of speech. That is plenty.", "good")


def _melodies(found: Found) -> Iterator[Advice]:
    """Whose speech is on one note; a voice sings well only what was heard of it."""
    for number, name in enumerate(found.collection.speakers):
        own = [
            f0[f0 > 0.0]
            for recording, f0 in zip(found.recordings, found.f0, strict=True)
            if recording.source.speaker == number
        ]
        voiced = np.concatenate([np.zeros(0, np.float32), *own])
        if len(voiced) < 100:
            continue
        low, high = (float(np.quantile(voiced, share)) for share in (0.05, 0.95))
        if _semitones(high, low) < MONOTONE:
            yield Advice(
                f"{name} speaks on nearly one note ({low:.0f} to {high:.0f} Hz). Read something "
                "lively, ask, call, laugh: the voice can only say well what it has heard.",
                "warn",
            )


def _listed(names: Sequence[str]) -> str:
    """
    >>> _listed(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
