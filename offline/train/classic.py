"""The voice for other programs: RVC's own `.pth` and faiss `.index`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from offline.train.index import IndexPlan, make_index
from offline.train.work import Work, heard_pitch, work_of
from stream.errors import ConfigError
from stream.importer.checkpoint import RvcShape

if TYPE_CHECKING:
    from offline.train.trained import Trained

SEGMENT: Final = 32  # frames; nobody reads it after training
DROPOUT: Final = 0
RESBLOCK: Final = "1"


@dataclass(frozen=True)
class Classic:
    """The files that were written."""

    pth: Path
    index: Path


def export_classic(
    trained: Trained,
    folder: Path,
    *,
    name: str,
    home: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Classic:
    """Write the voice at its step as `name`.pth and added_*.index into `folder`.

    Raises `ConfigError` for a narrow voice, whose network no other program has, and when `folder`
    cannot be written.
    """
    if trained.family != "rvc":
        raise ConfigError(
            "A narrow voice's network is timbral's own, which no other program can load. "
            "Train with --family rvc-v2 for a voice that works elsewhere."
        )
    return write_classic(work_of(trained, home), folder, name=name, progress=progress)


def write_classic(
    work: Work,
    folder: Path,
    *,
    name: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Classic:
    """The same from `work` that was collected.

    Law: our own importer and RVC's loader read from the file the weights to half precision, and
    the shape.
    """
    shape = work.shape
    if not isinstance(shape, RvcShape):
        raise ConfigError("Only voices of the rvc family can be written for other programs.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pth = folder / f"{name}.pth"
        _save(_contents(work, shape, name), pth)
        progress(1, 2)
        rows = (clip.load().features[::2] for clip in work.training)
        draft = folder / f".{name}.index"
        made = make_index(rows, draft, plan=IndexPlan())
        kind = f"IVF{made.lists}_Flat_nprobe_{made.probes}" if made.lists else "Flat"
        index = folder / f"added_{kind}_{name}_{shape.version}.index"
        os.replace(draft, index)
        progress(2, 2)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror or error}.") from error
    return Classic(pth, index)


def config(shape: RvcShape) -> list[Any]:
    """RVC's list of 18 settings, in its order."""
    bins = (1024 if shape.sample_rate <= 32_000 else 2048) // 2 + 1
    return [
        bins,
        SEGMENT,
        shape.inter,
        shape.hidden,
        shape.filter,
        shape.heads,
        shape.layers,
        shape.kernel,
        DROPOUT,
        RESBLOCK,
        list(shape.resblock_kernels),
        [list(row) for row in shape.resblock_dilations],
        list(shape.upsample_rates),
        shape.upsample_initial,
        list(shape.upsample_kernels),
        shape.speakers,
        shape.gin,
        shape.sample_rate,
    ]


def _contents(work: Work, shape: RvcShape, name: str) -> dict[str, Any]:
    minutes = float(work.facts.get("training_minutes", 0.0))
    return {
        "weight": _normed(work),
        "config": config(shape),
        "info": f"{work.step} steps",
        "sr": f"{shape.sample_rate // 1000}k",
        "f0": int(shape.f0),
        "version": shape.version,
        "model_name": name,
        "step": work.step,
        "dataset_length": f"{minutes:.1f} minutes",
        "embedder_model": work.encoder.rpartition("-")[0],
        "f0_median": heard_pitch(work.training)[1],
        "speaker_info": {str(i): speaker for i, speaker in enumerate(work.speakers)},
        "vocoder": "HiFi-GAN",
    }


def _normed(work: Work) -> dict[str, torch.Tensor]:
    """Half-precision weights, those that RVC's network normalises as length and direction."""
    state: dict[str, torch.Tensor] = {}
    for name, value in work.weights.items():
        tensor = torch.from_numpy(np.array(value, np.float32))
        if not _has_norm(name):
            state[name] = tensor.half()
            continue
        length = tensor.flatten(1).norm(dim=1).reshape(-1, *[1] * (tensor.ndim - 1))
        state[f"{name}_g"] = length.half()
        state[f"{name}_v"] = tensor.half()
    return state


def _has_norm(name: str) -> bool:
    """Whether RVC's network keeps the weight in two parts."""
    if not name.endswith(".weight"):
        return False
    return name.startswith(("dec.ups.", "dec.resblocks.")) or (
        name.startswith("flow.") and ".enc." in name
    )


def _save(contents: dict[str, Any], path: Path) -> None:
    draft = path.with_name(f".{path.name}.draft")
    try:
        torch.save(contents, draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
