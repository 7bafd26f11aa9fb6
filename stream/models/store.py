"""Where voices and shared models live on this machine."""

import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stream.device import AUTO, Device
from stream.errors import BadBundle, ConfigError, VoiceError, VoiceNotFound
from stream.home import default_home
from stream.models.assets import Kind, missing
from stream.models.content import ContentEncoder
from stream.models.f0 import Detectors
from stream.models.voice import (
    CARD,
    ENCODER_CARD,
    PREVIEW,
    Voice,
    VoiceCard,
    load_encoder,
    load_voice,
    read_card,
    verify,
)

PACKAGE = Path(__file__).parent
STARTERS = ("starter", "starter-low", "starter-high")
"""The voices that are inside the package."""
STARTER = STARTERS[0]


@dataclass(frozen=True)
class Asset:
    """A model that voices share: an encoder, an f0 detector, or a base to train from."""

    id: str
    kind: Kind
    size: int  # bytes
    where: Literal["package", "store"]


class Store:
    """The voices under `home`/voices, next to the starters, which are inside the package.

    Loads each voice and each encoder once per device and shares it; safe to call from threads.
    Law: what `load` gives is the voice that is there now: one that was deleted or replaced, by
    whatever process, is not given again, and those who have it keep it.

    threads  that one call of a full-size model may use; by default all cores, 4 at most. The
             starters' models are too small to share.
    shared   whether several streams use a voice at once; see `Detectors`
    """

    def __init__(
        self, home: Path | None = None, *, threads: int | None = None, shared: bool = False
    ) -> None:
        self._threads = min(4, os.cpu_count() or 1) if threads is None else threads
        self.home = home if home is not None else default_home()
        self._loading = threading.Lock()
        self._voices: dict[tuple[str, Device], tuple[VoiceCard, Voice]] = {}
        self._encoders: dict[tuple[str, Device], ContentEncoder] = {}
        self._detectors: dict[Device, Detectors] = {}
        self._shared = shared

    def names(self) -> list[str]:
        """All voices, the starters first."""
        return [*STARTERS, *sorted(path.name for path in self._folders())]

    def folder(self, name: str) -> Path:
        """The bundle's folder; raises `VoiceNotFound`."""
        if name not in self.names():
            raise VoiceNotFound(name, self.names())
        return PACKAGE / name if name in STARTERS else self.home / "voices" / name

    def card(self, name: str) -> VoiceCard:
        """What the voice says of itself; raises `VoiceNotFound` and `BadBundle`."""
        folder = self.folder(name)
        card = read_card(folder)
        if card.name != name:
            raise BadBundle(folder, f"its card names it {card.name!r}, the folder is {name!r}")
        return card

    def preview(self, name: str) -> Path | None:
        """A recording of the voice, if its bundle has one; raises `VoiceNotFound`."""
        path = self.folder(name) / PREVIEW
        return path if path.is_file() else None

    def load(self, name: str, device: Device = AUTO) -> Voice:
        """The voice, ready to speak; raises `VoiceError` and `ModelError`."""
        with self._loading:
            key = (name, device)
            try:
                card = self.card(name)
            except VoiceError:
                self._drop(name)
                raise
            if key not in self._voices or self._voices[key][0] != card:
                encoder = self._encoder(card.encoder, device, f"Voice '{name}'")
                if device not in self._detectors:
                    self._detectors[device] = Detectors(self.home, device, shared=self._shared)
                detectors, folder = self._detectors[device], self.folder(name)
                self._voices[key] = (
                    card,
                    load_voice(folder, encoder, detectors, device, self._threads),
                )
            return self._voices[key][1]

    def encoder(self, identity: str, device: Device = AUTO, *, needed_by: str) -> ContentEncoder:
        """A content encoder by its id; raises `AssetMissing` and `ModelError`.

        needed_by   who asks for it, as the beginning of a sentence: "Voice 'ada'"
        """
        with self._loading:
            return self._encoder(identity, device, needed_by)

    def models(self) -> list[Asset]:
        """Everything that voices share: content encoders, f0 detectors, bases for training."""
        found: list[Asset] = []
        places: list[tuple[Literal["package", "store"], Path]] = [
            ("package", PACKAGE / "assets"),
            ("store", self.home / "models"),
        ]
        for where, place in places:
            for path in sorted(place.iterdir()) if place.is_dir() else ():
                kind = _kind(path)
                if kind is not None:
                    found.append(Asset(path.stem, kind, _size(path), where))
        return found

    def add(self, source: Path) -> VoiceCard:
        """Copy the bundle in folder `source` into the store, checked first.

        A voice of the same name is refused, not replaced. Raises `ConfigError` and `BadBundle`.
        """
        card = read_card(source)
        verify(source, card.files)
        if card.name in self.names():
            raise ConfigError(
                f"There is a voice '{card.name}' already. "
                f"Remove it first: timbral voices remove {card.name}"
            )
        voices = self.home / "voices"
        voices.mkdir(parents=True, exist_ok=True)
        beside = voices / f".{card.name}.adding"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        try:
            for name in (CARD, *card.files):
                shutil.copyfile(source / name, beside / name)
            beside.rename(voices / card.name)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        return card

    def remove(self, name: str) -> None:
        """Delete a voice from the store; raises `VoiceNotFound`; `ConfigError` for a starter."""
        folder = self.folder(name)
        if name in STARTERS:
            raise ConfigError(f"The voice '{name}' is part of timbral and cannot be removed.")
        gone = folder.with_name(f".{name}.removing")
        shutil.rmtree(gone, ignore_errors=True)
        with self._loading:
            self._drop(name)
            folder.rename(gone)  # at once: half a voice is none
        shutil.rmtree(gone)

    def _drop(self, name: str) -> None:
        self._voices = {key: held for key, held in self._voices.items() if key[0] != name}

    def _folders(self) -> Iterator[Path]:
        voices = self.home / "voices"
        if voices.is_dir():
            yield from (
                path
                for path in voices.iterdir()
                if path.is_dir() and not path.name.startswith(".") and path.name not in STARTERS
            )

    def _encoder(self, identity: str, device: Device, needed_by: str) -> ContentEncoder:
        key = (identity, device)
        if key not in self._encoders:
            places = (PACKAGE / "assets" / identity, self.home / "models" / identity)
            folder = next((place for place in places if place.is_dir()), None)
            if folder is None:
                raise missing(identity, "encoder", self.home, needed_by=needed_by)
            self._encoders[key] = load_encoder(folder, device, self._threads)
        return self._encoders[key]


CARDS: Mapping[str, Kind] = {
    ENCODER_CARD: "encoder",
    "f0.json": "f0",
    "base.json": "base",
    "speaker.json": "speaker",
    "words.json": "words",
    "speech.json": "speech",
}


def _kind(path: Path) -> Kind | None:
    """What is installed at `path`: a folder with one of the cards, or a detector's graph."""
    if path.suffix == ".onnx":
        return "f0"
    return next((kind for card, kind in CARDS.items() if (path / card).is_file()), None)


def _size(path: Path) -> int:
    return sum(p.stat().st_size for p in (path.iterdir() if path.is_dir() else [path]))
