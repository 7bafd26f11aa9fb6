"""The loop: the same run, however it is cut; the same data, whoever draws it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hummed import Clip, clips
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from offline.train.checkpoints import Checkpoints
from offline.train.data import Ahead, Crop, Crops
from offline.train.distributed import Team, launch
from offline.train.journal import events
from offline.train.loop import Hooks, Outcome, Trainer
from offline.train.recipe import Convert, Moment
from offline.train.settings import TrainSettings
from stream.errors import CheckpointError, TrainingError

torch.set_num_threads(1)
CLIPS = clips(4)


@dataclass(frozen=True)
class Batch:
    """phone [B, T, F], pitch [B, T]."""

    phone: Tensor
    pitch: Tensor


class TinyRecipe:
    """Two modules that say the pitch from the features: one of them is checked by the other."""

    aids: Sequence[nn.Module] = ()

    def __init__(self, seed: int = 0, noise: float = 0.1) -> None:
        torch.manual_seed(seed)
        self.noise = noise
        self.generator = nn.Sequential(nn.Linear(256, 8), nn.Dropout(2 * noise), nn.Linear(8, 1))
        self.critic = nn.Linear(1, 1)
        self.modules = {"speaker": self.generator, "critic": self.critic}
        self.rates = {"speaker": 1e-2, "critic": 1e-3}

    def batch(self, crops: Sequence[Crop], chance: np.random.Generator) -> Batch:
        phone = np.stack([crop.phone for crop in crops])
        phone = phone + self.noise * chance.standard_normal(phone.shape).astype(np.float32)
        f0 = np.stack([crop.f0 for crop in crops])
        return Batch(torch.from_numpy(phone), torch.from_numpy(f0 / 100))

    def losses(
        self, batch: Batch, moment: Moment
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        with moment.cast():
            noise = torch.randn(batch.phone.shape, generator=moment.chance)
            said = self.generator(batch.phone + self.noise * noise)
            judged = self.critic(said).float()
        error = ((said[..., 0].float() - batch.pitch) ** 2).mean()
        own = ((judged[..., 0] - error.detach()) ** 2).mean()
        return {"critic": own, "speaker": error + 0.1 * judged.mean()}, {"error": error.detach()}

    def converter(self, weights: Mapping[str, Tensor]) -> Convert:
        return lambda clip: clip.load().audio


def plan(**given: Any) -> TrainSettings:
    usual = {"steps": 10, "batch": 2, "frames": 40, "segment": 20, "every": 100, "save_every": 5}
    return TrainSettings.model_validate({**usual, **given})


def trainer(
    folder: Path, asked: TrainSettings, team: Team | None = None, noise: float = 0.1
) -> Trainer:
    crops = Crops(CLIPS, asked.batch, asked.frames, asked.seed)
    return Trainer(TinyRecipe(asked.seed, noise), asked, crops, folder, team or Team())


def state(run: Trainer) -> dict[str, Tensor]:
    held = {f"average/{k}": v for k, v in run.average.items()}
    for name, module in run.recipe.modules.items():
        held |= {f"{name}/{k}": v for k, v in module.state_dict().items()}
    return held


def assert_same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_five_steps_a_restart_and_five_more_are_ten(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole", plan(accumulate=2))
    assert whole.run() == Outcome("done", 10, 10)
    first = trainer(tmp_path / "cut", plan(accumulate=2))
    asked: list[int] = []
    stopping = Hooks(stopping=lambda: len(asked) >= 5 or asked.append(1) or len(asked) >= 5)
    assert first.run(stopping).end == "stopped"
    assert first.step == 5
    second = trainer(tmp_path / "cut", plan(accumulate=2))
    second.resume()
    assert second.run().end == "done"
    assert_same(state(whole), state(second))
    told = [(e["step"], e["error"]) for e in events(tmp_path / "whole")]
    assert told[-1][0] == 10
    third = trainer(tmp_path / "cut", plan(accumulate=2))
    third.resume(5)  # from an older checkpoint, what was told of later steps is forgotten
    assert all(event["step"] <= 5 for event in events(tmp_path / "cut"))


def test_the_loss_falls_and_another_seed_is_another_run(tmp_path: Path) -> None:
    run = trainer(tmp_path / "a", plan(steps=60, warm_up=0, save_every=1000))
    run.run()
    errors = [e["error"] for e in events(tmp_path / "a") if e["kind"] == "step"]
    assert errors[-1] < errors[0] / 2
    other = trainer(tmp_path / "b", plan(steps=60, warm_up=0, save_every=1000, seed=1))
    other.run()
    assert not torch.equal(run.average["0.weight"], other.average["0.weight"])


def test_batches_that_add_up_are_one_large_batch(tmp_path: Path) -> None:
    """Four gradients of 2, accumulated, against the mean gradient over the same 8 crops."""
    small = trainer(tmp_path / "a", plan(batch=2, accumulate=4))
    together = [told(crop) for crop in Crops(CLIPS, 8, 40, 0)(3)]
    assert together == [told(crop) for part in range(4) for crop in small.crops(3, part, 4)]


def told(crop: Crop) -> tuple[float, float]:
    """Which crop it is, by what it begins with."""
    return float(crop.audio[0]), float(crop.phone[0, 0])


@settings(max_examples=20, deadline=None)
@given(step=st.integers(0, 50), world=st.sampled_from([1, 2, 4]), seed=st.integers(0, 3))
def test_ranks_draw_together_what_one_would_draw_alone(step: int, world: int, seed: int) -> None:
    alone = Crops(CLIPS, 4, 60, seed)(step)
    ranks = [Crops(CLIPS, 4 // world, 60, seed, rank, world)(step) for rank in range(world)]
    shared = [crop for crops in ranks for crop in crops]
    assert [told(crop) for crop in alone] == [told(crop) for crop in shared]
    assert all(crop.audio.shape == (60 * 240,) and crop.phone.shape == (60, 256) for crop in alone)


def test_all_speech_is_heard_equally_often() -> None:
    speakers = [Clip(number, seconds=1.0 + number, speaker=number) for number in range(3)]
    crops = Crops(speakers, 2, 100, 0)  # one, two and three crops' worth
    assert len(crops) == 6
    for begins in (0, 3, 6):  # steps; a round is three
        heard = [crop.speaker for step in range(begins, begins + 3) for crop in crops(step)]
        assert sorted(heard) == [0, 1, 1, 2, 2, 2]


def test_what_is_made_ahead_is_what_is_asked_for() -> None:
    made: list[int] = []

    def make(step: int) -> int:
        made.append(step)
        return step * step

    ahead = Ahead(make, depth=3)
    assert [ahead(step) for step in (0, 1, 2, 7, 8)] == [0, 1, 4, 49, 64]
    ahead.close()
    assert len(made) <= 5 + 2 * 3

    def fail(step: int) -> int:
        raise TrainingError("no data")

    broken = Ahead(fail)
    with pytest.raises(TrainingError, match="no data"):
        broken(0)
    broken.close()


class Marks:
    """An exam with given marks, the lower the better."""

    def __init__(self, marks: Sequence[float]) -> None:
        self._marks, self.found = list(marks), dict[int, float]()

    def taken(self, step: int) -> bool:
        return step in self.found

    def take(self, step: int, convert: Convert) -> Mapping[str, float]:
        self.found[step] = self._marks[len(self.found)]
        return {"mark": self.found[step]}

    @property
    def best(self) -> int | None:
        return min(self.found, key=lambda step: self.found[step]) if self.found else None

    @property
    def without_gain(self) -> int:
        return sum(step > (self.best or 0) for step in self.found)


def test_the_best_is_kept_and_the_run_ends_when_nothing_is_gained(tmp_path: Path) -> None:
    run = trainer(tmp_path, plan(steps=100, every=2, save_every=2, patience=3))
    exam = Marks([5, 4, 2, 3, 3, 3, 1, 1])
    assert run.run(Hooks(exam=exam)) == Outcome("no gain", 12, 6)
    assert len(exam.found) == 6
    assert Checkpoints(tmp_path / "checkpoints").steps() == [6, 10, 12]
    again = trainer(tmp_path, plan(steps=100, every=2, save_every=2, patience=3))
    again.resume()
    assert again.run(Hooks(exam=exam)) == Outcome("no gain", 12, 6)  # not a step more


def test_minutes_become_steps_and_stay_what_they_were(tmp_path: Path) -> None:
    run = trainer(tmp_path, plan(steps=None, minutes=0.002, save_every=1000))
    assert run.run().end == "done"
    assert run.steps == run.step >= 13
    again = trainer(tmp_path, plan(steps=None, minutes=0.002, save_every=1000))
    again.resume()
    assert again.steps == run.steps


def test_a_collapse_is_said(tmp_path: Path) -> None:
    run = trainer(tmp_path, plan())
    with torch.no_grad():
        run.recipe.generator.state_dict()["2.bias"].fill_(float("nan"))
    with pytest.raises(TrainingError, match="lower --lr"):
        run.run()


CHILD = """
import sys, time
sys.path[:0] = {paths!r}
from pathlib import Path
from test_training_loop import Hooks, plan, trainer
run = trainer(Path(sys.argv[1]), plan(steps=60, save_every=3))
if run.checkpoints.steps():
    run.resume()
