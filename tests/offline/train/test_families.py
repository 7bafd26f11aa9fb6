"""What the families learn: narrow voices from a voice that speaks, RVC's from published weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hummed import clips
from torch import nn

from offline.train.data import Crops, phones
from offline.train.distributed import Team
from offline.train.journal import events
from offline.train.loop import Hooks, Trainer
from offline.train.narrow import NOISE_SCALE, NarrowRecipe, speak
from offline.train.recipe import Moment
from offline.train.rvc.base import check_base, find_base, read_base, rvc_shape
from offline.train.rvc.losses import critics_loss, deceit, matching
from offline.train.rvc.networks import RvcSynthesizer
from offline.train.rvc.recipe import RvcRecipe
from offline.train.rvc.speak import speak as speak_rvc
from offline.train.settings import TrainSettings, defaults
from offline.train.synth import Synthesizer
from offline.train.trained import folded
from offline.train.warm import keep_scale, scale_in, warm
from stream.device import CPU
from stream.errors import AssetMissing, BadCheckpoint, ConfigError
from stream.models.store import PACKAGE
from stream.models.synth import Speaker, StudentSynthesizer
from stream.models.voice import SYNTH

torch.set_num_threads(1)
STARTER = PACKAGE / "starter" / SYNTH


def narrow(**given: Any) -> TrainSettings:
    usual = {"steps": 6, "batch": 2, "frames": 60, "segment": 30, "every": 100, "save_every": 3}
    return TrainSettings.model_validate({**defaults("narrow"), **usual, **given})


def rvc(**given: Any) -> TrainSettings:
    usual = {"steps": 2, "batch": 2, "frames": 50, "segment": 16, "narrower": 16, "base": "none"}
    return TrainSettings.model_validate({**defaults("rvc-v2", 32_000), **usual, **given})


def test_the_starters_graph_gives_its_weights_back() -> None:
    synth = Synthesizer().eval()
    warm(synth, STARTER)
    example = clips(1)[0].load()
    graph = StudentSynthesizer(
        STARTER, dim=256, latent=80, hop=240, noise_scale=NOISE_SCALE, device=CPU
    )
    told = phones(example)[:60] * np.float32(0.3)
    live = graph.open(0, 0).step(told, example.f0[:60], 0, 0, Speaker())
    made = speak(synth, told, example.f0[:60])
    assert float(np.abs(live).max()) > 0.01
    assert float(np.abs(made - live).max()) < 0.05 * float(np.abs(live).max())


def test_a_graph_tells_the_scale_of_its_latent(tmp_path: Path) -> None:
    held = scale_in(STARTER)
    assert held is not None
    assert held[0].shape == held[1].shape == (80,)
    copy = tmp_path / "synth.onnx"
    copy.write_bytes(STARTER.read_bytes())
    keep_scale(copy, (held[0] + 1, held[1]))
    moved = scale_in(copy)
    assert moved is not None
    np.testing.assert_allclose(moved[0], held[0] + 1, rtol=1e-6)
    encoder = PACKAGE / "assets" / "student-256" / "content.onnx"
    assert scale_in(encoder) is None
    with pytest.raises(BadCheckpoint, match="no narrow voice"):
        warm(Synthesizer(), encoder)


@pytest.mark.slow
def test_a_narrow_run_learns_and_resumes_to_the_same_bits(tmp_path: Path) -> None:
    asked, data = narrow(steps=10), clips(4)

    def run(folder: str) -> Trainer:
        recipe = NarrowRecipe(asked, data, STARTER)
        return Trainer(recipe, asked, Crops(data, 2, 60, 0), tmp_path / folder, Team())

    whole, cut = run("whole"), run("cut")
    whole.run()
    assert cut.run(Hooks(stopping=lambda: cut.step == 7)).end == "stopped"
    again = run("cut")
    again.resume()
    again.run()
    assert all(torch.equal(whole.average[k], again.average[k]) for k in whole.average)
    told = events(tmp_path / "whole")[-1]
    assert {"nll", "mel", "critics", "features"} <= told.keys()


def test_one_look_of_the_critics_gives_the_gradients_of_two() -> None:
    """RVC's training shows real and made sound to the critics once for each loss."""
    asked, data = rvc(), clips(2, rate=32_000, dim=768)
    recipe = RvcRecipe(asked, 1, None)
    batch = recipe.batch(Crops(data, 2, 50, 0)(0), np.random.default_rng(0))

    def moment() -> Moment:
        return Moment(0.5, torch.Generator().manual_seed(3), torch.enable_grad)

    critics, last = list(recipe.critics.parameters()), recipe.generator.dec.conv_post.weight
    losses, _ = recipe.losses(batch, moment())
    own = torch.autograd.grad(losses["critics"], critics, retain_graph=True)
    (made,) = torch.autograd.grad(losses["synth"], last)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    recipe.critics.register_forward_pre_hook(lambda _, given: seen.append(given))
    recipe.losses(batch, moment())
    real, sound = seen.pop()
    alone = critics_loss(recipe.critics(real, sound.detach()))
    for found, wanted in zip(own, torch.autograd.grad(alone, critics), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-6)
    recipe.critics.requires_grad_(False)
    tricked = recipe.critics(real, sound)
    (apart,) = torch.autograd.grad(deceit(tricked) + matching(tricked), last, retain_graph=True)
    recipe.settings = asked.model_copy(update={"critics_from": 1.0})  # mel and divergence only
    (rest,) = torch.autograd.grad(recipe.losses(batch, moment())[0]["synth"], last)
    torch.testing.assert_close(made, apart + rest, rtol=1e-3, atol=1e-5)
    assert float(apart.abs().max()) > 1e-4


