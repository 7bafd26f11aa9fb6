"""MDX-Nets in ONNX: tiny ones of the published form, against UVR's way to run them, in torch."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from separators import noise, taken_apart

from offline.separate.mdx import MdxNet
from offline.separate.models import open_separator
from offline.separate.settings import MdxSettings, fingerprint, known_models, settings_of
from stream.audio import Audio
from stream.errors import ConfigError, ModelMismatch, ModelNotFound
from stream.importer.graphs.builder import Graph

SETTINGS = MdxSettings(stem="Vocals", n_fft=512, bins=200, frames=32, hop=128)


def network(path: Path, *, bins: int = 200, frames: int = 32, kind: str = "mixed") -> Path:
    """A network of the published form: "same" returns its input, "middle" what both channels have
    in common, "mixed" is neither linear nor the same for both channels."""
    graph = Graph(kind)
    x = graph.input("input", ("batch_size", 4, bins, frames))
    if kind == "same":
        y = x
    else:
        weights = np.zeros((4, 4, 1, 1), np.float32)
        for row in range(4):
            weights[row, [row % 2, row % 2 + 2], 0, 0] = 0.5
        if kind == "mixed":
            weights += 0.1 * np.random.default_rng(1).standard_normal(weights.shape)
        y = graph.node("Conv", x, graph.constant(weights.astype(np.float32)))
        if kind == "mixed":
            y = graph.node("Tanh", y)
    graph.output(y, "output", ("batch_size", 4, bins, frames))
    graph.save(path)
    return path


def as_uvr_runs_it(net: MdxNet, path: Path, x: Audio, settings: MdxSettings) -> Audio:
    """One window [n, 2], with torch's spectra and the network in numpy."""
    rng_weights = np.zeros((4, 4), np.float32)
    for row in range(4):
        rng_weights[row, [row % 2, row % 2 + 2]] = 0.5
    rng_weights += (0.1 * np.random.default_rng(1).standard_normal((4, 4, 1, 1)))[..., 0, 0]
    window = torch.hann_window(settings.n_fft, periodic=True)
    spectra = torch.stft(
        torch.from_numpy(x.T.copy()),
        settings.n_fft,
        settings.hop,
        window=window,
        center=True,
        return_complex=True,
    )
    parts = torch.view_as_real(spectra).permute(0, 3, 1, 2).reshape(4, -1, spectra.shape[-1])
    heard = parts[:, : settings.bins].clone()
    heard[:, :3] = 0
    mixed = torch.tanh(torch.einsum("oc,cft->oft", torch.from_numpy(rng_weights), heard))
    full = torch.zeros_like(parts)
    full[:, : settings.bins] = mixed * settings.compensate
    back = full.reshape(2, 2, *full.shape[1:]).permute(0, 2, 3, 1).contiguous()
    sound = torch.istft(
        torch.view_as_complex(back), settings.n_fft, settings.hop, window=window, center=True
    )
    return sound.numpy().T


