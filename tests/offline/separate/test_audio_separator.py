"""The adapter of the package audio-separator, on a stand-in with the faults of the real one."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
from separators import noise, taken_apart

from offline.separate.audio_separator import adapt, open_tool
from offline.separate.models import open_separator
from stream.errors import ConfigError, ModelError

SHARE = 0.6  # of the song that the stand-in takes for the voice


class Model:
    """What the real one calls an instance of a model."""

    primary_stem_name = "Vocals"
    secondary_stem_name = "Instrumental"
    normalization_threshold = 1.0


class StandIn:
    """Takes levels for what version 0.47.1 takes them for, and names files as it does."""

    made: list["StandIn"]

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.folder = Path(settings["output_dir"])
        self.model_instance = Model()
        self.names: list[str] = []

    def load_model(self, model_filename: str) -> None:
        if model_filename == "none.onnx":
            raise SystemExit(1)
        self.names.append(model_filename)

    def separate(self, audio_file_path: str) -> list[str]:
        mix, rate = soundfile.read(audio_file_path, dtype="float32")
        peak = np.abs(mix).max()
        voice = SHARE * mix * peak  # times the peak, though nothing was divided by it
        limit = self.model_instance.normalization_threshold
        if np.abs(voice).max() > limit:
            voice *= limit / np.abs(voice).max()
        names = [
            f"{Path(audio_file_path).stem}_({s})_model.wav" for s in ("Instrumental", "Vocals")
        ]
        for name, stem in zip(names, (mix - voice, voice), strict=True):
            soundfile.write(self.folder / name, stem, rate, subtype="FLOAT")
        return names


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    package, module = ModuleType("audio_separator"), ModuleType("audio_separator.separator")
    module.Separator = StandIn  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "audio_separator", package)
    monkeypatch.setitem(sys.modules, "audio_separator.separator", module)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("peak", [0.05, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_levels_are_right_whatever_the_song_s(peak: float, rate: int, tmp_path: Path) -> None:
    separator = open_separator(["audio-separator:model.onnx"], tmp_path)
    t = np.arange(30_000) / rate
    x = np.sin(2 * np.pi * np.stack([440 * t, 550 * t], axis=1)).astype(np.float32)
    x *= peak * np.hanning(len(x))[:, np.newaxis]
    stems = taken_apart(separator, x.astype(np.float32), rate)
    np.testing.assert_allclose(stems["vocals"], SHARE * x, atol=2e-4 * peak)
    np.testing.assert_allclose(stems["vocals"] + stems["instrumental"], x, atol=1e-6 * peak + 1e-7)
    left = list((tmp_path / "separators" / "audio-separator").iterdir())
    assert not left


@pytest.mark.usefixtures("installed")
def test_the_tool_is_opened_with_what_keeps_levels(tmp_path: Path) -> None:
    tool: Any = open_tool("model.onnx", tmp_path, tmp_path / "models")
    assert tool.names == ["model.onnx"]
    assert tool.settings["normalization_threshold"] == 1.0
    assert tool.settings["use_soundfile"] is True
    assert tool.settings["model_file_dir"] == str(tmp_path / "models")
    assert tool.model_instance.normalization_threshold > 1e6
    assert "onnx2torch" not in sys.modules


@pytest.mark.usefixtures("installed")
def test_a_model_that_cannot_be_opened_is_an_error_not_the_end(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot open none\.onnx"):
        open_tool("none.onnx", tmp_path, tmp_path)


@pytest.mark.usefixtures("installed")
def test_models_for_other_tasks_have_their_roles(tmp_path: Path) -> None:
    tool = open_tool("model.onnx", tmp_path, tmp_path)
    tool.model_instance.primary_stem_name = "No Reverb"
    tool.model_instance.secondary_stem_name = "Reverb"
    assert adapt("model.onnx", tool, tmp_path, "").stems == ("dry", "reverb")
    with pytest.raises(ModelError, match="none of which is known"):
        taken_apart(adapt("model.onnx", tool, tmp_path, ""), noise(1_000))


def test_without_the_package_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "audio_separator", None)
    with pytest.raises(ConfigError, match=r"pip install audio-separator\[cpu\]"):
        open_separator(["audio-separator:model.onnx"], tmp_path)
