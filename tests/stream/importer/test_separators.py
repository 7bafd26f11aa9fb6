"""Spleeter as ONNX: the graph against the same networks in torch, and what is installed."""

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from assets import home_with
from numpy.typing import NDArray
from torch.nn import functional

from stream.errors import BadCheckpoint, ConfigError, ModelMismatch, ModelNotFound
from stream.importer import separators
from stream.importer.graphs.builder import Graph
from stream.importer.graphs.spleeter import spleeter, spleeter_shapes
from stream.importer.separators import add_separator
from stream.models.onnx import OnnxModel
from stream.models.separator import CARD, GRAPH, LICENCE, checked_separator

Weights = dict[str, NDArray[np.float32]]
SHAPE = (None, 2, None, 1024)


@functools.cache
def random() -> Weights:
    """Random, as large as trained ones, so that every tensor changes the result."""
    rng = np.random.default_rng(5)
    held: Weights = {}
    for name, shape in spleeter_shapes().items():
        spread = 0.8 / np.sqrt(np.prod(shape[:-1]) or 1) if name.endswith("kernel") else 0.2
        value = spread * rng.standard_normal(shape)
        if name.endswith(("gamma", "moving_variance")):
            value = 1.0 + 0.3 * np.abs(value)
        held[name] = value.astype(np.float32)
    return held


def torch_share(
    held: Mapping[str, NDArray[np.float32]], magnitude: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The two networks as Spleeter's source describes them, in torch, with Keras's padding."""

    def one(net: int) -> torch.Tensor:
        def parameters(kind: str, number: int, *parts: str) -> list[torch.Tensor]:
            name = kind + (f"_{number}" if number else "")
            return [torch.from_numpy(held[f"{name}/{part}"]) for part in parts]

        def norm(x: torch.Tensor, number: int) -> torch.Tensor:
            parts = ("moving_mean", "moving_variance", "gamma", "beta")
            mean, variance, gamma, beta = parameters("batch_normalization", number, *parts)
            return functional.batch_norm(x, mean, variance, gamma, beta, eps=1e-3)

        x = torch.from_numpy(magnitude)
        skipped: list[torch.Tensor] = []
        y = x
        for i in range(6):
            kernel, bias = parameters("conv2d", 7 * net + i, "kernel", "bias")
            padded = functional.pad(y, (1, 2, 1, 2))
            y = functional.conv2d(padded, kernel.permute(3, 2, 0, 1), bias, stride=2)
            skipped.append(y)
            y = functional.leaky_relu(norm(y, 12 * net + i), 0.2)
        y = skipped[-1]
        for i in range(6):
            kernel, bias = parameters("conv2d_transpose", 6 * net + i, "kernel", "bias")
            full = functional.conv_transpose2d(y, kernel.permute(3, 2, 0, 1), bias, stride=2)
            y = norm(functional.relu(full[..., 1:-2, 1:-2]), 12 * net + 6 + i)
            if i < 5:
                y = torch.cat([skipped[4 - i], y], dim=1)
        kernel, bias = parameters("conv2d", 7 * net + 6, "kernel", "bias")
        padded = functional.pad(y, (3, 3, 3, 3))
        mask = functional.conv2d(padded, kernel.permute(3, 2, 0, 1), bias, dilation=2)
        return torch.sigmoid(mask) * x

    with torch.no_grad():
        voice, band = one(0) ** 2, one(1) ** 2
        return ((voice + 0.5e-10) / (voice + band + 1e-10)).numpy()


def test_the_graph_is_the_same_as_the_networks_in_torch(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    held = random()
    spleeter(held).save(tmp_path / "a.onnx")
    model = OnnxModel(tmp_path / "a.onnx", {"magnitude": SHAPE}, {"share": SHAPE})
    magnitude = np.random.default_rng(2).uniform(0.1, 2.0, (1, 2, 64, 1024)).astype(np.float32)
    found = np.asarray(model(magnitude=magnitude)["share"], np.float32)
    assert np.std(found) > 0.1
    np.testing.assert_allclose(found, torch_share(held, magnitude), atol=2e-4)


def tiny() -> Graph:
    """A graph that stands for the networks where their 80 MB do not matter."""
    graph = Graph("tiny")
    x = graph.input("magnitude", ("n", 2, "t", 1024))
    graph.output(graph.node("Sigmoid", x), "share", ("n", 2, "t", 1024))
    return graph


def files(folder: Path) -> list[Path]:
    paths = [folder / name for name in ("model.index", "model.data-00000-of-00001", LICENCE)]
    for path in paths:
        path.write_text("MIT", "utf-8")
    return paths


def test_what_is_installed_has_a_card_the_licence_and_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(separators, "read_bundle", lambda index, data: random())
    given = files(tmp_path)
    small = {name: value for name, value in random().items() if value.size < 1000}
    monkeypatch.setattr(
        separators, "spleeter_shapes", lambda: {k: v.shape for k, v in small.items()}
    )
    monkeypatch.setattr(separators, "spleeter", lambda held: tiny())
    card = add_separator(given, "spleeter-2stems", tmp_path, licence="MIT", source="x")
    folder = tmp_path / "models" / "spleeter-2stems"
    assert {path.name for path in folder.iterdir()} == {CARD, GRAPH, LICENCE}
    assert (folder / LICENCE).read_text("utf-8") == "MIT"
    assert checked_separator(folder) == (card, folder / GRAPH)
    (folder / GRAPH).write_bytes(b"altered")
    with pytest.raises(ModelMismatch, match="models pull spleeter-2stems"):
        checked_separator(folder)
    (folder / CARD).write_text("{}", "utf-8")
    with pytest.raises(ModelMismatch, match="cannot be read"):
        checked_separator(folder)
    with pytest.raises(ModelNotFound):
        checked_separator(tmp_path)


def test_other_checkpoints_are_refused_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = files(tmp_path)
    with pytest.raises(ConfigError, match="three files"):
        add_separator(given[:2], "a", tmp_path, licence="", source="")
    held = dict(random())
    held["conv2d/bias"] = np.zeros(3, np.float32)
    monkeypatch.setattr(separators, "read_bundle", lambda index, data: held)
    with pytest.raises(BadCheckpoint, match="conv2d/bias"):
        add_separator(given, "a", tmp_path, licence="", source="")
    assert not (tmp_path / "models").exists()


@pytest.mark.slow
def test_the_published_model_is_fetched_and_installed() -> None:
    folder = home_with("spleeter-2stems") / "models" / "spleeter-2stems"
    card, graph = checked_separator(folder)
    assert card.licence == "MIT"
    assert "Deezer" in (folder / LICENCE).read_text("utf-8")
    model = OnnxModel(graph, {"magnitude": SHAPE}, {"share": SHAPE})
    silent = model(magnitude=np.zeros((1, 2, 64, 1024), np.float32))["share"]
    np.testing.assert_allclose(np.asarray(silent, np.float32), 0.5, atol=1e-6)
