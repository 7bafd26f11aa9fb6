"""Checkpoints: everything that is needed to go on, whole or not there.

A checkpoint is a folder `step-00000500` with `state.json` and `state.safetensors`. It is written
beside, forced to the disk and renamed, so that a power cut or a full disk leaves the one before.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from stream.errors import CheckpointError

KEEP = 2
"""The latest checkpoints that stay, beside the best."""
STATE, TENSORS, BEST = "state.json", "state.safetensors", "best.json"
_FOLDER = re.compile(r"step-(\d{8})")


@dataclass(frozen=True)
class Checkpoint:
    """facts: JSON; tensors by name."""

    step: int
    facts: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


class Checkpoints:
    """The checkpoints in a folder.

    Law: `save` either leaves the new checkpoint whole, or leaves what was there; `load` gives back
    the same bits. Every step in `steps()` can be loaded.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def steps(self) -> list[int]:
        """Those that there are, the earliest first."""
        if not self.folder.is_dir():
            return []
        found = (_FOLDER.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def path(self, step: int) -> Path:
        """Where the checkpoint of that step is."""
        return self.folder / f"step-{step:08d}"

    @property
    def best(self) -> int | None:
        """The step that was judged best, if its checkpoint is there."""
        path = self.folder / BEST
        if not path.is_file():
            return None
        step = int(json.loads(path.read_text("utf-8"))["step"])
        return step if step in self.steps() else None

    def mark_best(self, step: int) -> None:
        """Let `best` be that one."""
        self._replace(self.folder / BEST, json.dumps({"step": step}))

    def save(self, checkpoint: Checkpoint) -> None:
        """Write it and let older ones go; raises `CheckpointError`."""
        final = self.path(checkpoint.step)
        draft = self.folder / f".writing-{final.name}"
        try:
            self.sweep()
            draft.mkdir(parents=True)
            held = {k: v.detach().contiguous().cpu() for k, v in checkpoint.tensors.items()}
            save_file(held, draft / TENSORS)
            facts = {**checkpoint.facts, "step": checkpoint.step}
            (draft / STATE).write_text(json.dumps(facts, indent=1), "utf-8")
            for name in (TENSORS, STATE):
                _to_disk(draft / name)
            if final.exists():
                shutil.rmtree(final)
            os.replace(draft, final)
            _to_disk(self.folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(draft, ignore_errors=True)
            raise CheckpointError(self._why(checkpoint.step, error)) from error
        self.prune()

    def _why(self, step: int, error: Exception) -> str:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        full = full or "No space left" in str(error) or "os error 28" in str(error)
        reason = "the disk is full" if full else f"{getattr(error, 'strerror', None) or error}"
        kept = self.steps()
        left = f"The one of step {kept[-1]} is whole" if kept else "There is none yet"
        return (
            f"The checkpoint of step {step} was not written to {self.folder}: {reason}. {left}; "
            "make room and go on with --resume."
        )

    def sweep(self) -> None:
        """Remove what a killed run was writing."""
        for left in self.folder.glob(".writing-*"):
            shutil.rmtree(left, ignore_errors=True)

    def prune(self, wanted: Iterable[int] = ()) -> None:
        """Remove all but the latest, the best and those `wanted`."""
        steps = self.steps()
        kept = {*steps[-KEEP:], self.best, *wanted}
        for step in steps:
            if step not in kept:
                shutil.rmtree(self.path(step), ignore_errors=True)

    def load(self, step: int | None = None) -> Checkpoint:
        """That of `step`, or the latest; raises `CheckpointError`."""
        steps = self.steps()
        if not steps or (step is not None and step not in steps):
            there = ", ".join(map(str, steps)) or "none"
            wanted = "checkpoint" if step is None else f"checkpoint of step {step}"
            raise CheckpointError(f"No {wanted} in {self.folder}. There are: {there}.")
        folder = self.path(steps[-1] if step is None else step)
        try:
            facts = json.loads((folder / STATE).read_text("utf-8"))
            with safe_open(folder / TENSORS, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, ValueError, SafetensorError) as error:
            raise CheckpointError(
                f"The checkpoint {folder} is damaged ({error}). Remove that folder, and --resume "
                "goes on from the one before."
            ) from error
        return Checkpoint(int(facts["step"]), facts, tensors)

    def _replace(self, path: Path, text: str) -> None:
        draft = path.with_name(f".{path.name}.draft")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(text, "utf-8")
            _to_disk(draft)
            os.replace(draft, path)
        except OSError as error:
            raise CheckpointError(
                f"{path} cannot be written: {error.strerror or error}. Make room there."
            ) from error


def _to_disk(path: Path) -> None:
    """Wait until the file or folder is on the disk; folders only where the system can."""
    flags = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) * path.is_dir()
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def pack_optimiser(optimiser: torch.optim.Optimizer, name: str) -> dict[str, Tensor]:
    """Its moments, by `name`/number/kind."""
    state: dict[int, dict[str, Tensor]] = optimiser.state_dict()["state"]
    return {f"{name}/{i}/{kind}": v for i, held in state.items() for kind, v in held.items()}


def unpack_optimiser(
    optimiser: torch.optim.Optimizer, name: str, tensors: Mapping[str, Tensor]
) -> None:
    """Give it the moments that `pack_optimiser` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for path, value in tensors.items():
        if path.startswith(f"{name}/"):
            number, kind = path[len(name) + 1 :].split("/")
            state.setdefault(int(number), {})[kind] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
