"""The synthesizer: streaming, likelihood, pitch, the untrained decoder, and the exported file."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import Tensor  # noqa: E402

from offline.mel import mel_filters  # noqa: E402
from offline.train.layers import Memory  # noqa: E402
from offline.train.mel import LogMel  # noqa: E402
from offline.train.starter.crops import Normal  # noqa: E402
from offline.train.starter.decoder import start  # noqa: E402
from offline.train.synth import Synthesizer, SynthShape  # noqa: E402
from offline.train.synth_export import export_synth  # noqa: E402
from stream.device import CPU  # noqa: E402
from stream.excitation import Excitation  # noqa: E402
from stream.models.synth import StudentSynthesizer as Exported  # noqa: E402
from stream.pitch import coarse  # noqa: E402

torch.set_num_threads(1)  # the sums here are small: threads only wait for each other
RATE, HOP, FRAMES = 24_000, 240, 24
SMALL = SynthShape(
    features=16,
    hidden=16,
    filter=24,
    layers=2,
    flow_hidden=12,
    decoder=16,
    decoder_layers=1,
    embedding=4,
)
TIME_AXIS = {"phone": 1, "pitch": 1, "noise": 2, "source": 2}


def synth(seed: int = 0) -> Synthesizer:
    """A small synthesizer in which every weight matters."""
    torch.manual_seed(seed)
    net = Synthesizer(SMALL).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.15 * torch.randn_like(parameter))
    return net


def given_to(net: Synthesizer, frames: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(3)
    f0 = np.where(np.arange(frames) % 12 < 8, 180.0, 0.0)
    return {
        "phone": torch.randn(1, frames, net.shape.features, generator=draw),
        "pitch": torch.from_numpy(coarse(f0))[None],
        "noise": 0.3 * torch.randn(1, net.shape.latent, frames, generator=draw),
        "source": torch.from_numpy(Excitation(RATE, HOP).step(f0, 0))[None, None],
        "sid": torch.zeros(1, dtype=torch.long),
    }


def part(inputs: Mapping[str, Tensor], first: int, last: int) -> dict[str, Tensor]:
    out = dict(inputs)
    for name, axis in TIME_AXIS.items():
        scale = HOP if name == "source" else 1
        out[name] = inputs[name].narrow(axis, first * scale, (last - first) * scale)
    return out


def distance(x: Tensor, y: Tensor) -> float:
    """Relative RMS error."""
    return float((x - y).pow(2).mean().sqrt() / y.pow(2).mean().sqrt())


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, FRAMES - 1), unique=True, max_size=FRAMES).map(sorted))
def test_pieces_give_the_sound_of_the_whole(cuts: list[int]) -> None:
    net = synth()
    inputs = given_to(net, FRAMES)
    past: list[Tensor] | None = None
    pieces: list[Tensor] = []
    with torch.no_grad():
        whole = net(inputs, Memory())
        for first, last in zip([0, *cuts], [*cuts, FRAMES], strict=True):
            memory = Memory(past)
            pieces.append(net(part(inputs, first, last), memory))
            past = memory.kept
    assert distance(torch.cat(pieces, 2), whole) < 1e-5


def test_the_future_is_not_heard() -> None:
    net = synth()
    inputs = given_to(net, FRAMES)
    with torch.no_grad():
        whole = net(inputs, Memory())[:, :, : 10 * HOP]
        assert distance(net(part(inputs, 0, 10), Memory()), whole) < 1e-5


def test_the_flow_is_undone_by_its_reverse() -> None:
    net = synth()
    z = torch.randn(2, FRAMES, net.shape.latent)
    with torch.no_grad():
        there = net.flow(z, Memory())
        assert not torch.allclose(there, z, atol=0.1)
        torch.testing.assert_close(net.flow(there, Memory(), reverse=True), z, atol=1e-4, rtol=1e-4)


def test_the_likelihood_is_that_of_what_the_prior_draws() -> None:
    net = synth()
    inputs = given_to(net, FRAMES)
    noise = torch.randn(1, net.shape.latent, FRAMES)
    with torch.no_grad():
        z = net.prior(inputs["phone"], inputs["pitch"], noise, Memory())
        _, spread = net.enc_p(inputs["phone"], inputs["pitch"], Memory())
        expected = 0.5 * noise.transpose(1, 2) ** 2 + spread
        torch.testing.assert_close(
            net.nll(inputs["phone"], inputs["pitch"], z), expected, atol=1e-3, rtol=1e-3
        )


def test_mel_filters_keep_the_level_of_a_flat_spectrum() -> None:
    sums = mel_filters(RATE, 1024, 80).sum(1)
    assert np.abs(sums / np.median(sums) - 1).max() < 0.15


def vowel(f0: float, seconds: float = 1.0) -> Tensor:
    """Pulses through two resonances, [1, N]."""
    x = Excitation(RATE, HOP).step([f0] * int(100 * seconds), 0).astype(np.float64)
    for hz, width in ((700.0, 90.0), (1_200.0, 110.0)):
        pole = np.exp(-np.pi * width / RATE + 2j * np.pi * hz / RATE)
        spectrum = np.fft.rfft(x, 2 * len(x))
        turn = np.exp(-2j * np.pi * np.arange(len(spectrum)) / (2 * len(x)))
        gain = 1 / ((1 - pole * turn) * (1 - np.conj(pole) * turn))
        x = np.fft.irfft(spectrum * gain * abs(1 - pole) ** 2)[: len(x)]
    return torch.from_numpy((0.05 * x / x.std()).astype(np.float32))[None]


def started() -> tuple[Synthesizer, Normal]:
    statistics = Normal(torch.full((80,), -6.0), torch.full((80,), 2.0))
    torch.manual_seed(0)
    net = Synthesizer().eval()
    start(net, statistics)
    return net, statistics


@pytest.mark.parametrize("f0", [120.0, 240.0])
def test_the_untrained_decoder_already_is_a_vocoder(f0: float) -> None:
    net, statistics = started()
    mel, sound = LogMel(), vowel(150.0)
    frames = sound.shape[1] // HOP
    pitch = torch.from_numpy(coarse(np.full((1, frames), f0)))
    source = torch.from_numpy(Excitation(RATE, HOP).step([f0] * frames, 0))[None, None]
    sid = torch.zeros(1, dtype=torch.long)
    with torch.no_grad():
        made = net.decode(statistics(mel(sound)), pitch, source, sid, Memory())[0]
    near = torch.from_numpy(mel_filters(RATE, 1024, 24))  # bands wider than the harmonics' distance
    spectra = [
        torch.stft(x, 1024, window=torch.hann_window(1024), return_complex=True).abs()
        for x in (made[:, 4_800:], sound[:, 4_800:])
    ]
    levels = [torch.log(near @ s + 1e-3).mean(-1)[0] for s in spectra]
    assert (levels[0] - levels[1])[:16].abs().mean() < 0.5
    spectrum = np.abs(np.fft.rfft(made[0].numpy() * np.hanning(made.shape[1])))
    hz = np.fft.rfftfreq(made.shape[1], 1 / RATE)
    comb = [
        spectrum[np.isin(hz.round(), np.round(k * f0 * np.arange(1, 8)))].sum() for k in (1, 1.07)
    ]
    assert comb[0] > 5 * comb[1]


def exported(net: Synthesizer, path: Path, *, eight_bit: bool) -> Tensor:
    """The file's sound, given in pieces of whole content frames."""
    export_synth(net, path, eight_bit=eight_bit)
    model = Exported(path, dim=16, latent=80, hop=HOP, noise_scale=0.0, device=CPU).model
    inputs = given_to(net, FRAMES)
    state = model.initial_state()
    pieces: list[Tensor] = []
    for first, last in ((0, 2), (2, 4), (4, 10), (10, FRAMES)):
        x = part(inputs, first, last)
        given = {name: x[name].numpy() for name in ("phone", "pitch", "noise", "source")}
        outputs, state = model.step(state, **given, sid=np.zeros(1, np.int64))
        pieces.append(torch.from_numpy(np.asarray(outputs["audio"], np.float32)[0, 0]))
    return torch.cat(pieces)


@pytest.mark.parametrize(("eight_bit", "error"), [(False, 1e-3), (True, 0.1)])
def test_the_exported_file_sounds_the_same_in_pieces(
    tmp_path: Path, eight_bit: bool, error: float
) -> None:
    net = synth()
    for tensor in (*net.parameters(), *net.buffers()):
        tensor.data = tensor.data.half().float()  # as the file stores them
    pieces = exported(net, tmp_path / "synth.onnx", eight_bit=eight_bit)
    with torch.no_grad():
        assert distance(pieces, net(given_to(net, FRAMES), Memory())[0, 0]) < error
