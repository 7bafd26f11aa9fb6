"""A training from its plan to its end: what it starts from, what it runs on, what it leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from offline.cache import Cache
from offline.dataset import Dataset, prepare
from offline.judge.scores import open_judges
from offline.train.data import Crops
from offline.train.distributed import team
from offline.train.exam import HeldOut
from offline.train.loop import Hooks, Outcome, Show, Trainer
from offline.train.narrow import NarrowRecipe
from offline.train.plan import DATA, SCALE, Plan, write_json
from offline.train.recipe import Recipe
from offline.train.report import write_report
from offline.train.rvc.base import check_base, find_base, read_base, rvc_shape
from offline.train.rvc.discriminator import Critics
from offline.train.rvc.networks import RvcSynthesizer
from offline.train.rvc.recipe import RvcRecipe
from offline.train.warm import scale_in
from stream.errors import ConfigError, DeviceUnavailable
from stream.models.store import Store
from stream.models.voice import SYNTH

Progress = Callable[[int, int], None]
Where = Literal["auto", "cpu", "cuda", "mps"]


def device_of(where: Where) -> torch.device:
    """The device of that name; auto takes the fastest. Raises `DeviceUnavailable`."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(),
             "mps": torch.backends.mps.is_available()}  # fmt: skip
    if where == "auto":
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if there[name]))
    if not there[where]:
        raise DeviceUnavailable(where, [name for name, has in there.items() if has])
    return torch.device(where)


def check(plan: Plan, home: Path, device: torch.device) -> Path | None:
    """Everything that can be known to fail, before anything is begun; what to start from.

    Raises `ConfigError`, `AssetMissing` and `BadCheckpoint`.
    """
    settings = plan.training
    if settings.precision == "fp16" and device.type != "cuda":
        raise ConfigError("fp16 trains on CUDA only: choose --precision bf16 or fp32.")
    if settings.sample_rate != plan.dataset.sample_rate:
        raise ConfigError(
            f"The data has {plan.dataset.sample_rate} Hz, the voice {settings.sample_rate} Hz."
        )
    if settings.encoder != plan.dataset.encoder:
        raise ConfigError(
            f"The data is described by {plan.dataset.encoder}, a {settings.family} voice hears "
            f"with {settings.encoder}."
        )
    if settings.family == "narrow":
        if plan.speakers == "folders":
            raise ConfigError(
                "A narrow voice is one speaker: train the speakers one by one, or choose "
                "--family rvc-v2."
            )
        return _narrow_base(settings.base, Store(home))
    base = find_base(settings, home)
    if base is not None:
        with torch.device("meta"):  # sizes only
            shape = rvc_shape(settings, 1)
            modules = {"G": RvcSynthesizer(shape), "D": Critics(settings.version)}
        for letter, module in modules.items():
            path, given = read_base(base, letter)
            check_base(path, given, module)
    return base


def _narrow_base(base: str, store: Store) -> Path | None:
    """The graph of a voice of ours to start from."""
    if base == "none":
        return None
    graph = store.folder("starter" if base == "auto" else base) / SYNTH
    if not graph.is_file() or scale_in(graph) is None:
        raise ConfigError(
            f"Training cannot start from the voice '{base}': only from narrow voices that were "
            "trained here. Choose --base auto or none."
        )
    return graph


def gather(plan: Plan, folder: Path, home: Path, progress: Progress | None = None) -> Dataset:
    """The plan's data set; what is known of it goes into the run's folder."""
    found = prepare(
        plan.files,
        speakers=plan.speakers,
        settings=plan.dataset,
        cache=Cache(home / "cache"),
        home=home,
        progress=progress,
    )
    if plan.training.family == "narrow" and len(found.speakers) > 1:
        raise ConfigError(
            f"The recordings are of {len(found.speakers)} speakers ({', '.join(found.speakers)}); "
            "a narrow voice is one. Choose --family rvc-v2, or train them one by one."
        )
    write_json(folder / DATA, found.facts())
    return found


def open_recipe(plan: Plan, data: Dataset, base: Path | None, folder: Path) -> Recipe:
    """The networks of the plan's family, as they are before the first step.

    A narrow voice's latent scale is kept in the run's folder: it belongs to its weights.
    """
    if plan.training.family != "narrow":
        return RvcRecipe(plan.training, len(data.speakers), base)
    recipe = NarrowRecipe(plan.training, data.training, base)
    mean, deviation = recipe.scale
    write_json(folder / SCALE, {"mean": mean.tolist(), "std": deviation.tolist()})
    return recipe


def train(
    plan: Plan,
    data: Dataset,
    folder: Path,
    home: Path,
    device: torch.device,
    base: Path | None,
    *,
    resume: bool,
    show: Show,
    stopping: Callable[[], bool],
) -> Outcome:
    """Run the plan in this process, one of a team where `torchrun` started several.

    Law: killed at any moment and called again with `resume`, it ends with the same weights.
    Raises `CheckpointError`, `TrainingError` and what `check` raises.
    """
    with team(device) as members:
        recipe = open_recipe(plan, data, base, folder)
        settings = plan.training
        crops = Crops(data.training, settings.batch, settings.frames, settings.seed)
        trainer = Trainer(recipe, settings, crops, folder, members)
        if resume and trainer.checkpoints.steps():
            trainer.resume()
        hooks = Hooks(show, stopping)
        if members.leads:
            clips = data.held_out or data.training[:1]
            judges = open_judges(home, data.training, data.sample_rate)
            exam = HeldOut(folder, clips, settings, judges)
            exam.back_to(trainer.step)
            hooks = replace(hooks, exam=exam, examined=lambda: write_report(folder))
        outcome = trainer.run(hooks)
        if members.leads:
            write_report(folder, outcome)
        return outcome