def test_a_window_comes_out_as_in_uvr(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    settings = SETTINGS.model_copy(update={"compensate": 1.05})
    path = network(tmp_path / "a.onnx")
    net = MdxNet(path, settings, "vocals")
    assert (net.window, net.edge, net.rate) == (128 * 31, 256, 44_100)
    x = noise(net.window)
    found = net(x)
    assert found.shape == (1, net.window, 2)
    wanted = as_uvr_runs_it(net, path, x, settings)
    np.testing.assert_allclose(found[0], wanted, atol=2e-5)


def test_to_hear_twice_takes_away_what_is_even(tmp_path: Path) -> None:
    """tanh is odd: to hear it upside down as well changes nothing. A square is even, and goes."""
    path = network(tmp_path / "a.onnx")
    x = noise(SETTINGS.hop * (SETTINGS.frames - 1))
    once = MdxNet(path, SETTINGS, "vocals")(x)
    twice = MdxNet(path, SETTINGS.model_copy(update={"denoise": True}), "vocals")(x)
    np.testing.assert_allclose(twice, once, atol=1e-5)
    graph = Graph("even")
    given = graph.input("input", (1, 4, 200, 32))
    graph.output(graph.mul(given, given), "output", (1, 4, 200, 32))
    graph.save(tmp_path / "even.onnx")
    denoised = SETTINGS.model_copy(update={"denoise": True})
    assert not MdxNet(tmp_path / "even.onnx", denoised, "vocals")(x).any()


def described(path: Path, **changes: object) -> Path:
    said = SETTINGS.model_dump(mode="json") | changes
    path.with_suffix(".json").write_text(json.dumps(said), "utf-8")
    return path


def test_a_model_with_a_description_takes_songs_apart(tmp_path: Path) -> None:
    path = described(network(tmp_path / "same.onnx", kind="same"), bins=257)
    network(path, bins=257, kind="same")
    separator = open_separator([str(path)], tmp_path)
    t = np.arange(20_000) / 44_100
    tone = 0.4 * np.sin(2 * np.pi * 2000 * t) * np.hanning(len(t))  # no onset: it has low bins
    x = np.stack([tone, -tone], axis=1).astype(np.float32)  # above the bins that are not shown
    stems = taken_apart(separator, x)
    np.testing.assert_allclose(stems["vocals"], x, atol=0.4 * 10 ** (-60 / 20))
    np.testing.assert_allclose(stems["vocals"] + stems["instrumental"], x, atol=1e-6)


def test_the_middle_is_taken_out_whatever_the_level(tmp_path: Path) -> None:
    path = described(network(tmp_path / "middle.onnx", kind="middle"), stem="Instrumental")
    separator = open_separator([str(path)], tmp_path)
    assert (separator.target, separator.rest) == ("vocals", "instrumental")
    x = noise(20_000)
    usual = taken_apart(separator, x)
    quiet = taken_apart(separator, x * np.float32(0.01))
    np.testing.assert_allclose(quiet["vocals"] * 100, usual["vocals"], atol=1e-5)


def test_settings_and_files_decide_the_digest(tmp_path: Path) -> None:
    path = described(network(tmp_path / "a.onnx"))
    digests = {open_separator([str(path)], tmp_path).digest}
    described(path, compensate=1.1)
    digests.add(open_separator([str(path)], tmp_path).digest)
    network(path, kind="middle")
    digests.add(open_separator([str(path)], tmp_path).digest)
    assert len(digests) == 3
    assert open_separator([str(path)], tmp_path).digest in digests


def test_published_models_are_known_by_their_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = known_models()
    assert len(known) > 30
    voc_ft = known["77d07b2667ddf05b9e3175941b4454a0"]
    assert (voc_ft.n_fft, voc_ft.bins, voc_ft.frames) == (7680, 3072, 256)
    for settings in known.values():
        assert settings.hop == 1024
    path = network(tmp_path / "a.onnx")
    monkeypatch.setattr(
        "offline.separate.settings.known_models", lambda: {fingerprint(path): SETTINGS}
    )
    assert settings_of(path) == SETTINGS


def test_the_fingerprint_is_of_the_last_ten_million_bytes(tmp_path: Path) -> None:
    path = tmp_path / "large"
    tail = bytes(10_240_000)
    path.write_bytes(b"x" * 5 + tail)
    (tmp_path / "tail").write_bytes(tail)
    assert fingerprint(path) == fingerprint(tmp_path / "tail")
    path.write_bytes(b"x" * 5 + tail[:-1] + b"y")
    assert fingerprint(path) != fingerprint(tmp_path / "tail")


def test_what_is_unknown_or_wrong_is_told(tmp_path: Path) -> None:
    path = network(tmp_path / "a.onnx")
    with pytest.raises(ConfigError, match=r"a\.json.*mdx_n_fft_scale_set"):
        settings_of(path)
    for change, why in (
        ({"bins": 300}, "257 bins"),
        ({"hop": 300}, "at most half"),
        ({"frames": 4}, "more than n_fft"),
        ({"overlap": 1.0}, "overlap"),
        ({"size": 3}, "size"),
        ({"kind": "vr"}, "kind"),
    ):
        with pytest.raises(ConfigError, match=why):
            settings_of(described(path, **change))
    path.with_suffix(".json").write_text("{", "utf-8")
    with pytest.raises(ConfigError, match="cannot be read"):
        settings_of(path)


def test_a_graph_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelMismatch, match="expected"):
        MdxNet(network(tmp_path / "a.onnx", bins=100), SETTINGS, "vocals")
    (tmp_path / "b.onnx").write_bytes(b"rubbish")
    with pytest.raises(ModelMismatch, match="no ONNX file"):
        MdxNet(tmp_path / "b.onnx", SETTINGS, "vocals")
    with pytest.raises(ModelNotFound):
        MdxNet(tmp_path / "c.onnx", SETTINGS, "vocals")
    graph = Graph("two")
    shape = (1, 4, 200, 32)
    graph.output(graph.add(graph.input("a", shape), graph.input("b", shape)), "output", shape)
    graph.save(tmp_path / "d.onnx")
    with pytest.raises(ModelMismatch, match="one input and one output"):
        MdxNet(tmp_path / "d.onnx", SETTINGS, "vocals")
