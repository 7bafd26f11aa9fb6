import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from offline.effects.build import stage
from offline.effects.chain import Chain, Convolution, Gain, Reverb
from offline.effects.presets import Presets, built_in
from stream.errors import ConfigError, TimbralError
from timbral import app

REVERB = '[[effects]]\nkind = "gain"\n[[effects]]\nkind = "reverb"\n'


def test_a_preset_is_found_by_name_and_the_users_comes_first(tmp_path: Path) -> None:
    presets = Presets(tmp_path / "effects")
    assert presets.names() == [path.stem for path in built_in()]
    assert not presets.own("hall")
    hall = presets.load("hall")
    (tmp_path / "effects").mkdir()
    (tmp_path / "effects" / "hall.toml").write_text(REVERB + "room = 1\n")
    (tmp_path / "effects" / "my own.toml").write_text('[[effects]]\nkind = "gain"\n')
    assert presets.own("hall")
    assert presets.load("hall") == Chain(effects=(Gain(), Reverb(room=1.0))) != hall
    assert {*presets.names()} - {path.stem for path in built_in()} == {"my own"}
    assert presets.load("my own") == Chain(effects=(Gain(),))


def test_files_that_a_preset_names_are_found_from_its_folder(tmp_path: Path) -> None:
    text = '[[effects]]\nkind = "convolution"\nimpulse = "rooms/church.wav"\n'
    (tmp_path / "church.toml").write_text(text)
    chain = Presets(tmp_path / "none").load(str(tmp_path / "church.toml"))
    assert chain.files() == (tmp_path / "rooms" / "church.wav",)
    assert Chain(effects=(Gain(),)).files() == ()
    again = Chain.model_validate(chain.model_dump(mode="json"))
    assert again == chain
    assert isinstance(again.effects[0], Convolution)


WRONG = {
    "effects[2].reverb.room: Input should be less than or equal to 1 (it is 1.5)": REVERB
    + "room = 1.5\n",
    "effects[2].reverb.size: Extra inputs are not permitted": REVERB + "size = 1\n",
    "effects[2].reverb.wet: Input should be a finite number": REVERB + "wet = nan\n",
    "effects[1]: Input tag 'echo'": '[[effects]]\nkind = "echo"\n',
    "effects[1]: Unable to extract tag": "[[effects]]\nroom = 1\n",
    "effects: Field required": 'title = "Nothing"\n',
    "effects: Tuple should have at least 1 item": "effects = []\n",
    "format: Input should be 1 (it is 2)": "format = 2\n" + REVERB,
    "effects[1].convolution.impulse: Field required": '[[effects]]\nkind = "convolution"\n',
    "is no TOML": "[[effects\n",
    "too big": "# " + "x" * 70_000,
}


@pytest.mark.parametrize("said", WRONG)
def test_a_wrong_preset_is_refused_by_the_key_that_is_wrong(said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(WRONG[said])
    with pytest.raises(ConfigError) as caught:
        Presets(tmp_path).load("mine")
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_a_name_that_there_is_not_is_answered_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No preset of effects 'hal'.*hall, lo-fi.*NAME\.toml"):
        Presets(tmp_path).load("hal")
    with pytest.raises(ConfigError, match="No file"):
        Presets(tmp_path).load(str(tmp_path / "none.toml"))
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is no TOML"):
        Presets(tmp_path).load("bad")


def test_without_pedalboard_its_effects_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pedalboard", None)
    stage(Gain(), 8000, 1)
    with pytest.raises(ConfigError, match=r"pip install 'timbral\[offline\]'"):
        stage(Reverb(), 8000, 1)


def test_own_effects_run_without_loading_what_is_under_the_gpl() -> None:
    code = (
        "import sys; from offline.effects import apply, build, presets; import offline.mix\n"
        "build.build(presets.Presets().load('warm'), 8000, 1)\n"
        "print(*{'pedalboard', 'parselmouth'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


def test_the_command_puts_a_preset_on_a_file_and_lists_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMBRAL_HOME", str(tmp_path))
    (tmp_path / "effects").mkdir()
    (tmp_path / "effects" / "mine.toml").write_text('title = "My room"\n' + REVERB)
    source, target = tmp_path / "in.wav", tmp_path / "out.wav"
    soundfile.write(source, np.full(8000, 0.1), 8000)
    run = CliRunner().invoke(app, ["effects", str(source), str(target), "--preset", "mine"])
    assert run.exit_code == 0, run.output
    assert "mine, gain, reverb" in run.output
    assert soundfile.info(target).frames > 8000
    run = CliRunner().invoke(app, ["effects", "--list"])
    assert re.search(r"^hall +Hall: a large, bright room$", run.output, re.MULTILINE)
    assert re.search(r"^mine +My room  \(yours\)$", run.output, re.MULTILINE)
    run = CliRunner().invoke(app, ["effects", str(source)])
    assert run.exit_code == 2
    run = CliRunner().invoke(app, ["effects", str(source), str(target), "--preset", "hal"])
    assert isinstance(run.exception, TimbralError)
