"""Where voices and shared models live on this machine."""

import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from stream.errors import BadBundle, ConfigError, VoiceNotFound
from stream.models.content import StudentEncoder
from stream.models.f0 import Detectors
from stream.models.onnx import Device
from stream.models.voice import (
    CARD,
    ENCODER,
    PREVIEW,
    Voice,
    VoiceCard,
    load_encoder,
    load_voice,
    read_card,
    verify,
)

PACKAGE = Path(__file__).parent
STARTER = "starter"


def default_home() -> Path:
    """`TIMBRAL_HOME`, else this user's data folder."""
    chosen = os.environ.get("TIMBRAL_HOME")
    return Path(chosen) if chosen else platformdirs.user_data_path("timbral")


@dataclass(frozen=True)
class Asset:
    """A model that voices share: a content encoder or an f0 detector."""

    id: str
    kind: Literal["encoder", "f0"]
    size: int  # bytes
    where: Literal["package", "store"]


class Store:
    """The voices under `home`/voices, next to the starter, which is inside the package.

    Loads each voice and each encoder once per device and shares it; safe to call from threads.
    """

    def __init__(self, home: Path | None = None) -> None:
        self.home = home if home is not None else default_home()
        self._loading = threading.Lock()
        self._voices: dict[tuple[str, Device], Voice] = {}
        self._encoders: dict[tuple[str, Device], StudentEncoder] = {}
        self._detectors = Detectors((PACKAGE / "assets", self.home / "models"))

    def names(self) -> list[str]:
        """All voices, the starter first."""
        return [STARTER, *sorted(path.name for path in self._folders())]

    def folder(self, name: str) -> Path:
        """The bundle's folder; raises `VoiceNotFound`."""
        if name not in self.names():
            raise VoiceNotFound(name, self.names())
        return PACKAGE / STARTER if name == STARTER else self.home / "voices" / name

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

    def load(self, name: str, device: Device = "auto") -> Voice:
        """The voice, ready to speak; raises `VoiceError` and `ModelError`."""
        with self._loading:
            key = (name, device)
            if key not in self._voices:
                card = self.card(name)
                encoder = self._encoder(card.encoder, device)
                self._voices[key] = load_voice(self.folder(name), encoder, self._detectors, device)
            return self._voices[key]

    def models(self) -> list[Asset]:
        """Everything that voices share: content encoders and f0 detectors."""
        found: list[Asset] = []
        places: list[tuple[Literal["package", "store"], Path]] = [
            ("package", PACKAGE / "assets"),
            ("store", self.home / "models"),
        ]
        for where, place in places:
            for path in sorted(place.iterdir()) if place.is_dir() else ():
                if (path / ENCODER).is_file():
                    size = (path / ENCODER).stat().st_size
                    found.append(Asset(path.name, "encoder", size, where))
                elif path.suffix == ".onnx":
                    found.append(Asset(path.stem, "f0", path.stat().st_size, where))
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
        """Delete a voice from the store; raises `VoiceNotFound`, and `ConfigError` for starter."""
        folder = self.folder(name)
        if name == STARTER:
            raise ConfigError("The starter voice is part of timbral and cannot be removed.")
        with self._loading:
            self._voices = {key: voice for key, voice in self._voices.items() if key[0] != name}
        shutil.rmtree(folder)

    def _folders(self) -> Iterator[Path]:
        voices = self.home / "voices"
        if voices.is_dir():
            yield from (
                path
                for path in voices.iterdir()
                if path.is_dir() and not path.name.startswith(".") and path.name != STARTER
            )

    def _encoder(self, identity: str, device: Device) -> StudentEncoder:
        key = (identity, device)
        if key not in self._encoders:
            places = (PACKAGE / "assets" / identity, self.home / "models" / identity)
            folder = next((place for place in places if place.is_dir()), None)
            if folder is None:
                raise ConfigError(
                    f"The voice needs the content encoder '{identity}', which is not installed. "
                    f"Put it into {places[-1]}."
                )
            self._encoders[key] = load_encoder(folder, device)
        return self._encoders[key]