def test_weights_multiply_out_and_say_the_same(tmp_path: Path) -> None:
    asked = rvc()
    recipe = RvcRecipe(asked, 2, None)
    nn.init.normal_(recipe.generator.flow.flows[0].post.weight, 0.0, 0.05)  # type: ignore[union-attr,arg-type]
    shape = recipe.shape
    weights = folded(recipe.generator.state_dict(), shape)
    assert not [
        name for name in weights if "enc_q" in name or name.endswith(("weight_g", "weight_v"))
    ]
    chance = np.random.default_rng(0)
    phone = chance.standard_normal((12, 768)).astype(np.float32)
    pitch = chance.integers(1, 255, 12)
    noise = chance.standard_normal((192, 12)).astype(np.float32)
    source = 0.1 * chance.standard_normal(12 * 320).astype(np.float32)
    with torch.no_grad():
        wanted = recipe.generator.eval().speak(
            torch.from_numpy(phone)[None], torch.from_numpy(pitch)[None],
            torch.from_numpy(noise)[None], torch.from_numpy(source)[None, None],
            torch.tensor([1]),
        )[0, 0].numpy()  # fmt: skip
    found = speak_rvc(weights, shape, phone, pitch, noise, source, 1)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-6)
    assert not np.allclose(found, speak_rvc(weights, shape, phone, pitch, noise, source, 0))


def test_training_starts_from_published_weights_that_fit_and_from_no_others(
    tmp_path: Path,
) -> None:
    """Files as others publish them: half precision, 109 speakers, under `model`."""
    recipe = RvcRecipe(rvc(), 109, None)
    files = {"f0G32k.pth": recipe.generator, "f0D32k.pth": recipe.critics}
    for name, module in files.items():
        state = {key: value.half() for key, value in module.state_dict().items()}
        torch.save({"model": state, "iteration": 1, "learning_rate": 1e-4}, tmp_path / name)
    started = RvcRecipe(rvc(seed=5), 2, tmp_path)
    wanted = recipe.generator.emb_g.weight[:2].half().float()
    assert torch.equal(started.generator.emb_g.weight, wanted)
    direction = "discriminators.1.convs.0.weight_v"
    wanted = recipe.critics.state_dict()[direction].half().float()
    assert torch.equal(started.critics.state_dict()[direction], wanted)
    path, given = read_base(tmp_path, "G")
    other = TrainSettings.model_validate({**rvc().model_dump(), "sample_rate": 48_000})
    with torch.device("meta"):
        misfit = RvcSynthesizer(rvc_shape(other, 2))
    with pytest.raises(BadCheckpoint, match="another version or rate"):
        check_base(path, given, misfit)
    with pytest.raises(BadCheckpoint, match=r"flow\..* is missing"):
        check_base(path, {k: v for k, v in given.items() if "flow" not in k}, recipe.generator)
    with pytest.raises(BadCheckpoint, match="nothing here is extra"):
        check_base(path, {**given, "extra": given["emb_g.weight"]}, recipe.generator)


def test_a_base_that_is_not_there_is_said_before_anything_starts(tmp_path: Path) -> None:
    asked = TrainSettings.model_validate(defaults("rvc-v2", 40_000))
    with pytest.raises(AssetMissing, match="timbral models pull base-v2-40k"):
        find_base(asked, tmp_path)
    none = asked.model_copy(update={"base": "none"})
    assert find_base(none, tmp_path) is None
    gone = asked.model_copy(update={"base": str(tmp_path / "gone")})
    with pytest.raises(ConfigError, match="no folder"):
        find_base(gone, tmp_path)
    with pytest.raises(ConfigError, match="must hold one G file"):
        read_base(tmp_path, "G")
