"""ONNX Runtimes of other machines: told what they offer, they compute on the processor here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import onnxruntime as ort
import pytest

from stream.device import Kind
from stream.models import onnx, session
from stream.models.providers import PROVIDERS

REAL = ort.InferenceSession


@dataclass
class Opened:
    """A session that was asked for."""

    path: Path | None
    providers: dict[str, Mapping[str, str]]
    options: ort.SessionOptions
    fallback: bool

    @property
    def first(self) -> str:
        """The provider that was to run the graph."""
        return next(iter(self.providers))


@dataclass
class Machine:
    """What its ONNX Runtime was built for, what of that works, and the sessions opened on it."""

    built: Sequence[Kind]
    works: Sequence[Kind]
    breaks: bool = False  # what does not work raises, instead of going on on the processor
    refuses_capture: bool = False
    opened: list[Opened] = field(default_factory=list[Opened])

    def real(self) -> list[Opened]:
        """The sessions that were not only looked at."""
        plain = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        return [o for o in self.opened if o.options.graph_optimization_level != plain]

    def names(self, kinds: Sequence[Kind]) -> list[str]:
        return [PROVIDERS[kind].name for kind in kinds]

    def available(self) -> list[str]:
        return self.names(self.built)

    def open(
        self,
        source: Path | bytes,
        options: ort.SessionOptions,
        *,
        providers: list[Any],
        enable_fallback: int = 1,
    ) -> Any:
        asked: dict[str, Mapping[str, str]] = dict(
            one if isinstance(one, tuple) else (one, {}) for one in providers
        )
        path = source if isinstance(source, Path) else None
        self.opened.append(Opened(path, asked, options, bool(enable_fallback)))
        works = self.names(self.works)
        first = next(iter(asked))
        if self.breaks and first not in works:
            raise RuntimeError("CUDA failure 100: no CUDA-capable device is detected")
        if self.refuses_capture and asked[first].get("enable_cuda_graph") == "1":
            raise RuntimeError("the model has nodes that the processor must run")
        real = REAL(source, options, providers=["CPUExecutionProvider"])
        found = [name for name in asked if name in works]
        monkey: Any = real  # IOBinding wants the very session
        monkey.get_providers = lambda: found
        return monkey


def machine(
    patch: pytest.MonkeyPatch,
    built: Sequence[Kind],
    works: Sequence[Kind] | None = None,
    *,
    breaks: bool = False,
    refuses_capture: bool = False,
) -> Machine:
    """While `patch` lasts, ONNX Runtime is one that was built for `built`."""
    made = Machine(built, built if works is None else works, breaks, refuses_capture)
    patch.setattr(ort, "get_available_providers", made.available)
    patch.setattr(ort, "InferenceSession", made.open)
    here = {
        kind: replace(row, tables="cpu" if row.tables else "") for kind, row in PROVIDERS.items()
    }
    patch.setattr(onnx, "PROVIDERS", MappingProxyType(here))
    patch.setattr(session, "PROVIDERS", MappingProxyType(here))
    return made