run.run(Hooks(stopping=lambda: time.sleep(0.02)))
"""


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_weights(tmp_path: Path) -> None:
    """kill -9 at two moments, then on to the bits of the run that was left alone."""
    paths = [str(Path(__file__).parents[k]) for k in (0, 2, 3)]
    held = Checkpoints(tmp_path / "cut" / "checkpoints")
    for wait in (0.0, 0.05):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD.format(paths=paths), str(tmp_path / "cut")],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        had, deadline = held.steps(), time.monotonic() + 100
        while held.steps() == had and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(wait)
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        assert held.steps() != had
    asked = plan(steps=60, save_every=1000)
    cut, whole = trainer(tmp_path / "cut", asked), trainer(tmp_path / "whole", asked)
    cut.resume()
    assert 0 < cut.step < 60
    cut.run()
    whole.run()
    assert_same(state(whole), state(cut))


TOGETHER = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
import torch
from offline.train.distributed import team
from test_training_loop import Hooks, plan, trainer
with team(torch.device("cpu")) as members:
    assert members.world == 2
    run = trainer(Path(sys.argv[1]), plan(batch=2, save_every=5), members, noise=0.0)
    assert run.run(Hooks(stopping=lambda: run.step == 8 and members.rank == 1)).end == "stopped"
"""


