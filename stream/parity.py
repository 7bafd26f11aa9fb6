"""`timbral bench --parity`: whether a device computes what the processor computes."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from stream.audio import ANALYSIS_RATE, CONTENT_HOP, Audio
from stream.engine import Conversion
from stream.files import SoundFile
from stream.models.chorus import together
from stream.models.onnx import OnnxModel
from stream.models.providers import BATCHES
from stream.models.voice import Voice
from stream.resample import Resampler

MOST_FEATURES = 0.02
"""Relative error of content features. The same processor is .005 off itself where it multiplies
8-bit matrices with other kernels, bf16 .009 (notes in stream/LOG.md)."""
MOST_SOUND = 0.05
"""The same of the sound: 26 dB below it. Other kernels of the same processor: .012."""
MOST_SPECTRUM_DB = 1.0
"""Root mean square between the sounds' log spectra. Other kernels: .3."""
MOST_VOICING = 0.005
"""Part of the frames that are voiced for one and unvoiced for the other."""
MOST_CENTS = 1.0
"""Median distance of the pitch, where both are voiced."""
MOST_CROWD = 0.01
"""Relative error of a stream among others against the same stream alone, on the device."""
SILENT = 1e-6  # power that is added to spectra, so that silence is no infinity
WINDOW, STEP = 1024, 256  # samples of a spectrum, and between two


@dataclass(frozen=True)
class Check:
    """A distance that was measured, and the most that it may be."""

    what: str
    found: float
    most: float

    @property
    def good(self) -> bool:
        """Whether it is near enough; what is no number is not."""
        return bool(self.found <= self.most)


def speech_of(path: Path, seconds: float = 3.0) -> Audio:
    """The first `seconds` of a sound file, at 16 kHz. Raises `AudioError`."""
    file = SoundFile(path, ANALYSIS_RATE)
    speech = Resampler(file.rate, ANALYSIS_RATE).step(file.read())
    return speech[: round(seconds * ANALYSIS_RATE)]


def parity(
    voice: Voice, reference: Voice, speech: Audio, crowd: int = BATCHES[-1]
) -> Iterator[tuple[str, bool]]:
    """Lines of a report: where the voice's models run, and how far it is from `reference`.

    reference  the same voice, on the processor
    speech     at 16 kHz; a second or more
    crowd      streams that are converted together
    """
    yield "\n### Parity with the processor\n", True
    for line in _models(voice):
        yield line, True
    yield "\n| distance | found | most |\n|---|--:|--:|", True
    for check in _checks(voice, reference, speech, crowd):
        told = "" if check.good else " **too far**"
        yield f"| {check.what} | {check.found:.2g} | {check.most:g}{told} |", check.good


def _models(voice: Voice) -> Iterator[str]:
    for part in (voice.encoder, voice.synth):
        for model in vars(part).values():
            if isinstance(model, OnnxModel):
                yield f"- {model.name}: {model.provider}, {model.memory.told}"


def _checks(voice: Voice, reference: Voice, speech: Audio, crowd: int) -> Iterator[Check]:
    ours, theirs = (_features(each, speech) for each in (voice, reference))
    yield Check("content features, relative", _relative(ours, theirs), MOST_FEATURES)
    ours, theirs = (each.detectors["swift"].detect_file(speech) for each in (voice, reference))
    both = (ours > 0) & (theirs > 0)
    yield Check("pitch, part of frames voiced for one", _part(ours, theirs), MOST_VOICING)
    cents = np.abs(1200.0 * np.log2(ours[both] / theirs[both]))
    yield Check("pitch, median cents", float(np.median(cents)) if len(cents) else 0.0, MOST_CENTS)
    ours, theirs = (_sound(each, speech) for each in (voice, reference))
    yield Check("sound, relative", _relative(ours, theirs), MOST_SOUND)
    spectra = _spectrum(ours) - _spectrum(theirs)
    distance = float(np.sqrt(np.mean(np.square(spectra))))
    yield Check("sound, dB between log spectra", distance, MOST_SPECTRUM_DB)
    among = _among(voice, speech, crowd)
    yield Check(f"a stream of {crowd} against alone", _relative(among, ours), MOST_CROWD)


def _features(voice: Voice, speech: Audio) -> Audio:
    """[frames, dim] as a live stream of the shortest hop hears them."""
    profile = next(iter(voice.profiles.values()))
    delay = voice.look_ahead(profile)
    hearing = voice.encoder.open(delay, profile.context)
    hop = profile.content_frames * CONTENT_HOP
    steps = [hearing.step(speech[at : at + hop]) for at in range(0, len(speech) - hop + 1, hop)]
    return np.concatenate([features[: profile.content_frames] for features in steps])


def _sound(voice: Voice, speech: Audio) -> Audio:
    stream = _stream(voice)
    return np.concatenate([stream.step(speech), stream.flush()])


def _among(voice: Voice, speech: Audio, crowd: int) -> Audio:
    """What the first of `crowd` streams says; the others are somewhere else in the speech."""
    streams = [_stream(voice) for _ in range(crowd)]
    heard: list[Audio] = []
    for at in range(0, len(speech), streams[0].hop):
        pieces = [np.roll(speech, 997 * n)[at : at + streams[0].hop] for n in range(crowd)]
        works = [partial(s.step, piece) for s, piece in zip(streams, pieces, strict=True)]
        first, *others = together(works)
        for end in (first, *others):
            if end.error is not None:
                raise end.error
        heard.append(first.value)
    return np.concatenate([*heard, streams[0].flush()])


def _stream(voice: Voice) -> Conversion:
    profile = next(iter(voice.profiles.values()))
    return Conversion(voice, ANALYSIS_RATE, profile=profile)


def _relative(found: Audio, wanted: Audio) -> float:
    return float(np.linalg.norm(found - wanted) / max(float(np.linalg.norm(wanted)), 1e-9))


def _part(ours: Audio, theirs: Audio) -> float:
    return float(np.mean((ours > 0) != (theirs > 0)))


def _spectrum(sound: Audio) -> Audio:
    """Log power in dB, [frames, bins]."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::STEP]
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(WINDOW).astype(np.float32))))
    return 10.0 * np.log10(power + SILENT)
