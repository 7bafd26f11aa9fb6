"""What a family of voices brings to the training loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from offline.train.data import Clip, Crop
from stream.audio import Audio

Convert = Callable[[Clip], Audio]
"""Says a clip again, from its features and pitch: [T hop] samples at the voice's rate."""


@dataclass(frozen=True)
class Moment:
    """One pass of a training step.

    done    0 at the run's start .. 1 at its end
    chance  all that is random comes from here
    cast    around networks, in the run's precision; losses are computed outside, in float32
    """

    done: float
    chance: torch.Generator
    cast: Callable[[], AbstractContextManager[Any]]


class Recipe(Protocol):
    """A family's networks and what they learn.

    generator  what speaks; its moving average becomes the voice
    modules    what learns, by name: each minimises the loss of its name with its own optimiser
    rates      the learning rate of each
    aids       modules without weights of their own that must lie on the device
    """

    @property
    def generator(self) -> nn.Module: ...
    @property
    def modules(self) -> Mapping[str, nn.Module]: ...
    @property
    def rates(self) -> Mapping[str, float]: ...
    @property
    def aids(self) -> Sequence[nn.Module]: ...

    def batch(self, crops: Sequence[Crop], chance: np.random.Generator) -> Any:
        """A frozen dataclass of tensors, made of a step's crops; runs in a thread of its own."""
        ...

    def losses(
        self, batch: Any, moment: Moment
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The loss of each module, as far as it learns now, and figures to tell."""
        ...

    def converter(self, weights: Mapping[str, Tensor]) -> Convert:
        """What speaks with these weights of the generator, on the processor."""
        ...
