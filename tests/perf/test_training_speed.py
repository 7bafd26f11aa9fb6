"""A step of RVC's training against the plain recipe, on this machine, in one run."""

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import reference
import torch
from hummed import clips
from torch.utils.flop_counter import FlopCounterMode

from offline.train.data import Crops
from offline.train.distributed import Team
from offline.train.loop import Trainer
from offline.train.rvc.losses import Spectra, critics_loss, deceit, divergence, matching
from offline.train.rvc.networks import Heard, fft_size
from offline.train.rvc.recipe import MEL, Batch, RvcRecipe
from offline.train.settings import TrainSettings, defaults

torch.set_num_threads(1)
GAIN = 1.2  # of time: 1.3 and more on a quiet machine; a shared one shows less
WORK_GAIN = 1.25  # of what convolutions and matrices calculate, which no neighbour changes
STEPS = 3
KEPT = 3
"""Critics of the nine: of the wave, and of its periods of 2 and 3 samples."""


class Plain:
    """The recipe as it is published: RVC's own modules, the critics asked anew for each loss."""

    def __init__(self, recipe: RvcRecipe, settings: TrainSettings) -> None:
        shape = recipe.shape
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            models = reference.modules("infer_pack.models")
            self.net: Any = reference.network(shape).train()
            bins = fft_size(shape.sample_rate) // 2 + 1
            self.net.enc_q = models.PosteriorEncoder(
                bins, shape.inter, shape.hidden, 5, 1, 16, gin_channels=shape.gin
            )
            self.critics: Any = models.MultiPeriodDiscriminatorV2()
            del self.critics.discriminators[KEPT:]
        self.spectra, self.segment = Spectra(shape.sample_rate), settings.segment
        self.optimisers = [
            torch.optim.AdamW(module.parameters(), 1e-4, (0.8, 0.99), 1e-9)
            for module in (self.net, self.critics)
        ]

    def _verdicts(self, real: torch.Tensor, made: torch.Tensor) -> Any:
        scores = self.critics(real, made)
        return [((r, x), (m, y)) for r, m, x, y in zip(*scores, strict=True)]

    def step(self, batch: Batch) -> None:
        net, hop = self.net, self.spectra.hop
        spectra, lengths = self.spectra(batch.sound), batch.mask.sum((1, 2)).long()
        g = net.emb_g(batch.sid)[:, :, None]
        mean, spread, mask = net.enc_p(batch.phone, batch.pitch, lengths)
        latent, _, own, _ = net.enc_q(spectra, lengths, g=g)
        moved = net.flow(latent, mask, g=g)
        places = batch.first[:, None] + torch.arange(self.segment)
        row = places[:, None].expand(-1, latent.shape[1], -1)
        made = net.dec(latent.gather(2, row), batch.f0.gather(1, places), g=g)
        samples = batch.first[:, None] * hop + torch.arange(self.segment * hop)
        real = batch.sound.gather(1, samples)[:, None]
        loss = critics_loss(self._verdicts(real, made.detach()))
        self._update(1, loss)
        verdicts = self._verdicts(real, made)
        row = places[:, None].expand(-1, spectra.shape[1], -1)
        wanted = self.spectra.mel(spectra.gather(2, row))
        distance = (self.spectra.mel(self.spectra(made[:, 0])) - wanted).abs().mean()
        heard = Heard(made, moved, mean, spread, own)
        kl = divergence(heard, batch.mask)
        self._update(0, MEL * distance + kl + deceit(verdicts) + matching(verdicts))

    def _update(self, which: int, loss: torch.Tensor) -> None:
        self.optimisers[which].zero_grad()
        loss.backward()
        self.optimisers[which].step()


def operations(work: Callable[[int], object]) -> int:
    """Multiplications and additions of the first step."""
    with FlopCounterMode(display=False) as counter:
        work(0)
    return counter.get_total_flops()


def least(works: Sequence[Callable[[int], object]], steps: int) -> list[float]:
    """Seconds of computing that a step of each took at least, in turns."""
    taken: list[list[float]] = [[] for _ in works]
    for step in range(1, steps + 1):
        for work, seconds in zip(works, taken, strict=True):
            begun = time.process_time()
            work(step)
            seconds.append(time.process_time() - begun)
    return [min(seconds) for seconds in taken]


@pytest.mark.perf
def test_a_step_costs_less_than_the_plain_recipes(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Published critics, a narrow decoder, short crops: what differs is how, not how much."""
    torch.manual_seed(0)
    asked = {"steps": 10, "batch": 1, "frames": 50, "segment": 16, "narrower": 8, "base": "none"}
    settings = TrainSettings.model_validate({**defaults("rvc-v2", 32_000), **asked})
    recipe = RvcRecipe(settings, 1, None)
    recipe.critics.__init__("v2")  # as wide as the plain recipe's
    del recipe.critics.discriminators[KEPT:]
    crops = Crops(clips(2, rate=32_000, dim=768), 1, 50, 0)
    run = Trainer(recipe, settings, crops, tmp_path_factory.mktemp("run"), Team())
    plain = Plain(recipe, settings)
    batches = [recipe.batch(crops(k), np.random.default_rng(k)) for k in range(STEPS + 1)]

    def ours(step: int) -> None:
        run._learn(lambda place: batches[place % len(batches)])  # type: ignore[arg-type]  # pyright: ignore
        run.step += 1

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    works: list[Callable[[int], object]] = [lambda step: plain.step(batches[step]), ours]
    try:
        more, less = (operations(work) for work in works)  # and warms up
        theirs, own = least(works, STEPS)
    finally:
        torch.set_num_threads(threads)
    assert more / less > WORK_GAIN, f"plain {more / 1e9:.1f}, ours {less / 1e9:.1f} billion"
    assert theirs / own > GAIN, f"plain {theirs:.2f} s, ours {own:.2f} s a step"
