"""RoFormers, MDX23C, SCNet, HTDemucs: checkpoints whose networks the package pymss-core defines.

It needs PyTorch; both are imported when a checkpoint is opened. Weights are read by our own reader,
which runs nothing that a file holds.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from offline.separate.roles import roles_of
from offline.separate.settings import CheckpointSettings
from stream.audio import Audio
from stream.errors import BadCheckpoint, ConfigError, ModelNotFound
from stream.importer.tensors import read_tensors

ADVICE = "It needs another package: pip install 'timbral[separate]'"
CONFIGS = (".yaml", ".yml")
NESTED = ("state.", "state_dict.", "model_state_dict.")  # what trainers put weights in
HYPERACE = ".segm."  # in the names of weights of that kind of BS-RoFormer alone
LONGEST = 120  # seconds of a window: more is a mistake in the YAML file


class CheckpointNet:
    """The network in the file `path` as a `Net`.

    Raises `ModelNotFound` where its YAML file is missing, `ConfigError` where that is wrong or a
    package is not installed, `BadCheckpoint` and `HostileFile`.
    """

    def __init__(self, path: Path, settings: CheckpointSettings) -> None:
        self.config_path = config_of(path, settings)
        weights = _weights(path)
        self._model, config = _build(path, self.config_path, settings.architecture, weights)
        try:
            self.rate, self.window = _rate_and_window(config)
            only = config.training.get("target_instrument")
            instruments = [str(name) for name in ([only] if only else config.training.instruments)]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{self.config_path} lacks what is needed: {error}.") from error
        if not 0 < self.window <= LONGEST * self.rate:
            raise ConfigError(f"{self.config_path} asks for windows of {self.window} samples.")
        self.edge = 0
        self.roles, self.stems = roles_of(instruments, settings.task)

    def __call__(self, x: Audio) -> Audio:
        """[window, 2] -> [stems, window, 2]."""
        import torch

        with torch.inference_mode():
            heard = torch.from_numpy(np.ascontiguousarray(x.T, np.float32))
            found = self._model(heard[None])[0].float().numpy()
        found = found.reshape(len(self.stems), 2, -1)[..., : len(x)]
        missing = len(x) - found.shape[-1]
        return np.pad(found, ((0, 0), (0, 0), (0, missing))).transpose(0, 2, 1)


def config_of(path: Path, settings: CheckpointSettings) -> Path:
    """The YAML file that belongs to a checkpoint; raises `ModelNotFound`."""
    names = [settings.config] if settings.config else [path.stem + end for end in CONFIGS]
    found = next((path.with_name(name) for name in names if path.with_name(name).is_file()), None)
    if found is None:
        raise ModelNotFound(
            path.with_name(names[0]),
            f"{path.name} comes with a YAML file that describes its network; put it there.",
        )
    return found


def _weights(path: Path) -> dict[str, Any]:
    tensors = read_tensors(path).tensors
    for prefix in NESTED:
        inside = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
        if inside:
            return inside
    return dict(tensors)


def _build(
    path: Path, config_path: Path, architecture: str, weights: Mapping[str, Any]
) -> tuple[Any, Any]:
    """The network with its weights, ready to run, and what its YAML file says."""
    try:
        import torch
        from pymss_core import detect_model_type, get_model_from_config, load_config
    except ImportError as error:
        raise ConfigError(f"{path.name} cannot be opened: no {error.name}. {ADVICE}") from error
    try:
        config = load_config(config_path)
        kind = detect_model_type(config) if architecture == "auto" else architecture
        if kind == "bs_roformer" and any(HYPERACE in name for name in weights):
            kind = "bs_roformer_hyperace"
        model, config = get_model_from_config(kind, config_path, _hidden(kind, weights))
    except Exception as error:  # a wrong YAML file makes the constructors raise all sorts
        raise ConfigError(f"{config_path} describes no network that is known: {error}") from error
    try:
        model.load_state_dict({name: torch.from_numpy(np.array(v)) for name, v in weights.items()})
    except (RuntimeError, TypeError) as error:
        why = f"its weights are not those of the network in {config_path.name} ({error})."
        raise BadCheckpoint(path, why[:500]) from error
    return model.eval(), config


def _hidden(kind: str, weights: Mapping[str, Any]) -> dict[str, int] | None:
    """How deep the mask networks of a Mel-Band RoFormer are: the YAML files do not always say."""
    if kind != "mel_band_roformer":
        return None
    start = "mask_estimators.0.to_freqs.0.0."
    layers = sum(name.startswith(start) and name.endswith(".weight") for name in weights)
    return {"mlp_hidden_layers": layers - 1} if layers > 1 else None


def _rate_and_window(config: Any) -> tuple[int, int]:
    """Hz, and the samples of a window: those of inference, else those of training."""
    audio, training = config.get("audio", {}), config.training
    rate = int(audio.get("sample_rate") or training.samplerate)
    own = config.get("inference", {}).get("chunk_size") or audio.get("chunk_size")
    return rate, int(own or training.segment * rate)
