"""Pitch and content of recordings, heard as the live engine hears them; in pieces, kept, resumed.

Alignment. Content frame `t` of a recording is its 16 kHz samples [320 t, 320 t + 320), as in
`stream.line.Line`; its feature is what the encoder says of it when it has heard the frame and its
look-ahead after it, its pitch is that of two frames of 10 ms centred 80 and 240 samples after its
start, and at a voice's rate it is the samples [2 hop t, 2 hop t + 2 hop). Nothing is moved: the
student hears 40 samples late, in training as it does live.

Law: the features equal those that a live `Line` of the same profile gives its synthesizer, from a
gate that is open, within 1e-3. For an encoder that hears in windows the hops are those of the
profile, counted from the recording's start, and a hop says what lies a look-ahead before its end.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import packages_distributions, version
from pathlib import Path

import numpy as np

from offline.cache import Cache, Step
from offline.dataset.settings import DatasetSettings
from offline.dataset.sound import Recording, heard_step
from stream.audio import FRAMES_PER_CONTENT, Audio
from stream.controls import F0Method
from stream.device import CPU, Device
from stream.models.content import ContentEncoder
from stream.models.digest import sha256
from stream.models.f0 import Detectors, F0Detector
from stream.models.f0.card import CARD, read_card
from stream.models.f0.detectors import ASSETS, RECORDINGS, SHIPPED
from stream.models.store import Store
from stream.profiles import Profile

VERSION = 1
PART = 2_400  # content frames, 48 s, of one step
PAST = 300  # content frames heard before a part: after them no encoder remembers more
AROUND = 100  # content frames on each side of a part that a pitch detector hears along
CONTENT, F0 = "content.npy", "f0.npy"
PACKAGES: Mapping[str, str] = {"pm": "parselmouth", "harvest": "pyworld", "dio": "pyworld"}


class Halted(Exception):
    """Raised in a thread that was told to end."""


@dataclass(frozen=True)
class Ears:
    """The models, and everything of them on which what they find depends."""

    encoder: ContentEncoder
    detector: F0Detector
    profile: Profile
    encoder_files: tuple[str, ...]
    detector_files: tuple[str, ...]

    @property
    def delay(self) -> int:
        """Content frames of look-ahead."""
        encoder = self.encoder
        return self.profile.look_ahead if encoder.whole_hops else encoder.card.delay_frames

    @property
    def hears(self) -> dict[str, int]:
        """How the encoder is asked; nothing for those that hear the same however they are."""
        if not self.encoder.whole_hops:
            return {}
        profile = self.profile
        return {"hop": profile.content_frames, "delay": self.delay, "context": profile.context}


def open_ears(settings: DatasetSettings, home: Path | None, device: Device = CPU) -> Ears:
    """Load what hears. Raises `AssetMissing`, `ModelError`, `ConfigError` when it is not there."""
    store = Store(home, threads=1)
    encoder = store.encoder(settings.encoder, device, needed_by="This data set")
    detector = Detectors(store.home)[settings.f0]
    files = tuple(encoder.card.files[name] for name in sorted(encoder.card.files))
    profile = settings.profile(whole_hops=encoder.whole_hops)
    return Ears(encoder, detector, profile, files, _detector_files(settings.f0, store.home))


def _detector_files(method: F0Method, home: Path) -> tuple[str, ...]:
    """Hashes of a detector's files, or the version of the package that is one."""
    if method in RECORDINGS:
        provided = packages_distributions().get(PACKAGES[method], [])
        return tuple(f"{name} {version(name)}" for name in sorted(provided))
    folder = home / "models" / method
    if (folder / CARD).is_file():
        files = read_card(folder).files
        return tuple(files[name] for name in sorted(files))
    return (sha256(ASSETS / SHIPPED[method][0]),)


@dataclass(frozen=True)
class Part:
    """Up to 48 s of a recording: content frames `first` to `until` - 1."""

    recording: Recording
    first: int
    until: int


def parts(recording: Recording) -> list[Part]:
    """A recording in pieces."""
    frames = recording.frames
    return [Part(recording, first, min(first + PART, frames)) for first in range(0, frames, PART)]


def content_step(part: Part, ears: Ears, settings: DatasetSettings) -> Step:
    """Everything on which a part's features depend."""
    return Step(
        "dataset-content",
        VERSION,
        {**ears.hears, "first": part.first, "gain_db": part.recording.gain_db},
        (heard_step(part.recording.sha256, settings).key,),
        ears.encoder_files,
    )


def f0_step(part: Part, ears: Ears, settings: DatasetSettings) -> Step:
    """Everything on which a part's pitch depends."""
    return Step(
        "dataset-f0",
        VERSION,
        {"method": settings.f0, "first": part.first, "gain_db": part.recording.gain_db},
        (heard_step(part.recording.sha256, settings).key,),
        ears.detector_files,
    )


def describe(
    part: Part, ears: Ears, settings: DatasetSettings, cache: Cache, halt: threading.Event
) -> Path:
    """The part's features, found or made: .npy, float32 [n, dim], 50 a second."""

    def build(folder: Path) -> None:
        heard = content(part.recording.heard, part.first, part.until, ears, halt.is_set)
        np.save(folder / CONTENT, heard)

    return cache.make(content_step(part, ears, settings), build) / CONTENT


def intone(part: Part, ears: Ears, settings: DatasetSettings, cache: Cache) -> Path:
    """The part's pitch, found or made: .npy, float32 [2 n] in Hz, 0 unvoiced, 100 a second."""

    def build(folder: Path) -> None:
        np.save(folder / F0, melody(part.recording.heard, part.first, part.until, ears.detector))

    return cache.make(f0_step(part, ears, settings), build) / F0


Heard = Callable[[int, int], Audio]
"""Content frames `first` to `until` - 1 of a recording, [320 n]; silence where it has none."""


def content(
    heard: Heard, first: int, until: int, ears: Ears, halted: Callable[[], bool] = lambda: False
) -> Audio:
    """Features [n, dim] of content frames first .. until - 1; see the law above.

    Raises `Halted` once `halted` says so.
    """
    hop, delay = ears.profile.content_frames, ears.delay
    since = at = max(0, (first - PAST + delay) // hop * hop - delay)
    hearing = ears.encoder.open(delay, ears.profile.context)
    hearing.hear(heard(since, since + delay))
    found: list[Audio] = []
    while at < until:
        if halted():
            raise Halted
        fresh = hop - (at + delay) % hop  # up to the end of a hop, as a stream hears it
        features = hearing.step(heard(at + delay, at + delay + fresh))
        found.append(features[:fresh])
        at += fresh
    whole = np.concatenate(found)[first - since : until - since]
    return np.ascontiguousarray(whole, np.float32)


def melody(heard: Heard, first: int, until: int, detector: F0Detector) -> Audio:
    """f0 [2 n] in Hz of content frames first .. until - 1, as good as the detector can."""
    since = max(0, first - AROUND)
    f0 = detector.detect_file(heard(since, until + AROUND))
    pairs = FRAMES_PER_CONTENT
    return f0[pairs * (first - since) : pairs * (until - since)].astype(np.float32)
