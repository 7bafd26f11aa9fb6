"""From files to a voice in the store: whole, or not at all."""

import os
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from published import rvc_file, save_pth
from strangers import Stranger
from typer.testing import CliRunner

from stream.command import app
from stream.errors import (
    BadBundle,
    BadCheckpoint,
    ConfigError,
    HostileFile,
    TimbralError,
    VoiceError,
)
from stream.importer.voices import advice, import_voice, voice_name
from stream.models.store import STARTERS, Store
from stream.models.voice import INDEX

NARROW = 8


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a voice, two indices for it and one of another width."""
    folder = tmp_path_factory.mktemp("files")
    save_pth(folder / "Ada Lovelace_e200_s4000.pth", rvc_file(narrow=NARROW, author="Charles"))
    for name, dim, rows in (
        ("added_IVF4_Flat_nprobe_1_Ada Lovelace_v2", 768, 60),
        ("trained_IVF4_Flat_nprobe_1_Ada Lovelace_v2", 768, 0),
        ("added_IVF4_Flat_nprobe_1_Old_v1", 256, 60),
    ):
        save_index(folder / f"{name}.index", dim, rows)
    return folder


def save_index(path: Path, dim: int, rows: int) -> Path:
    vectors = np.random.default_rng(0).normal(size=(200, dim)).astype(np.float32)
    faiss.omp_set_num_threads(1)
    index: Any = faiss.index_factory(dim, "IVF4,Flat")
    index.train(vectors)
    index.add(vectors[:rows])
    faiss.write_index(index, str(path))
    return path


def ada(files: Path) -> Path:
    return files / "Ada Lovelace_e200_s4000.pth"


def index(files: Path, of: str) -> Path:
    (found,) = files.glob(f"added*{of}*.index")
    return found


def nothing_left(store: Store) -> bool:
    voices = store.home / "voices"
    return not voices.exists() or list(voices.iterdir()) == []


def zipped(path: Path, *members: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in members:
            archive.write(member, f"some folder/{member.name}")
    return path


def test_a_checkpoint_becomes_a_voice(store: Store, files: Path) -> None:
    steps: list[tuple[int, int]] = []
    card = import_voice([ada(files)], store=store, progress=lambda *at: steps.append(at))
    assert store.names() == [*STARTERS, "ada-lovelace"]
    assert store.card("ada-lovelace") == card
    assert (card.kind, card.rvc_version, card.sample_rate) == ("nsf", "v2", 40_000)
    assert (card.encoder, card.feature_dim, card.f0_median_hz) == ("contentvec-768", 768, None)
    assert card.about["author"] == "Charles"
    assert "Ada Lovelace_e200_s4000.pth, sha256 " in card.source
    written = {path.name for path in store.folder(card.name).iterdir()}
    assert {*card.files, "voice.json"} == written > {"prior.onnx", "decoder.onnx"}
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [path.name for path in (store.home / "voices").iterdir()] == ["ada-lovelace"]


@pytest.mark.parametrize("name", ["Grace.onnx", "Grace.pth"])
def test_somebody_elses_export_becomes_a_voice_whatever_it_is_called(
    store: Store, files: Path, tmp_path: Path, name: str
) -> None:
    stranger = Stranger(speakers=2, dim=256)
    stranger.save(tmp_path / name)
    (index,) = files.glob("*Old*")
    card = import_voice([tmp_path / name], index=index, store=store)
    assert (card.name, card.kind, card.rvc_version) == ("grace", "blackbox", "v1")
    assert (card.sample_rate, card.feature_dim) == (100 * stranger.hop, 256)
    assert card.speakers == ("speaker 0", "speaker 1")
    assert (card.encoder, set(card.files)) == ("contentvec-256", {"synth.onnx", INDEX})


def test_the_command_says_what_was_added_and_what_is_missing(
    tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMBRAL_HOME", str(tmp_path / "home"))
    run = CliRunner().invoke
    (index,) = files.glob("added*Ada*")
    told = run(app, ["voices", "add", str(ada(files)), "--index", str(index), "--name", "ada"])
    assert told.exit_code == 0
    assert "Added ada: RVC v2, 40000 Hz, with an index, encoder contentvec-768." in told.stdout
    assert "timbral models pull contentvec-768" in told.stdout
    assert isinstance(run(app, ["voices", "add", str(index)]).exception, ConfigError)
    assert Store(tmp_path / "home").names() == [*STARTERS, "ada"]


def test_the_index_is_taken_from_the_archive_or_as_told(
    store: Store, files: Path, tmp_path: Path
) -> None:
    (own,) = files.glob("added*Ada*")
    whole = zipped(tmp_path / "model.zip", ada(files), *files.glob("*.index"))
    assert INDEX in import_voice([whole], store=store, name="all").files
    folder = shutil.copytree(files, tmp_path / "folder")
    assert INDEX in import_voice([folder], store=store, name="folder").files
    given = import_voice([ada(files)], index=own, store=store, name="told")
    assert (store.folder("told") / INDEX).read_bytes() == own.read_bytes()
    assert given.files[INDEX] == store.card("all").files[INDEX]
    beside = import_voice([ada(files), own], store=store, name="beside")
    assert INDEX in beside.files


def test_an_index_that_does_not_fit_is_named(store: Store, files: Path) -> None:
    for kind, said in (
        ("*Old*", "256 columns and belong to an RVC v1 voice"),
        ("trained*", "added_"),
    ):
        (index,) = files.glob(kind)
        with pytest.raises(BadCheckpoint, match=said):
            import_voice([ada(files)], index=index, store=store)
    assert nothing_left(store)


def test_of_two_indices_the_one_with_the_voices_name_is_taken(
    store: Store, files: Path, tmp_path: Path
) -> None:
    (own,) = files.glob("added*Ada*")
    members = [tmp_path / "ada lovelace.pth", own]
    shutil.copy(ada(files), members[0])
    other, unclear = tmp_path / "added_Somebody.index", tmp_path / "ada_lovelace_2.index"
    shutil.copy(own, other)
    assert INDEX in import_voice([*members, other], store=store, name="one").files
    shutil.copy(own, unclear)
    with pytest.raises(ConfigError, match="--index"):
        import_voice([*members, unclear], store=store, name="two")


def test_a_voice_is_named_after_its_file_or_what_it_came_in(
    store: Store, files: Path, tmp_path: Path
) -> None:
    shutil.copy(ada(files), tmp_path / "model.pth")
    path = zipped(tmp_path / "Grace (v2).zip", tmp_path / "model.pth")
    assert import_voice([path], store=store).name == "grace-v2"
    shutil.copy(ada(files), tmp_path / "声.pth")
    assert import_voice([tmp_path / "声.pth"], store=store).name == "voice"
    assert voice_name("My__Voice!!_e300") == "my__voice"
    assert voice_name("x" * 100) == "x" * 64


@pytest.mark.parametrize("name", ["Ada", "", "../x", "a" * 65, "-a", "starter"])
def test_a_name_that_is_none_or_taken_is_refused_first(store: Store, name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        import_voice([Path("nowhere.pth")], name=name, store=store)


def test_a_voice_of_that_name_is_not_replaced(store: Store, files: Path) -> None:
    before = import_voice([ada(files)], store=store)
    with pytest.raises(ConfigError, match="voices remove ada-lovelace"):
        import_voice([ada(files)], store=store)
    assert store.card("ada-lovelace") == before


def test_a_bundle_is_added_from_a_folder_and_from_a_zip(
    store: Store, files: Path, tmp_path: Path
) -> None:
    import_voice([ada(files)], store=store, name="ada")
    bundle = store.folder("ada")
    other = Store(tmp_path / "other")
    assert import_voice([bundle], store=other) == store.card("ada")
    third = Store(tmp_path / "third")
    path = zipped(tmp_path / "ada.zip", *bundle.iterdir())
    assert import_voice([path], store=third) == store.card("ada")
    with pytest.raises(ConfigError, match="add it alone"):
        import_voice([bundle], store=Store(tmp_path / "fourth"), name="eve")
    with_index = import_voice([ada(files)], index=index(files, "Ada"), store=store, name="eve")
    spoilt = shutil.copytree(store.folder("eve"), tmp_path / "spoilt")
    (spoilt / INDEX).write_bytes((spoilt / INDEX).read_bytes()[:-8])
    assert INDEX in with_index.files
    with pytest.raises(BadCheckpoint, match="cut short"):
        import_voice([spoilt], store=third)
    broken = shutil.copytree(bundle, tmp_path / "broken")
    (broken / "prior.onnx").write_bytes(b"altered")
    with pytest.raises(BadBundle, match="altered"):
        import_voice([broken], store=Store(tmp_path / "fifth"))


def spoil(path: Path, files: Path, how: Callable[[bytes], bytes]) -> Path:
    path.write_bytes(how(ada(files).read_bytes()))
    return path


def not_finite(folder: Path) -> Path:
    held = rvc_file(narrow=NARROW)
    held["weight"]["dec.cond.bias"][3] = torch.nan
    return save_pth(folder / "nan.pth", held)


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit",)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda at, files: spoil(at / "cut.pth", files, lambda d: d[: len(d) // 2]), BadCheckpoint),
        (lambda at, files: spoil(at / "renamed.zip", files, lambda d: b"RIFF" + d), BadCheckpoint),
        (lambda at, files: not_finite(at), BadCheckpoint),
        (
            lambda at, files: save_pth(at / "wrong.pth", {"weight": {"a": torch.ones(2)}}),
            BadCheckpoint,
        ),
        (lambda at, files: save_pth(at / "evil.pth", {"weight": Trap()}), HostileFile),
        (lambda at, files: at / "nowhere.pth", BadCheckpoint),
        (lambda at, files: at, BadCheckpoint),
        (lambda at, files: next(files.glob("*.index")), ConfigError),
        (lambda at, files: zipped(at / "a.zip", next(files.glob("*.index"))), BadCheckpoint),
    ],
)
def test_a_bad_file_leaves_nothing_behind(
    store: Store,
    files: Path,
    tmp_path: Path,
    make: Callable[[Path, Path], Path],
    error: type[TimbralError],
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path = make(folder, files)
    with pytest.raises(error):
        import_voice([path], store=store)
    assert nothing_left(store)
    assert store.names() == [*STARTERS]


def test_several_voices_are_told_and_what_is_none_is_passed_over(
    store: Store, files: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(ada(files), folder / "a.pth")
    save_pth(folder / "D_2333.pth", {"model": {"discriminators.0.a": torch.ones(2)}})
    assert import_voice([folder], store=store).name == "a"
    shutil.copy(ada(files), folder / "b.pth")
    with pytest.raises(ConfigError, match=r"2 voices \(a.pth, b.pth\)"):
        import_voice([folder], store=store, name="c")


def test_a_failure_while_writing_leaves_nothing_behind(
    store: Store, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("stream.importer.voices.nsf.write", full)
    with pytest.raises(VoiceError, match=r"No space left on device.*TIMBRAL_HOME"):
        import_voice([ada(files)], store=store)
    assert nothing_left(store)


def test_what_a_killed_import_left_is_swept_after_a_day(store: Store, files: Path) -> None:
    old, new = (store.home / "voices" / f".import-{age}" for age in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
    day_ago = time.time() - 90_000
    os.utime(old, (day_ago, day_ago))
    import_voice([ada(files)], store=store)
    assert (old.exists(), new.exists()) == (False, True)


def test_what_the_voice_still_needs_is_told(store: Store, files: Path) -> None:
    card = import_voice([ada(files)], store=store)
    assert "timbral models pull contentvec-768" in advice(card, store)
    (store.home / "models" / "contentvec-768").mkdir(parents=True)
    assert advice(card, store) == ""


@pytest.mark.slow
def test_a_full_size_voice_is_imported_within_five_seconds(store: Store, tmp_path: Path) -> None:
    path = save_pth(tmp_path / "ada.pth", rvc_file(speakers=109))
    began = time.process_time()
    card = import_voice([path], store=store)
    assert time.process_time() - began < 5.0
    assert len(card.speakers) == 109
