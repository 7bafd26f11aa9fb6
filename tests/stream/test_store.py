import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from stream.device import CPU
from stream.errors import AssetMissing, BadBundle, ConfigError, VoiceNotFound
from stream.models.digest import sha256
from stream.models.store import PACKAGE, STARTERS, Store
from stream.models.voice import CARD, SYNTH, load_encoder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A copy of the starter under another name."""
    folder = tmp_path / "given"
    shutil.copytree(PACKAGE / "starter", folder)
    edit(folder, name="ada")
    return folder


def edit(folder: Path, **changes: Any) -> None:
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(card | changes))


def test_the_starters_are_always_there_and_load(store: Store) -> None:
    assert store.names() == ["starter", "starter-low", "starter-high"]
    for name in STARTERS:
        voice = store.load(name, CPU)
        assert voice.card.name == name
        assert voice.provider == "CPUExecutionProvider"
        assert store.load(name, CPU) is voice
        assert store.preview(name) is not None


def test_the_starters_are_a_low_a_middle_and_a_high_voice(store: Store) -> None:
    medians = {name: store.card(name).f0_median_hz or 0.0 for name in STARTERS}
    assert medians["starter-low"] < 140.0 < medians["starter"] < 200.0 < medians["starter-high"]


def test_an_added_voice_loads_and_shares_the_encoder(store: Store, bundle: Path) -> None:
    assert store.add(bundle).name == "ada"
    assert store.names() == [*STARTERS, "ada"]
    assert store.load("ada", CPU).encoder is store.load("starter", CPU).encoder
    store.remove("ada")
    assert store.names() == [*STARTERS]
    with pytest.raises(VoiceNotFound, match="There are: starter"):
        store.load("ada", CPU)


def test_a_voice_of_the_same_name_is_not_replaced(store: Store, bundle: Path) -> None:
    store.add(bundle)
    with pytest.raises(ConfigError, match="timbral voices remove ada"):
        store.add(bundle)
    edit(bundle, name="starter")
    with pytest.raises(ConfigError, match="already"):
        store.add(bundle)


def test_a_voice_deleted_or_replaced_by_another_process_is_not_given_again(
    store: Store, bundle: Path
) -> None:
    store.add(bundle)
    held = store.load("ada", CPU)
    assert store.load("ada", CPU) is held
    other = Store(store.home)
    other.remove("ada")
    with pytest.raises(VoiceNotFound):
        store.load("ada", CPU)
    assert not list((store.home / "voices").iterdir())
    edit(bundle, consent="another's")
    other.add(bundle)
    found = store.load("ada", CPU)
    assert (found is held, found.card.consent) == (False, "another's")
    other.remove("ada")
    edit(bundle, consent="a third's")
    other.add(bundle)  # while nobody looked
    assert store.load("ada", CPU).card.consent == "a third's"


@pytest.mark.parametrize("name", STARTERS)
def test_a_starter_cannot_be_removed(store: Store, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be removed"):
        store.remove(name)
    assert store.load(name, CPU).card.name == name


@pytest.mark.parametrize("name", ["", "..", "../home", "/etc", "ada/../starter", "none"])
def test_only_names_of_voices_are_looked_up(store: Store, name: str) -> None:
    with pytest.raises(VoiceNotFound):
        store.load(name, CPU)


def test_an_altered_file_is_refused_and_nothing_is_installed(store: Store, bundle: Path) -> None:
    with (bundle / SYNTH).open("r+b") as file:
        file.seek(1000)
        file.write(b"\0\0\0\0")
    with pytest.raises(BadBundle, match=r"synth.onnx was altered"):
        store.add(bundle)
    assert store.names() == [*STARTERS]
    assert not list((store.home / "voices").glob("*")) if store.home.exists() else True


def test_a_file_altered_after_it_was_added_is_refused(store: Store, bundle: Path) -> None:
    store.add(bundle)
    with (store.folder("ada") / SYNTH).open("ab") as file:
        file.write(b"!")
    with pytest.raises(BadBundle, match="altered"):
        store.load("ada", CPU)
    (store.folder("ada") / SYNTH).unlink()
    with pytest.raises(BadBundle, match=r"synth.onnx is missing"):
        store.load("ada", CPU)


def test_a_card_that_lists_files_elsewhere_is_refused(store: Store, bundle: Path) -> None:
    outside = bundle.parent / "secret.txt"
    outside.write_text("secret")
    card = json.loads((bundle / CARD).read_text())
    edit(bundle, files=card["files"] | {"../secret.txt": sha256(outside)})
    with pytest.raises(BadBundle, match="outside the folder"):
        store.add(bundle)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"format": 2}, "format"),
        ({"sample_rate": "fast"}, "sample_rate"),
        ({"speakers": []}, "speakers"),
        ({"name": "../x"}, "name"),
        ({"extra": 1}, "extra"),
        ({"files": {}}, "does not list synth.onnx"),
        ({"feature_dim": 768}, "needs 768 features"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(
    store: Store, bundle: Path, changes: dict[str, Any], why: str
) -> None:
    edit(bundle, **changes)
    with pytest.raises(BadBundle, match=why):
        store.load(store.add(bundle).name, CPU)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00"])
def test_a_card_that_is_no_card_is_refused(store: Store, bundle: Path, text: str) -> None:
    (bundle / CARD).write_text(text)
    with pytest.raises(BadBundle, match=r"voice.json cannot be read"):
        store.add(bundle)
    (bundle / CARD).unlink()
    with pytest.raises(BadBundle, match=r"voice.json is missing"):
        store.add(bundle)


def test_a_missing_encoder_is_named(store: Store, bundle: Path) -> None:
    edit(bundle, encoder="contentvec-768")
    store.add(bundle)
    with pytest.raises(AssetMissing, match="timbral models pull contentvec-768"):
        store.load("ada", CPU)


def test_an_altered_encoder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "student-256"
    shutil.copytree(PACKAGE / "assets" / "student-256", folder)
    with (folder / "content.onnx").open("ab") as file:
        file.write(b"!")
    with pytest.raises(BadBundle, match="altered"):
        load_encoder(folder, CPU)
