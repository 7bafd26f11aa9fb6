"""The published weights that training starts from, checked against the voice's sizes first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from offline.train.settings import TrainSettings
from stream.errors import BadCheckpoint, ConfigError
from stream.importer.checkpoint import RvcShape
from stream.importer.tensors import read_tensors
from stream.models.assets import installed, missing

RATES: Mapping[tuple[str, int], tuple[tuple[int, ...], tuple[int, ...]]] = {
    ("v2", 32_000): ((10, 8, 2, 2), (20, 16, 4, 4)),
    ("v2", 40_000): ((10, 10, 2, 2), (16, 16, 4, 4)),
    ("v2", 48_000): ((12, 10, 2, 2), (24, 20, 4, 4)),
    ("v1", 32_000): ((10, 4, 2, 2, 2), (16, 16, 4, 4, 4)),
    ("v1", 40_000): ((10, 10, 2, 2), (16, 16, 4, 4)),
    ("v1", 48_000): ((10, 6, 2, 2, 2), (16, 16, 4, 4, 4)),
}
"""Version and rate: what the decoder's stages multiply by, and their kernels."""
SPEAKERS = "emb_g.weight"

Given = Mapping[str, NDArray[np.float32]]


def rvc_shape(settings: TrainSettings, speakers: int) -> RvcShape:
    """The published sizes for a family and rate; the decoder's width divided by `narrower`."""
    rates, kernels = RATES[settings.version, settings.sample_rate]
    return RvcShape(
        version=settings.version,
        sample_rate=settings.sample_rate,
        dim=768 if settings.version == "v2" else 256,
        upsample_rates=rates,
        upsample_kernels=kernels,
        speakers=speakers,
        f0=True,
        upsample_initial=512 // settings.narrower,
    )


def base_id(settings: TrainSettings) -> str:
    """The asset that a family starts from."""
    return f"base-{settings.version}-{settings.sample_rate // 1000}k"


def find_base(settings: TrainSettings, home: Path) -> Path | None:
    """The folder of the base weights; None to start from nothing.

    `auto` takes the published ones where they fit, and says how to get them where they are not
    installed. Raises `AssetMissing` and `ConfigError`.
    """
    if settings.base == "none" or (settings.base == "auto" and settings.narrower > 1):
        return None
    if settings.base == "auto":
        identity = base_id(settings)
        if not installed(home, identity):
            raise missing(identity, "base", home, needed_by=f"Training of {settings.family}")
        return home / "models" / identity
    folder = Path(settings.base)
    if not folder.is_dir():
        raise ConfigError(
            f"There is no folder {folder}. --base takes a folder with a G and a D file, "
            "auto for the published weights, or none."
        )
    return folder


def read_base(folder: Path, letter: str) -> tuple[Path, Given]:
    """The one G or D file in `folder` and its weights; raises `ConfigError`, `BadCheckpoint`."""
    found = sorted(
        path
        for path in folder.iterdir()
        if path.suffix in (".pth", ".safetensors") and _letter(path) == letter
    )
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise ConfigError(f"{folder} must hold one {letter} file to start from; it has: {names}.")
    tensors = read_tensors(found[0]).tensors
    prefix = "model." if any(name.startswith("model.") for name in tensors) else ""
    return found[0], {
        _plain(name[len(prefix) :]): np.asarray(value, np.float32)
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _letter(path: Path) -> str:
    """G or D: f0G40k.pth, D48k.pth, G_2333333.pth."""
    stem = path.stem.removeprefix("f0")
    return stem[:1]


def _plain(name: str) -> str:
    """The weight norm's parts by their older names."""
    for part, old in (("original0", "weight_g"), ("original1", "weight_v")):
        name = name.replace(f"parametrizations.weight.{part}", old)
    return name


def check_base(path: Path, given: Given, module: nn.Module) -> None:
    """Refuse weights that do not fit `module`: all there, each of its size, none too many.

    The speaker embedding may have more rows than the voice has speakers. Raises `BadCheckpoint`.
    """
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    for name, size in wanted.items():
        if name not in given:
            raise BadCheckpoint(path, f"training cannot start from it: {name} is missing.")
        has = given[name].shape
        rows = name == SPEAKERS and has[1:] == size[1:] and has[0] >= size[0]
        if has != size and not rows:
            raise BadCheckpoint(
                path,
                f"training cannot start from it: its {name} is {has}, this voice's {size}. "
                "It belongs to another version or rate (--family, --rate).",
            )
    for name in given:
        if name not in wanted:
            raise BadCheckpoint(path, f"training cannot start from it: nothing here is {name}.")


def fill(module: nn.Module, given: Given) -> None:
    """Give a module the weights that `check_base` let pass."""
    rows = {name: len(value) for name, value in module.state_dict().items() if name == SPEAKERS}
    state = {
        name: torch.from_numpy(np.array(value[: rows[name]] if name in rows else value))
        for name, value in given.items()
    }
    module.load_state_dict(state)
