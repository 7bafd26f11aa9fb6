"""Checkpoints of pymss-core's architectures: tiny random ones of each, with their YAML files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from separators import noise, taken_apart

from offline.separate.models import open_separator
from offline.separate.pymss import CheckpointNet
from offline.separate.settings import CheckpointSettings
from stream.errors import BadCheckpoint, ConfigError, HostileFile, ModelNotFound

torch = pytest.importorskip("torch", reason="the extra `separate` is not installed")
pymss_core = pytest.importorskip("pymss_core", reason="the extra `separate` is not installed")

AUDIO = {"chunk_size": 8192, "sample_rate": 44_100, "num_channels": 2}
ROFORMER = {
    "dim": 16,
    "depth": 1,
    "stereo": True,
    "num_stems": 1,
    "time_transformer_depth": 1,
    "freq_transformer_depth": 1,
    "dim_head": 8,
    "heads": 2,
    "stft_n_fft": 512,
    "stft_hop_length": 128,
    "stft_win_length": 512,
    "mask_estimator_depth": 2,
}
ONE = {"instruments": ["vocals", "other"], "target_instrument": "vocals"}
BOTH = {"instruments": ["vocals", "other"], "target_instrument": None}
FOUR = {"instruments": ["drums", "bass", "other", "vocals"], "target_instrument": None}
CONFIGS: dict[str, dict[str, Any]] = {
    "bs_roformer": {
        "audio": AUDIO,
        "model": {**ROFORMER, "freqs_per_bands": [*[2] * 16, *[9] * 25]},
        "training": ONE,
    },
    "mel_band_roformer": {
        "audio": AUDIO,
        "model": {**ROFORMER, "num_bands": 12, "sample_rate": 44_100},
        "training": {"instruments": ["dry", "other"], "target_instrument": "dry"},
    },
    "mdx23c": {
        "audio": {**AUDIO, "dim_f": 256, "n_fft": 512, "hop_length": 128},
        "model": {
            "norm": "InstanceNorm",
            "act": "gelu",
            "num_subbands": 2,
            "num_scales": 2,
            "scale": [2, 2],
            "num_blocks_per_scale": 1,
            "num_channels": 8,
            "growth": 8,
            "bottleneck_factor": 2,
        },
        "training": BOTH,
        "inference": {"chunk_size": 128 * 63},
    },
    "scnet": {
        "audio": AUDIO,
        "model": {
            "sources": FOUR["instruments"],
            "audio_channels": 2,
            "dims": [4, 8, 16, 32],
            "nfft": 512,
            "hop_size": 128,
            "win_size": 512,
            "band_SR": [0.175, 0.392, 0.433],
            "band_stride": [1, 4, 16],
            "band_kernel": [3, 4, 16],
            "num_dplayer": 2,
        },
        "training": FOUR,
    },
    "htdemucs": {
        "model": "htdemucs",
        "audio": {"chunk_size": 11_025},
        "training": {**FOUR, "channels": 2, "samplerate": 44_100, "segment": 0.25},
        "htdemucs": {
            "channels": 8,
            "nfft": 1024,
            "depth": 4,
            "t_layers": 1,
            "t_heads": 2,
            "t_hidden_scale": 1.0,
            "bottom_channels": 16,
        },
    },
}


def checkpoint(folder: Path, kind: str, name: str = "model.ckpt", **wrap: str) -> tuple[Path, Any]:
    """A checkpoint of random weights with its YAML file, and the network that has them."""
    torch.set_num_threads(1)
    torch.manual_seed(7)
    path = folder / name
    path.with_suffix(".yaml").write_text(yaml.safe_dump(CONFIGS[kind]), "utf-8")
    model, _ = pymss_core.get_model_from_config(kind, path.with_suffix(".yaml"))
    state = model.state_dict()
    torch.save({wrap["inside"]: state} if wrap else state, path)
    return path, model.eval()


@pytest.mark.filterwarnings("ignore:A window was not provided")  # so SCNet was trained
@pytest.mark.parametrize("kind", CONFIGS)
def test_a_checkpoint_gives_what_its_network_gives(kind: str, tmp_path: Path) -> None:
    path, model = checkpoint(tmp_path, kind)
    net = CheckpointNet(path, CheckpointSettings())
    x = noise(net.window)
    found = net(x)
    assert found.shape == (len(net.stems), net.window, 2)
    with torch.inference_mode():
        wanted = model(torch.from_numpy(x.T.copy())[None])[0].numpy()
    wanted = wanted.reshape(len(net.stems), 2, -1).transpose(0, 2, 1)
    assert np.std(wanted) > 1e-6
    np.testing.assert_allclose(found[:, : wanted.shape[1]], wanted, atol=1e-5)


@pytest.mark.parametrize("kind", ["mel_band_roformer", "mdx23c", "htdemucs"])
def test_a_checkpoint_takes_songs_apart(kind: str, tmp_path: Path) -> None:
    path, _ = checkpoint(tmp_path, kind)
    separator = open_separator([str(path)], tmp_path)
    assert separator.target == ("dry" if kind == "mel_band_roformer" else "vocals")
    x = noise(20_000)
    stems = taken_apart(separator, x)
    np.testing.assert_allclose(stems[separator.target] + stems[separator.rest], x, atol=1e-6)
    if kind == "htdemucs":
        assert list(stems) == ["vocals", "instrumental", "drums", "bass", "other"]


@pytest.mark.parametrize("inside", ["state", "state_dict", "model_state_dict"])
def test_weights_are_found_where_trainers_put_them(inside: str, tmp_path: Path) -> None:
    path, _ = checkpoint(tmp_path, "mdx23c", inside=inside)
    assert CheckpointNet(path, CheckpointSettings()).stems == ("vocals", "instrumental")


def test_what_belongs_to_a_checkpoint_is_asked_for(tmp_path: Path) -> None:
    path, _ = checkpoint(tmp_path, "mdx23c")
    path.with_suffix(".yaml").rename(tmp_path / "other.yaml")
    with pytest.raises(ModelNotFound, match=r"model\.yaml"):
        CheckpointNet(path, CheckpointSettings())
    CheckpointNet(path, CheckpointSettings(config="other.yaml"))
    broken = {**CONFIGS["mdx23c"], "model": {"num_scales": 1}}
    for text, error, why in (
        (yaml.safe_dump(broken), ConfigError, "describes no network"),
        ("{", ConfigError, "describes no network"),
        (yaml.safe_dump(CONFIGS["scnet"]), BadCheckpoint, "not those of the network"),
    ):
        path.with_suffix(".yaml").write_text(text, "utf-8")
        with pytest.raises(error, match=why):
            CheckpointNet(path, CheckpointSettings())


def test_windows_without_measure_are_refused(tmp_path: Path) -> None:
    path, _ = checkpoint(tmp_path, "mdx23c")
    config = {**CONFIGS["mdx23c"], "inference": {"chunk_size": 10**9}}
    path.with_suffix(".yaml").write_text(yaml.safe_dump(config), "utf-8")
    with pytest.raises(ConfigError, match="windows of 1000000000"):
        CheckpointNet(path, CheckpointSettings())


def test_other_weights_and_hostile_files_are_refused(tmp_path: Path) -> None:
    path, _ = checkpoint(tmp_path, "mdx23c")
    torch.save({"first_conv.weight": torch.zeros(1)}, path)
    with pytest.raises(BadCheckpoint, match="not those of the network"):
        CheckpointNet(path, CheckpointSettings())
    torch.save({"weights": Path("x")}, path)
    with pytest.raises(HostileFile):
        CheckpointNet(path, CheckpointSettings())


def test_yaml_files_run_nothing(tmp_path: Path) -> None:
    path, _ = checkpoint(tmp_path, "mdx23c")
    ran = tmp_path / "ran"
    evil = f'audio: !!python/object/apply:os.system ["touch {ran}"]\n'
    path.with_suffix(".yaml").write_text(evil, "utf-8")
    with pytest.raises(ConfigError, match="describes no network"):
        CheckpointNet(path, CheckpointSettings())
    assert not ran.exists()
