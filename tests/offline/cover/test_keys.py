"""What of a cover is made again when something changes."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import halves
import numpy as np
import pytest
import soundfile

from offline.cover.make import plan_json
from offline.cover.recipe import VERSIONS, moved, plan_cover
from offline.cover.settings import checked
from offline.cover.song import listen
from offline.curve import Curve, frame_times
from stream.controls import Controls
from stream.errors import ConfigError, VoiceNotFound
from stream.models.store import PACKAGE

FULL = {
    "lead": {"models": ["lead"]},
    "dereverb": {"models": ["dry"]},
    "backing_voice": "starter",
    "key": 2,
}
VOCAL = {"f0", "convert", "mix"}


def keys(
    song: Path, home: Path, values: Mapping[str, Any], *, report: bool = False, **digests: str
) -> dict[str, str]:
    """The key of every step."""
    tools = halves.tools(home, **digests)
    plan = plan_cover(listen(song), checked(values), tools, report=report)
    return {task.name: task.step.key for task in plan.tasks}


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    """The steps whose results are no more used, or new."""
    return {name for name, _ in set(before.items()) ^ set(after.items())}


@pytest.fixture
def song(tmp_path: Path) -> Path:
    return halves.write_song(tmp_path / "song.wav")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("change", "touched"),
    [
        ({"voice_db": 1.0}, {"mix"}),
        ({"band_db": -1.0}, {"mix"}),
        ({"lufs": -14.0}, {"mix"}),
        ({"lufs": "off"}, {"mix"}),
        ({"ceiling_db": -2.0}, {"mix"}),
        ({"seed": 1}, {"convert", "mix"}),
        ({"controls": {"autotune": 0.5}}, {"convert", "mix"}),
        ({"controls": {"pitch": 12.0}}, {"convert", "mix"}),
        ({"controls": {"f0_methods": ["crepe-tiny"]}}, VOCAL),
        ({"controls": {"f0_methods": ["swift", "crepe-tiny"], "f0_blend": "mean"}}, VOCAL),
        ({"key": 1}, {"convert", "key-band", "mix"}),
        ({"separate": {"models": ["other"]}}, {"separate", *VOCAL}),
        ({"denoise": {"models": ["quiet"]}}, {"denoise", *VOCAL}),
    ],
)
def test_a_setting_touches_what_uses_it_and_what_comes_after(
    song: Path, home: Path, change: dict[str, Any], touched: set[str]
) -> None:
    assert changed(keys(song, home, {}), keys(song, home, change)) == touched


def test_every_step_of_a_full_plan_is_there_in_order(song: Path, home: Path) -> None:
    assert list(keys(song, home, FULL)) == [
        *("read", "separate", "lead", "dereverb", "key-band", "f0", "convert"),
        *("f0-backing", "convert-backing", "mix"),
    ]
    without = {name: value for name, value in FULL.items() if name != "backing_voice"}
    assert "key-backing" in keys(song, home, without)


def test_the_name_the_container_and_the_tags_of_a_song_touch_nothing(
    song: Path, home: Path
) -> None:
    before = keys(song, home, FULL)
    again = song.rename(song.with_name("other name.wav"))
    assert keys(again, home, FULL) == before
    x, rate = soundfile.read(again, dtype="float32")
    soundfile.write(song.with_suffix(".aiff"), x, rate, subtype="FLOAT", format="AIFF")
    assert keys(song.with_suffix(".aiff"), home, FULL) == before


def test_a_single_sample_under_the_same_name_touches_everything(song: Path, home: Path) -> None:
    before = keys(song, home, FULL)
    x = soundfile.read(song, dtype="float32")[0]
    x[1000, 0] += 2.0**-15
    stat = song.stat()
    soundfile.write(song, x, halves.RATE, subtype="FLOAT")
    assert song.stat().st_size == stat.st_size
    assert changed(before, keys(song, home, FULL)) == set(before)


def test_a_model_under_the_same_name_touches_what_it_makes(song: Path, home: Path) -> None:
    before = keys(song, home, FULL)
    after = keys(song, home, FULL, spleeter="new")
    assert changed(before, after) == set(before) - {"read"}
    after = keys(song, home, FULL, dry="new")
    assert changed(before, after) == {"dereverb", *VOCAL}


def test_a_voice_trained_again_under_its_name_is_sung_again(song: Path, home: Path) -> None:
    folder = home / "voices" / "ada"
    shutil.copytree(PACKAGE / "starter", folder)
    card = json.loads((folder / "voice.json").read_text())
    (folder / "voice.json").write_text(json.dumps(card | {"name": "ada"}))
    before = keys(song, home, {"voice": "ada"})
    assert changed(before, keys(song, home, {})) == {"convert", "mix"}
    files = card["files"] | {"synth.onnx": 64 * "0"}
    (folder / "voice.json").write_text(json.dumps(card | {"name": "ada", "files": files}))
    assert changed(before, keys(song, home, {"voice": "ada"})) == {"convert", "mix"}


@pytest.mark.parametrize("name", VERSIONS)
def test_new_code_of_a_step_touches_it(
    song: Path, home: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keys(song, home, {"key": 2, "effects": ""}, report=True)
    monkeypatch.setitem(VERSIONS, name, VERSIONS[name] + 1)
    after = keys(song, home, {"key": 2, "effects": ""}, report=True)
    if name == "effects":  # not part of this plan
        assert after == before
    elif name in ("look", "judge"):  # of the report alone
        found = changed(before, after)
        assert found == {task for task in before if task.startswith(name)} != set()
    else:
        assert "mix" in changed(before, after)


def test_a_report_changes_nothing_of_the_cover(song: Path, home: Path) -> None:
    plain, shown = keys(song, home, FULL), keys(song, home, FULL, report=True)
    assert plain.items() < shown.items()
    assert "look at the backing" in shown


def test_a_given_pitch_replaces_the_one_detected(song: Path, home: Path) -> None:
    tools, heard = halves.tools(home), listen(song)

    def plan(*hz: float) -> dict[str, str]:
        given = Curve(frame_times(len(hz)), np.array(hz, np.float32)) if hz else None
        tasks = plan_cover(heard, checked({}), tools, given=given).tasks
        return {task.name: task.step.key for task in tasks}

    assert changed(plan(), plan(200.0, 210.0)) == VOCAL
    assert changed(plan(200.0, 210.0), plan(200.0, 211.0)) == VOCAL
    assert plan(200.0, 210.0) == plan(200.0, 210.0)


def test_the_plan_tells_every_parameter_and_model(song: Path, home: Path) -> None:
    plan = plan_cover(listen(song), checked({"controls": {"autotune": 0.25}}), halves.tools(home))
    told = {step["name"]: step for step in json.loads(plan_json(plan))}
    assert len(told) == len(plan.tasks)
    convert = next(step for step in json.loads(plan_json(plan)) if "controls" in step["parameters"])
    assert convert["parameters"]["controls"]["autotune"] == 0.25
    assert len(convert["models"]) == 2


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"voise": "ada"}, "voise"),
        ({"key": 13}, "key"),
        ({"key": 1.5}, "key"),
        ({"voice_db": float("nan")}, "voice_db"),
        ({"lufs": "loud"}, "lufs"),
        ({"separate": {"models": []}}, r"separate\.models"),
        ({"controls": {"pich": 1}}, "no control pich"),
        ({"controls": {"pitch": 99.0}}, "pitch must be within"),
        ({"backing_voice": "ada"}, "--lead"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        checked(values)


def test_what_is_missing_is_told_before_anything_is_made(song: Path, home: Path) -> None:
    with pytest.raises(VoiceNotFound, match="No voice 'nobody'"):
        keys(song, home, {"voice": "nobody"})


@pytest.mark.parametrize(("pitch", "key", "sung"), [(0, 3, 3), (23, 3, 14), (-24, -1, -13)])
def test_a_key_out_of_reach_is_sung_an_octave_nearer(pitch: int, key: int, sung: int) -> None:
    assert moved(Controls(pitch=float(pitch)), key).pitch == sung
