"""Every detector by its name in `Controls`."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

from stream.controls import F0_METHODS, MOST_METHODS, F0Blend, F0Method
from stream.device import CPU, Device
from stream.errors import ConfigError
from stream.models.assets import missing
from stream.models.f0.card import CARD, DetectorKind, checked_graph
from stream.models.f0.crepe import Crepe
from stream.models.f0.detector import F0Detector
from stream.models.f0.ensemble import Ensemble
from stream.models.f0.fcpe import Fcpe
from stream.models.f0.harmonic import Harmonic
from stream.models.f0.recordings import RecordingMethod, WholeRecording, only_files
from stream.models.f0.rmvpe import Rmvpe, RmvpeFromMel, RmvpeFromSound
from stream.models.f0.swift import SwiftF0

ASSETS = Path(__file__).parents[1] / "assets"
CORES = os.cpu_count() or 1
Load = Callable[[Path, Device], F0Detector]

SHIPPED: Mapping[F0Method, tuple[str, Load]] = MappingProxyType(
    {
        "swift": ("swift-f0.onnx", SwiftF0),
        "harmonic": ("harmonic-f0.onnx", Harmonic),
        "crepe-tiny": ("crepe-tiny.onnx", Crepe),
    }
)
INSTALLED: Mapping[DetectorKind, Load] = MappingProxyType(
    {
        "crepe": Crepe,
        "fcpe": Fcpe,
        "rmvpe": Rmvpe,
        "rmvpe-mel": RmvpeFromMel,
        "rmvpe-sound": RmvpeFromSound,
    }
)
RECORDINGS: Mapping[F0Method, RecordingMethod] = MappingProxyType(
    {"pm": "pm", "harvest": "harvest", "dio": "dio"}
)


class Detectors(Mapping[F0Method, F0Detector]):
    """Every detector by the name it has in `Controls`, loaded when it is first asked for.

    home    where models are installed, under `home`/models/<name>
    device  of the voices that they serve; in full precision there, too
    shared  whether several streams use them

    The large detectors, which are installed, run where the voices do. The small ones, which are
    shipped, take a GPU longer to begin with than the processor to answer one stream; so they follow
    only where they are `shared` and a call answers many.

    What was loaded stays, and serves every stream and thread. Asking for a detector raises
    `AssetMissing` when its model is not installed, `ModelError` when that is damaged, and
    `ConfigError` when it needs a package that is not there.
    """

    def __init__(self, home: Path, device: Device = CPU, *, shared: bool = False) -> None:
        self._home = home
        self._large, self._small = device, device if shared else CPU
        self._loading = threading.Lock()
        self._loaded: dict[F0Method, F0Detector] = {}
        self._ensembles: dict[tuple[tuple[F0Method, ...], F0Blend], Ensemble] = {}
        self._threads: ThreadPoolExecutor | None = None

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

    def chosen(self, methods: Sequence[F0Method], blend: F0Blend) -> F0Detector:
        """The one detector, or the ensemble, that `Controls` name; the same object each time."""
        found = [self[method] for method in methods]
        if len(found) == 1:
            return found[0]
        with self._loading:
            key = (tuple(methods), blend)
            if key not in self._ensembles:
                self._ensembles[key] = Ensemble(found, blend, self._helpers())
            return self._ensembles[key]

    def live(self, methods: Sequence[F0Method], blend: F0Blend) -> F0Detector:
        """The same for a live stream; raises `ConfigError` for what needs a whole recording."""
        for method in methods:
            if method in RECORDINGS:
                raise ConfigError(only_files(RECORDINGS[method]))
        return self.chosen(methods, blend)

    def _helpers(self) -> ThreadPoolExecutor | None:
        """Threads that all ensembles share, made for the first one; none on a single core."""
        if self._threads is None and CORES > 1:
            workers = min(CORES, MOST_METHODS) - 1
            self._threads = ThreadPoolExecutor(workers, thread_name_prefix="f0")
        return self._threads

    def _load(self, method: F0Method) -> F0Detector:
        if method in RECORDINGS:
            return WholeRecording(RECORDINGS[method])
        folder = self._home / "models" / method
        if (folder / CARD).is_file():
            card, graph = checked_graph(folder)
            return INSTALLED[card.kind](graph, self._large)
        if method in SHIPPED:
            name, kind = SHIPPED[method]
            return kind(ASSETS / name, self._small)
        raise missing(method, "f0", self._home, needed_by="This choice of pitch detectors")
