"""What the steps of a cover work with: voices, detectors, separators, and their digests."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from offline.cover.settings import Separation
from offline.separate.protocol import Separator
from stream.controls import F0Method
from stream.device import AUTO, Device
from stream.models.assets import missing
from stream.models.digest import sha256
from stream.models.f0 import Detectors
from stream.models.f0.card import CARD as DETECTOR_CARD
from stream.models.f0.detectors import ASSETS, RECORDINGS, SHIPPED
from stream.models.store import PACKAGE, Store
from stream.models.voice import CARD, ENCODER_CARD, Voice

PACKAGES = {"pm": ("praat-parselmouth",), "harvest": ("pyworld-prebuilt", "pyworld")}


@dataclass(frozen=True)
class Tools:
    """Loads what steps need when they need it, and knows beforehand what decides their results.

    open_separator  the separator for a `Separation`; loads its model when it is first used
    """

    store: Store
    open_separator: Callable[[Separation], Separator]
    device: Device = AUTO

    def voice(self, name: str) -> Voice:
        """The voice, loaded; raises `VoiceError` and `ModelError`."""
        return self.store.load(name, self.device)

    def detectors(self) -> Detectors:
        """All pitch detectors."""
        return Detectors(self.store.home)

    def voice_digests(self, name: str) -> tuple[str, ...]:
        """Of its card and its encoder's: both list the sha256 of every file, checked on loading.

        Raises `VoiceError`, and `AssetMissing` when the encoder is not installed.
        """
        card = self.store.card(name)
        places = (PACKAGE / "assets" / card.encoder, self.store.home / "models" / card.encoder)
        encoder = next((place for place in places if (place / ENCODER_CARD).is_file()), None)
        if encoder is None:
            home = self.store.home
            raise missing(card.encoder, "encoder", home, needed_by=f"Voice '{name}'")
        return sha256(self.store.folder(name) / CARD), sha256(encoder / ENCODER_CARD)

    def detector_digest(self, method: F0Method) -> str:
        """Of a pitch detector's model, or of the package that it is in.

        Raises `AssetMissing` and `ConfigError` when there is none.
        """
        card = self.store.home / "models" / method / DETECTOR_CARD
        if card.is_file():
            return sha256(card)
        if method in SHIPPED:
            return sha256(ASSETS / SHIPPED[method][0])
        if method in RECORDINGS:
            _ = self.detectors()[method]  # tells what to install
            names = PACKAGES.get(method, PACKAGES["harvest"])
            return hashlib.sha256(f"{method} {package_versions(names)}".encode()).hexdigest()
        home = self.store.home
        raise missing(method, "f0", home, needed_by="This choice of pitch detectors")


def package_versions(names: tuple[str, ...]) -> str:
    """The versions of those of `names` that are installed: part of what decides a result."""
    return ", ".join(filter(None, map(_version, names)))


def _version(name: str) -> str:
    with suppress(PackageNotFoundError):
        return f"{name} {version(name)}"
    return ""


def standard_tools(store: Store, device: Device = AUTO) -> Tools:
    """The tools of this machine."""
    from offline.separate.models import open_separator

    def opened(wanted: Separation) -> Separator:
        return open_separator(
            wanted.models,
            store.home,
            method=wanted.ensemble,
            domain=wanted.domain,
            weights=wanted.weights,
            device=device,
        )

    return Tools(store, opened, device)
