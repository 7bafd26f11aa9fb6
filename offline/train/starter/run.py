"""A training run that can be stopped and resumed: optimisers, a moving average, a clock."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

WARM_UP = 60
SAVE_EVERY = 200
REPORT_EVERY = 50


class Run:
    """Modules by name, each with an optimiser of its own; the first one is averaged."""

    def __init__(
        self, path: Path, modules: Mapping[str, nn.Module], rates: Mapping[str, float], keep: float
    ) -> None:
        self.path = path
        self.modules = modules
        self.steps = 0
        self.seconds = 0.0
        self._rates = rates
        self._keep = keep
        self._started = time.monotonic()
        self._main = next(iter(modules.values()))
        self.optimisers = {
            name: torch.optim.AdamW(
                [p for p in module.parameters() if p.requires_grad], rates[name], (0.8, 0.98)
            )
            for name, module in modules.items()
        }
        self.average = {k: v.clone() for k, v in self._main.state_dict().items()}
        self._recent: dict[str, list[float]] = {}
        if path.exists():
            self._resume()

    def progress(self, minutes: float) -> float:
        """0 at the start of the run, 1 when `minutes` of training are over; sets the rates."""
        spent = self.seconds + time.monotonic() - self._started
        done = min(1.0, spent / max(1e-9, 60 * minutes))
        cosine = 0.5 * (1 + math.cos(math.pi * done))
        factor = min(1.0, (self.steps + 1) / WARM_UP) * (0.95 * cosine + 0.05)
        for name, optimiser in self.optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = self._rates[name] * factor
        return done

    def step(self, name: str, loss: Tensor, clip: float) -> None:
        """One update of one module."""
        optimiser = self.optimisers[name]
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.modules[name].parameters(), clip)
        optimiser.step()

    def count(self, **losses: float) -> None:
        """The end of a step: follow the weights, tell the losses, save now and then."""
        self.steps += 1
        keep = min(self._keep, self.steps / (self.steps + 20))
        with torch.no_grad():
            for name, value in self._main.state_dict().items():
                self.average[name].lerp_(value, 1 - keep)
        for name, value in losses.items():
            self._recent.setdefault(name, []).append(value)
        if self.steps % REPORT_EVERY == 0:
            told = {k: round(sum(v) / len(v), 4) for k, v in self._recent.items()}
            log.info("%s step %d: %s", self.path.stem, self.steps, told)
            self._recent.clear()
        if self.steps % SAVE_EVERY == 0:
            self.save()

    def save(self) -> None:
        """Write everything needed to go on, replacing the file in one go."""
        now = time.monotonic()
        self.seconds, self._started = self.seconds + now - self._started, now
        held: dict[str, Any] = {
            "model": self.average,
            "modules": {k: m.state_dict() for k, m in self.modules.items()},
            "optimisers": {k: o.state_dict() for k, o in self.optimisers.items()},
            "steps": self.steps,
            "seconds": self.seconds,
        }
        draft = self.path.with_suffix(".draft")
        torch.save(held, draft)
        os.replace(draft, self.path)

    def _resume(self) -> None:
        where = next(self._main.parameters()).device
        held: dict[str, Any] = torch.load(self.path, map_location=where, weights_only=True)
        self.average = held["model"]
        for name, module in self.modules.items():
            module.load_state_dict(held["modules"][name])
            self.optimisers[name].load_state_dict(held["optimisers"][name])
        self.steps, self.seconds = held["steps"], held["seconds"]


def weights_of(path: Path) -> dict[str, Tensor]:
    """The averaged weights that a run has left."""
    held: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return held["model"]


def modules_of(path: Path) -> dict[str, dict[str, Tensor]]:
    """The weights, not averaged, of all modules of a run."""
    held: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return held["modules"]
