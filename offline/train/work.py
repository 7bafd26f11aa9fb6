"""What a training run leaves, collected for the voice that is made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from offline.judge.scores import Scores
from offline.train.data import Clip
from offline.train.synth import SynthShape
from offline.train.warm import Scale
from stream.errors import ConfigError
from stream.importer.checkpoint import RvcCheckpoint, RvcShape

if TYPE_CHECKING:
    from offline.train.trained import Trained

Array = NDArray[np.float32]
HEARD: Final = (0.5, 50.0, 99.5)  # percentiles of the pitch: trained from, median, to


@dataclass(frozen=True, kw_only=True)
class Work:
    """All that a voice is made of.

    weights  of what speaks: narrow under the names of `Synthesizer`, rvc under the published ones
    scale    of the narrow latent, which the next training may start from
    facts    of the data, for the card
    history  what was judged, by step
    recipe   hash of the settings
    """

    family: Literal["narrow", "rvc"]
    shape: SynthShape | RvcShape
    weights: Mapping[str, Array]
    scale: Scale | None
    encoder: str
    speakers: tuple[str, ...]
    step: int
    training: Sequence[Clip]
    held_out: Sequence[Clip]
    facts: Mapping[str, Any]
    history: Mapping[int, Scores]
    recipe: str


def work_of(run: Trained, home: Path) -> Work:
    """What the run has left, collected; raises `CheckpointError` and what its data set raises."""
    from offline.train.trained import (
        dataset,
        generator_weights,
        history,
        recipe_hash,
        scale,
        shape_of,
    )

    data = dataset(run, home)
    return Work(
        family=run.family,
        shape=shape_of(run),
        weights=generator_weights(run),
        scale=scale(run) if run.family == "narrow" else None,
        encoder=data.encoder,
        speakers=data.speakers,
        step=run.step,
        training=data.training,
        held_out=data.held_out,
        facts=data.facts(),
        history=history(run),
        recipe=recipe_hash(run),
    )


def heard_pitch(clips: Sequence[Clip]) -> tuple[float, float, float]:
    """Where the pitch that was trained on begins, its median and its end, Hz.

    Raises `ConfigError` when nothing is voiced.
    """
    f0 = np.concatenate([np.zeros(0, np.float32), *(clip.load().f0 for clip in clips)])
    if not (f0 > 0.0).any():
        raise ConfigError("No pitch was found in the recordings: is anybody speaking in them?")
    low, median, high = np.percentile(f0[f0 > 0.0], HEARD)
    return float(low), float(median), float(high)


def checkpoint_of(work: Work, f0_median_hz: float | None) -> RvcCheckpoint:
    """The rvc family's weights as an imported voice has them."""
    assert isinstance(work.shape, RvcShape)
    return RvcCheckpoint(
        shape=work.shape,
        weights=work.weights,
        speakers=work.speakers,
        embedder=work.encoder,
        f0_median_hz=f0_median_hz,
        about={},
    )
