"""The training loop: the same for every family, on one device or several.

Laws: the weights after n steps depend on settings, data and machine alone, so that 5 steps, a
restart and 5 more give the bits of 10; a run that ends early, however it ends, leaves its last
checkpoint whole.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from offline.train.checkpoints import (
    Checkpoint,
    Checkpoints,
    pack_optimiser,
    unpack_optimiser,
)
from offline.train.data import Ahead, Crops
from offline.train.distributed import Team
from offline.train.journal import Journal
from offline.train.recipe import Convert, Moment, Recipe
from offline.train.settings import TrainSettings
from stream.errors import TrainingError

BETAS, EPSILON = (0.8, 0.99), 1e-9  # of AdamW, as RVC and HiFi-GAN have them
TELL_EVERY = 10
MEASURED = (4, 12)
"""Of the first steps of a run in minutes: from which on, and until which, they are timed."""

End = Literal["done", "no gain", "stopped"]


class Exam(Protocol):
    """Judges the voice on speech it has not learnt from."""

    def taken(self, step: int) -> bool:
        """Whether that step was judged already."""
        ...

    def take(self, step: int, convert: Convert) -> Mapping[str, float]:
        """Judge it; the figures."""
        ...

    @property
    def best(self) -> int | None:
        """The step that was judged best."""
        ...

    @property
    def without_gain(self) -> int:
        """Examinations since then."""
        ...


class Show(Protocol):
    """Is told of each step."""

    def __call__(self, step: int, steps: int | None, told: Mapping[str, float]) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """How a run ended, at which step, and which step was best."""

    end: End
    step: int
    best: int


@dataclass(frozen=True)
class Hooks:
    """What the loop calls. `stopping` is asked after every step; `exam` may be left out;
    `examined` is called after each."""

    show: Show = lambda step, steps, told: None
    stopping: Callable[[], bool] = lambda: False
    exam: Exam | None = None
    examined: Callable[[], object] = lambda: None


class Trainer:
    """A run: weights, optimisers, their averages, and the place in the data."""

    def __init__(
        self, recipe: Recipe, settings: TrainSettings, crops: Crops, folder: Path, team: Team
    ) -> None:
        self.recipe, self.settings, self.team = recipe, settings, team
        self.crops = replace(crops, rank=team.rank, world=team.world)
        self.checkpoints = Checkpoints(folder / "checkpoints")
        self.journal = Journal(folder, writes=team.leads)
        self.step = 0
        self.steps = settings.steps
        self._spent = 0.0  # seconds of training steps, in all
        device = team.device
        for module in (recipe.generator, *recipe.modules.values(), *recipe.aids):
            module.to(device)
        self._optimisers = {
            name: torch.optim.AdamW(
                module.parameters(), recipe.rates[name], BETAS, EPSILON, fused=True
            )
            for name, module in recipe.modules.items()
        }
        self._scaler = torch.amp.GradScaler(
            device.type, enabled=settings.precision == "fp16" and device.type == "cuda"
        )
        self.average = {k: v.clone() for k, v in recipe.generator.state_dict().items()}
        self._told: dict[str, list[Tensor]] = {}
        self._lengths: list[float] = []

    # one step

    def _cast(self) -> AbstractContextManager[Any]:
        kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
        kind = kinds[self.settings.precision]
        return torch.autocast(self.team.device.type, kind, enabled=kind != torch.float32)

    def _chance(self, part: int) -> torch.Generator:
        """Random numbers of this step, part and rank; dropout's too."""
        place = (self.settings.seed, self.step, part, self.team.rank)
        seed = int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0] >> 1)
        torch.manual_seed(seed)
        return torch.Generator(self.team.device).manual_seed(seed)

    def _prepare(self, place: int) -> Any:
        """The batch of part `place % accumulate` of a step."""
        step, part = divmod(place, self.settings.accumulate)
        crops = self.crops(step, part, self.settings.accumulate)
        chance = np.random.default_rng((self.settings.seed, 2, place, self.team.rank))
        return self.recipe.batch(crops, chance)

    def _learn(self, batches: Ahead[Any]) -> None:
        settings = self.settings
        done = 0.0 if self.steps is None else self.step / self.steps
        for optimiser in self._optimisers.values():
            optimiser.zero_grad(set_to_none=True)
        learnt: set[str] = set()
        for part in range(settings.accumulate):
            batch = _on(batches(self.step * settings.accumulate + part), self.team.device)
            moment = Moment(done, self._chance(part), self._cast)
            losses, told = self.recipe.losses(batch, moment)
            self._gather(losses)
            learnt |= set(losses)
            for name, value in told.items():
                self._told.setdefault(name, []).append(value)
        factor = self._rate_factor(done)
        for name in sorted(learnt):
            self._update(name, factor)
        if self._scaler.is_enabled():
            self._scaler.update()
        self._follow()

    def _gather(self, losses: Mapping[str, Tensor]) -> None:
        """Add each module's gradient of its own loss, and of no other's."""
        names = list(losses)
        for name in names:
            loss = self._scaler.scale(losses[name] / self.settings.accumulate)
            weights = [p for p in self.recipe.modules[name].parameters() if p.requires_grad]
            gradients = _gradients(loss, weights, keep=name != names[-1])
            for weight, gradient in zip(weights, gradients, strict=True):
                if gradient is not None:
                    weight.grad = gradient if weight.grad is None else weight.grad + gradient

    def _update(self, name: str, factor: float) -> None:
        optimiser = self._optimisers[name]
        weights = list(self.recipe.modules[name].parameters())
        gradients: list[Tensor | None] = [p.grad for p in weights]
        self.team.average([g for g in gradients if g is not None])
        self._scaler.unscale_(optimiser)
        length = torch.nn.utils.clip_grad_norm_(weights, self.settings.clip)
        if not self._scaler.is_enabled() and not bool(torch.isfinite(length)):
            raise TrainingError(
                f"The gradient of the {name} is no number any more at step {self.step}. Go on from "
                "the last checkpoint with a lower --lr, or with --precision fp32."
            )
        for group in optimiser.param_groups:
            group["lr"] = self.recipe.rates[name] * factor
        self._scaler.step(optimiser)

    def _rate_factor(self, done: float) -> float:
        """Warm-up, then a cosine from 1 down to `decay`."""
        settings = self.settings
        rising = min(1.0, (self.step + 1) / max(1, settings.warm_up))
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        return rising * (settings.decay + (1 - settings.decay) * cosine)

    def _follow(self) -> None:
        """Let the average follow the weights; quickly at first."""
        keep = min(self.settings.average, (self.step + 1) / (self.step + 20))
        state = self.recipe.generator.state_dict()
        with torch.no_grad():
            for name, value in self.average.items():
                value.lerp_(state[name], 1 - keep)

    # the run

    def run(self, hooks: Hooks | None = None) -> Outcome:
        """Train until the steps are done, nothing is gained any more, or somebody stops it.

        Raises `CheckpointError` when the disk is full, `TrainingError` when learning broke down.
        """
        hooks = hooks or Hooks()
        batches: Ahead[Any] = Ahead(self._prepare)
        try:
            return self._run(hooks, batches)
        finally:
            batches.close()
            self.journal.close()

    def _run(self, hooks: Hooks, batches: Ahead[Any]) -> Outcome:
        if self._due(self.settings.every):  # killed between a checkpoint and its examination
            self._examine(hooks)
        while True:
            if self._gainless(hooks):
                return self._ended("no gain")
            if self.steps is not None and self.step >= self.steps:
                return self._ended("done")
            begun = time.perf_counter()
            self._learn(batches)
            self.step += 1
            self._spent += time.perf_counter() - begun
            self._settle(time.perf_counter() - begun)
            self._tell(hooks)
            stopping = self.team.any(hooks.stopping())
            last = self.step == self.steps
            if self._due(self.settings.save_every, self.settings.every) or last or stopping:
                self.save()
            if stopping:
                return self._ended("stopped")
            if self._due(self.settings.every) or last:
                self._examine(hooks)

    def _due(self, *every: int) -> bool:
        return self.step > 0 and any(self.step % each == 0 for each in every)

    def _settle(self, seconds: float) -> None:
        """Turn minutes into steps, once it is known how long one takes."""
        minutes = self.settings.minutes
        if self.steps is not None or minutes is None:
            return
        self._lengths.append(seconds)
        warm, enough = MEASURED
        if len(self._lengths) >= enough:
            each = sum(self._lengths[warm:]) / (enough - warm)
            left = max(0.0, 60 * minutes - self._spent) / each
            self.steps = int(self.team.agree(self.step + max(1, round(left))))

    def _tell(self, hooks: Hooks) -> None:
        if self.step % TELL_EVERY and self.step != self.steps:
            return
        told = {k: float(torch.stack(v).float().mean()) for k, v in self._told.items()}
        self._told.clear()
        self.journal.tell(self.step, self._spent, told)
        hooks.show(self.step, self.steps, told)

    def _gainless(self, hooks: Hooks) -> bool:
        patience = self.settings.patience
        worse = hooks.exam.without_gain if hooks.exam and self.team.leads else 0
        return self.team.any(0 < patience <= worse)

    def _examine(self, hooks: Hooks) -> None:
        if hooks.exam and self.team.leads and not hooks.exam.taken(self.step):
            weights = {k: v.cpu() for k, v in self.average.items()}
            figures = hooks.exam.take(self.step, self.recipe.converter(weights))
            self.journal.examined(self.step, figures)
            if hooks.exam.best is not None and hooks.exam.best in self.checkpoints.steps():
                self.checkpoints.mark_best(hooks.exam.best)
            hooks.examined()
        self.team.wait()

    def _ended(self, end: End) -> Outcome:
        best = self.checkpoints.best
        return Outcome(end, self.step, self.step if best is None else best)

    # checkpoints

    def save(self) -> None:
        """Write everything that is needed to go on."""
        if self.team.leads:
            tensors = {f"average/{k}": v for k, v in self.average.items()}
            for name, module in self.recipe.modules.items():
                tensors |= {f"module/{name}/{k}": v for k, v in module.state_dict().items()}
                tensors |= pack_optimiser(self._optimisers[name], f"optimiser/{name}")
            facts = {"steps": self.steps, "spent": self._spent, "scaler": self._scaler.state_dict()}
            self.checkpoints.save(Checkpoint(self.step, facts, tensors))
        self.team.wait()

    def resume(self, step: int | None = None) -> None:
        """Go on from a checkpoint, the latest if `step` is None; raises `CheckpointError`."""
        held = self.checkpoints.load(step)
        for name, module in self.recipe.modules.items():
            module.load_state_dict(_under(held.tensors, f"module/{name}/"))
            unpack_optimiser(self._optimisers[name], f"optimiser/{name}", held.tensors)
        for name, value in _under(held.tensors, "average/").items():
            self.average[name].copy_(value)
        self.step, self._spent = held.step, float(held.facts["spent"])
        self.steps = self.settings.steps or held.facts["steps"]
        self._scaler.load_state_dict(held.facts["scaler"])
        self.journal.back_to(self.step)


def _gradients(loss: Tensor, weights: Sequence[Tensor], *, keep: bool) -> Sequence[Tensor | None]:
    """Of the loss by each weight; None where it has nothing to do with it."""
    return torch.autograd.grad(loss, weights, retain_graph=keep, allow_unused=True)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def _on(batch: Any, device: torch.device) -> Any:
    """A dataclass of tensors, on the device."""
    if device.type == "cpu":
        return batch
    held = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return replace(batch, **{k: v.pin_memory().to(device, non_blocking=True)
                             for k, v in held.items()})  # fmt: skip
