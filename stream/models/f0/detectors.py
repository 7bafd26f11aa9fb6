"""Every detector by its name in `Controls`."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from stream.controls import F0_METHODS, F0Method
from stream.errors import ModelNotFound
from stream.models.f0.crepe import Crepe
from stream.models.f0.detector import F0Detector
from stream.models.f0.swift import SwiftF0

ASSETS = Path(__file__).parents[1] / "assets"
SHIPPED: Mapping[F0Method, tuple[str, Callable[[Path], F0Detector]]] = MappingProxyType(
    {"swift": ("swift-f0.onnx", SwiftF0), "crepe-tiny": ("crepe-tiny.onnx", Crepe)}
)


class Detectors(Mapping[F0Method, F0Detector]):
    """Every detector by the name it has in `Controls`, loaded when it is first asked for.

    places  folders that hold installed models, each in a folder of its own

    What was loaded stays, and serves every stream and thread. Asking for a detector whose model is
    not installed raises `ModelNotFound`.
    """

    def __init__(self, places: Sequence[Path] = ()) -> None:
        self._places = tuple(places)
        self._loading = threading.Lock()
        self._loaded: dict[F0Method, F0Detector] = {}

    def __getitem__(self, method: F0Method) -> F0Detector:
        if method not in F0_METHODS:
            raise KeyError(method)
        with self._loading:
            if method not in self._loaded:
                self._loaded[method] = self._load(method)
            return self._loaded[method]

    def __iter__(self) -> Iterator[F0Method]:
        return iter(F0_METHODS)

    def __len__(self) -> int:
        return len(F0_METHODS)

    def _load(self, method: F0Method) -> F0Detector:
        if method in SHIPPED:
            name, kind = SHIPPED[method]
            return kind(ASSETS / name)
        place = (self._places or (ASSETS,))[-1] / method
        raise ModelNotFound(place, f"Get it with: timbral models pull {method}")
