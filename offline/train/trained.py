"""What a training run has made: its weights at a step, and what they were made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from offline.cache import Cache
from offline.dataset import Dataset, prepare
from offline.judge.scores import Scores
from offline.train.checkpoints import Checkpoints
from offline.train.exam import read_history
from offline.train.plan import DATA, SCALE, Plan, read_plan
from offline.train.rvc.base import rvc_shape
from offline.train.settings import TrainSettings
from offline.train.synth import SynthShape
from offline.train.warm import Scale
from stream.importer.checkpoint import RvcShape
from stream.importer.layout import layout

Weights = dict[str, NDArray[np.float32]]
State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Trained:
    """A run and one of its checkpoints."""

    family: Literal["narrow", "rvc"]
    settings: TrainSettings
    folder: Path
    step: int

    @property
    def plan(self) -> Plan:
        """What was asked for."""
        return read_plan(self.folder)


def trained(folder: Path, step: int | None = None) -> Trained:
    """The run in `folder` at `step`, or at its best; raises `ConfigError`, `CheckpointError`."""
    plan, checkpoints = read_plan(folder), Checkpoints(folder / "checkpoints")
    chosen = checkpoints.best if step is None else step
    found = checkpoints.load(chosen)
    family = "narrow" if plan.training.family == "narrow" else "rvc"
    return Trained(family, plan.training, folder, found.step)


def generator_weights(run: Trained) -> Weights:
    """The averaged weights of what speaks.

    narrow: under the names of `Synthesizer.state_dict()`. rvc: under the published names, weight
    norm folded, without the posterior encoder, in the order of `layout`.
    """
    held = Checkpoints(run.folder / "checkpoints").load(run.step).tensors
    prefix = "average/"
    state = {k[len(prefix) :]: v for k, v in held.items() if k.startswith(prefix)}
    if run.family == "narrow":
        return {name: value.float().numpy() for name, value in state.items()}
    shape = shape_of(run)
    assert isinstance(shape, RvcShape)
    return folded(state, shape)


def folded(state: State, shape: RvcShape) -> Weights:
    """RVC's weights with each pair of a weight norm multiplied out: w = g v / |v|."""
    found: Weights = {}
    for name in layout(shape):
        if name in state:
            found[name] = state[name].float().numpy()
            continue
        gain, direction = state[f"{name}_g"].float(), state[f"{name}_v"].float()
        length = direction.flatten(1).norm(dim=1).reshape(gain.shape)
        found[name] = (direction * (gain / length)).numpy()
    return found


def unfolded(weights: Mapping[str, NDArray[np.float32]], like: State) -> dict[str, Tensor]:
    """The other way: a state like `like`, where the weights have its names; others stay."""
    state = dict(like)
    for name in like:
        stem = name[:-2] if name.endswith(("weight_g", "weight_v")) else name
        if stem in weights:
            value = torch.from_numpy(np.array(weights[stem], np.float32))
            if name.endswith("weight_g"):
                value = value.flatten(1).norm(dim=1).reshape(like[name].shape)
            state[name] = value
    return state


def shape_of(run: Trained) -> SynthShape | RvcShape:
    """The sizes of what speaks."""
    if run.family == "narrow":
        return SynthShape(sample_rate=run.settings.sample_rate)
    return rvc_shape(run.settings, len(facts(run)["speakers"]))


def facts(run: Trained) -> Mapping[str, list[str]]:
    """What the run knows of its data set: JSON."""
    return json.loads((run.folder / DATA).read_text("utf-8"))


def scale(run: Trained) -> Scale:
    """Mean and deviation, [80] each, by which a narrow voice's latent is normalised."""
    held = json.loads((run.folder / SCALE).read_text("utf-8"))
    return np.asarray(held["mean"], np.float32), np.asarray(held["std"], np.float32)


def dataset(run: Trained, home: Path) -> Dataset:
    """The data set, made again where the cache was emptied."""
    plan = run.plan
    return prepare(
        plan.files,
        speakers=plan.speakers,
        settings=plan.dataset,
        cache=Cache(home / "cache"),
        home=home,
    )


def history(run: Trained) -> dict[int, Scores]:
    """What the examinations found, by step."""
    return read_history(run.folder)


def recipe_hash(run: Trained) -> str:
    """sha256 of all that the weights follow from: the settings, the data and the step."""
    held = json.loads((run.folder / DATA).read_text("utf-8"))
    settings = run.settings.model_dump(mode="json")
    text = json.dumps([settings, held["key"], run.step], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