@pytest.mark.slow
def test_two_processes_with_half_a_batch_each_learn_what_one_learns(tmp_path: Path) -> None:
    """They meet at a port of the system's choice; one of them is asked to stop, and both do."""
    script = tmp_path / "child.py"
    paths = [str(Path(__file__).parents[k]) for k in (0, 2, 3)]
    script.write_text(TOGETHER.format(paths=paths), "utf-8")
    command = launch(2, [str(script), str(tmp_path / "two")])
    child = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
    assert "semaphore" not in child.stderr
    one = trainer(tmp_path / "one", plan(batch=4), noise=0.0)
    one.run(Hooks(stopping=lambda: one.step == 8))
    two = trainer(tmp_path / "two", plan(batch=4), noise=0.0)
    two.resume()
    assert two.step == 8
    for name, value in state(one).items():
        torch.testing.assert_close(state(two)[name], value, rtol=1e-4, atol=1e-6)


def test_a_full_disk_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from offline.train import checkpoints

    run = trainer(tmp_path, plan())
    run.run(Hooks(stopping=lambda: run.step == 5))

    def full(tensors: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(CheckpointError, match=r"disk is full\. The one of step 5 is whole"):
        run.run()
    assert Checkpoints(tmp_path / "checkpoints").steps() == [5]
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000005"]


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    run = trainer(tmp_path, plan())
    run.run()
    held = Checkpoints(tmp_path / "checkpoints")
    assert held.steps() == [5, 10]
    (held.path(10) / "state.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with pytest.raises(CheckpointError, match="step-00000010 is damaged"):
        held.load()
    assert held.load(5).step == 5
    with pytest.raises(CheckpointError, match="There are: 5, 10"):
        held.load(7)
