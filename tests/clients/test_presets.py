import json
from pathlib import Path

import pytest

from clients.presets import Preset, Presets
from server.protocol import ControlValues
from stream.errors import ConfigError

ADA = Preset(name="Ada late", voice="ada")
LOUD = Preset(
    name="loud",
    voice="starter",
    profile="low",
    controls=ControlValues(pitch=-3.5, auto_pitch=False, f0_methods=("swift", "rmvpe")),
)


@pytest.fixture
def presets(tmp_path: Path) -> Presets:
    return Presets(tmp_path / "home" / "presets")


def test_what_is_saved_is_loaded(presets: Presets) -> None:
    assert presets.names() == []
    presets.save(LOUD)
    presets.save(ADA)
    assert presets.names() == ["Ada late", "loud"]
    assert presets.load("loud") == LOUD
    presets.save(LOUD.model_copy(update={"voice": "ada"}))
    assert presets.load("loud").voice == "ada"
    assert [path.name for path in presets.folder.iterdir() if path.name.startswith(".")] == []


def test_one_goes_to_a_friend_and_back(presets: Presets, tmp_path: Path) -> None:
    presets.save(LOUD)
    presets.export("loud", tmp_path)
    presets.export("loud", tmp_path / "other.json")
    assert json.loads((tmp_path / "loud.json").read_text()) == {
        "timbral_presets": 1,
        "presets": [
            {
                "name": "loud",
                "voice": "starter",
                "controls": {"pitch": -3.5, "auto_pitch": False, "f0_methods": ["swift", "rmvpe"]},
            }
        ],
    }
    presets.remove("loud")
    assert presets.names() == []
    assert presets.add(tmp_path / "other.json") == [LOUD.model_copy(update={"profile": "auto"})]
    assert presets.load("loud").controls == LOUD.controls


def test_several_from_the_page_come_at_once(presets: Presets, tmp_path: Path) -> None:
    (tmp_path / "page.json").write_text(
        '{"timbral_presets": 1, "presets": [{"name": "a", "voice": "", "controls": {}},'
        ' {"name": "b", "voice": "ada", "controls": {"pitch": 2}}]}'
    )
    assert [preset.name for preset in presets.add(tmp_path / "page.json")] == ["a", "b"]
    assert presets.load("a").voice == ""
    assert presets.load("b").controls.pitch == 2.0


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 65, "a\nb", "con:", "-x"])
def test_a_name_that_is_no_file_name_is_refused(presets: Presets, name: str) -> None:
    with pytest.raises(ConfigError, match="no name for a preset"):
        presets.load(name)
    with pytest.raises(ValueError, match="name"):
        Preset(name=name, voice="ada")


def test_one_that_there_is_not_tells_which_there_are(presets: Presets) -> None:
    presets.save(LOUD)
    with pytest.raises(ConfigError, match="There are: loud"):
        presets.load("quiet")
    with pytest.raises(ConfigError, match="quiet"):
        presets.remove("quiet")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("hello", "Invalid JSON"),
        ('{"timbral_presets": 1, "presets": [{"name": "x", "size": 3}]}', "size"),
        (
            '{"timbral_presets": 1, "presets": [{"name": "x", "controls": {"pitch": 99}}]}',
            "controls.pitch",
        ),
        ('{"timbral_presets": 2, "presets": []}', "timbral_presets"),
        ('{"timbral_presets": 1, "presets": [{"name": "../x", "voice": "y"}]}', "name"),
        (" " * 20_000, "too big"),
    ],
)
def test_a_file_that_is_no_preset_is_refused_with_the_reason(
    presets: Presets, tmp_path: Path, text: str, why: str
) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ConfigError, match=why):
        presets.add(tmp_path / "x.json")
    assert presets.names() == []


def test_a_missing_file_or_folder_is_said(presets: Presets, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No file"):
        presets.add(tmp_path / "none.json")
    presets.save(LOUD)
    with pytest.raises(ConfigError, match="no folder"):
        presets.export("loud", tmp_path / "none" / "x.json")


def test_the_place_follows_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIMBRAL_HOME", str(tmp_path))
    assert Presets().folder == tmp_path / "presets"
