"""Our networks are RVC's: the published definitions, given the same weights, say the same."""

import warnings
from typing import Any

import numpy as np
import pytest
import reference
import torch
from torch import Tensor

from offline.train.rvc.discriminator import Critics
from offline.train.rvc.losses import (
    Spectra,
    critics_loss,
    deceit,
    divergence,
    matching,
)
from offline.train.rvc.networks import Heard, RvcSynthesizer, fft_size, sine
from stream.excitation import Sine
from stream.importer.checkpoint import RvcShape

torch.set_num_threads(1)


def full_reference(shape: RvcShape) -> Any:
    """`reference.network` with the posterior encoder, which importing does not need."""
    bins = fft_size(shape.sample_rate) // 2 + 1
    net = reference.network(shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = reference.modules("infer_pack.models")
        net.enc_q = models.PosteriorEncoder(
            bins, shape.inter, shape.hidden, 5, 1, 16, gin_channels=shape.gin
        )
    return net.eval()


def ours(shape: RvcShape, net: Any) -> RvcSynthesizer:
    synth = RvcSynthesizer(shape).eval()
    synth.load_state_dict(net.state_dict())  # strict: every published name, and no other
    return synth


@pytest.mark.parametrize(("version", "rate"), [("v2", 40_000), ("v1", 32_000)])
def test_a_training_pass_gives_what_rvcs_own_modules_give(version: str, rate: int) -> None:
    shape = reference.shape_of(version, rate, narrow=True)
    net = full_reference(shape)
    synth = ours(shape, net)
    draw = torch.Generator().manual_seed(1)
    frames, segment, hop = 40, 12, shape.hop
    phone = torch.randn(2, frames, shape.dim, generator=draw)
    pitch = torch.randint(1, 255, (2, frames), generator=draw)
    spectra = torch.rand(2, fft_size(rate) // 2 + 1, frames, generator=draw)
    lengths = torch.tensor([frames, 31])
    mask = (torch.arange(frames) < lengths[:, None]).float()[:, None]
    sid = torch.tensor([0, 2])
    noise = torch.randn(2, shape.inter, frames, generator=draw)
    places = torch.arange(segment) + torch.tensor([[5], [17]])
    source = 0.1 * torch.randn(2, 1, segment * hop, generator=draw)
    with torch.no_grad():
        heard = synth.learn(phone, pitch, spectra, mask, sid, noise, places, source)
        g = net.emb_g(sid)[:, :, None]
        mean, spread, own_mask = net.enc_p(phone, pitch, lengths)
        _, own_mean, own_spread, _ = net.enc_q(spectra, lengths, g=g)
        latent = (own_mean + noise * torch.exp(own_spread)) * own_mask
        moved = net.flow(latent, own_mask, g=g)
        net.dec.m_source.l_sin_gen = _Given(source)
        cut = torch.stack([z[:, p] for z, p in zip(latent, places, strict=True)])
        sound = net.dec(cut, torch.zeros(2, segment), g=g)
    expected = (sound, moved, mean, spread, own_spread)
    for found, wanted in zip(vars(heard).values(), expected, strict=True):
        assert float(wanted.abs().max()) > 1e-3
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=2e-5)


class _Given(torch.nn.Module):
    """In place of RVC's generator of sines: the given excitation, [B, N, 1]."""

    def __init__(self, source: Tensor) -> None:
        super().__init__()
        self.source = source

    def forward(self, f0: Tensor, upp: int) -> tuple[Tensor, None, None]:
        return self.source.transpose(1, 2), None, None


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_critics_have_rvcs_names_and_verdicts(version: str) -> None:
    kind = "MultiPeriodDiscriminator" + ("V2" if version == "v2" else "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs: Any = getattr(reference.modules("infer_pack.models"), kind)()
    critics = Critics(version)
    critics.load_state_dict(theirs.state_dict())
    draw = torch.Generator().manual_seed(2)
    real, made = torch.randn(2, 1, 1, 997, generator=draw).unbind()
    with torch.no_grad():
        real_scores, made_scores, real_seen, made_seen = theirs(real, made)
        verdicts = critics(real, made)
    assert len(verdicts) == {"v1": 7, "v2": 9}[version]
    scores = list(zip(real_scores, made_scores, strict=True))
    layers = [p for x in zip(real_seen, made_seen, strict=True) for p in zip(*x, strict=True)]
    own = sum(((1 - r) ** 2).mean() + (m**2).mean() for r, m in scores)
    trick = sum(((1 - m) ** 2).mean() for m in made_scores)
    match = 2 * sum((a - b).abs().mean() for a, b in layers)
    torch.testing.assert_close(critics_loss(verdicts), own, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(deceit(verdicts), trick, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(matching(verdicts), match, rtol=1e-4, atol=1e-5)


def test_mel_bands_are_those_of_an_independent_implementation() -> None:
    from transformers.audio_utils import mel_filter_bank

    rate = 40_000
    bank = mel_filter_bank(1025, 125, 0.0, rate / 2, rate, norm="slaney", mel_scale="slaney")
    spectra = Spectra(rate)
    sound = torch.randn(1, 40 * 400, generator=torch.Generator().manual_seed(3)) * 0.1
    side = (2048 - 400) // 2
    padded = np.pad(sound[0].numpy(), side, mode="reflect")
    window = np.hanning(2049)[:-1]
    pieces = np.stack([padded[i : i + 2048] * window for i in range(0, 40 * 400, 400)], 1)
    magnitudes = np.sqrt(np.abs(np.fft.rfft(pieces, axis=0)) ** 2 + 1e-6)
    found = spectra(sound)
    np.testing.assert_allclose(found[0].numpy(), magnitudes, rtol=1e-3, atol=1e-4)
    mel = spectra.mel(found)[0].numpy()
    np.testing.assert_allclose(mel, np.log(bank.T @ magnitudes), atol=1e-3)


def test_the_divergence_is_nothing_where_posterior_and_prior_agree() -> None:
    draw = torch.Generator().manual_seed(4)
    mean, spread = torch.randn(2, 3, 192, 4000, generator=draw).unbind()
    noise = torch.randn(3, 192, 4000, generator=draw)
    mask = torch.ones(3, 1, 4000)
    same = Heard(mean, mean + noise * torch.exp(spread), mean, spread, spread)
    assert abs(float(divergence(same, mask)) / 192) < 5e-3
    q = torch.distributions.Normal(mean + 0.3, torch.exp(spread - 0.2))
    p = torch.distributions.Normal(mean, torch.exp(spread))
    moved = mean + 0.3 + noise * torch.exp(spread - 0.2)
    apart = Heard(mean, moved, mean, spread, spread - 0.2)
    exact = float(torch.distributions.kl_divergence(q, p).sum(1).mean())
    assert float(divergence(apart, mask)) == pytest.approx(exact, rel=0.02)


def test_the_excitation_is_the_one_that_is_heard_live() -> None:
    f0 = np.array([[0, 0, 110, 112, 0, 220, 220.5], [80, 81, 82, 0, 0, 0, 300]], np.float32)
    quiet = torch.zeros(2, 7 * 400)
    made = sine(torch.from_numpy(f0), 40_000, quiet)
    for row, wanted in zip(made[:, 0], f0, strict=True):
        live = Sine(40_000, 400).step(wanted, 0, len(wanted))
        voiced = np.repeat(wanted > 0, 400)
        np.testing.assert_allclose(row.numpy()[voiced], live[voiced], atol=0.02)
    noisy = sine(torch.from_numpy(f0), 40_000, torch.randn(2, 7 * 400))
    assert float(noisy[0, 0, :400].std()) == pytest.approx(0.1 / 3, rel=0.2)
