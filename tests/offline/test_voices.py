"""Voices mixed, compared and looked into."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner

from offline.voices.analysis import analyse
from offline.voices.blend import Part, added, blend, formula, weighted
from offline.voices.compare import compare
from stream.errors import ConfigError, VoiceNotFound
from stream.files import SoundFile
from stream.importer.indices import inspect_index
from stream.importer.mixture import read_weights
from stream.models.digest import sha256
from stream.models.store import PACKAGE, Store
from stream.models.synth import Speaker
from stream.models.voice import CARD, INDEX, PREVIEW, SYNTH
from timbral import app

STARTER = PACKAGE / "starter"


def edit(folder: Path, **changes: Any) -> None:
    """Change a card, and list the files as they are."""
    card = json.loads((folder / CARD).read_text("utf-8"))
    files = {p.name: sha256(p) for p in sorted(folder.iterdir()) if p.name != CARD}
    (folder / CARD).write_text(json.dumps({**card, **changes, "files": files}), "utf-8")


def sister(home: Path, name: str, seed: int, *, preview: bool = True) -> Path:
    """A voice like the starter with other numbers, half a second of preview and 100 rows."""
    import faiss

    folder = home / "voices" / name
    shutil.copytree(STARTER, folder)
    model = onnx.load(str(folder / SYNTH))
    draw = np.random.default_rng(seed)
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype.kind == "f" and value.size > 1:
            other = value * (1.0 + 0.05 * draw.normal(size=value.shape))
            tensor.CopyFrom(numpy_helper.from_array(other.astype(value.dtype), tensor.name))
    onnx.save(model, str(folder / SYNTH))
    index: Any = faiss.IndexFlatL2(256)
    index.add(np.full((100, 256), float(seed), np.float32))
    faiss.write_index(index, str(folder / INDEX))
    if preview:
        from stream.files import writing

        sound = SoundFile(STARTER / PREVIEW)
        with writing(folder / PREVIEW, sound.rate) as file:
            file.write(sound.read()[: sound.rate])
    else:
        (folder / PREVIEW).unlink()
    edit(folder, name=name, licence=f"licence of {name}", f0_median_hz=100.0 * 2**seed)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    sister(home, "ada", 0)
    sister(home, "bob", 1)
    sister(home, "mute", 2, preview=False)
    return home


@pytest.fixture
def store(home: Path, tmp_path: Path) -> Store:
    shutil.copytree(home, tmp_path / "home", symlinks=True)
    return Store(tmp_path / "home", threads=1)


def numbers(store: Store, name: str) -> Any:
    held = read_weights(store.folder(name) / SYNTH).values
    return np.concatenate([value.ravel() for value in held.values()])


def test_a_weighted_sum_is_a_voice_that_speaks_and_names_its_parents(store: Store) -> None:
    card = blend(weighted(["ada", "bob"], [3, 1]), "both", store)
    wanted = 0.75 * numbers(store, "ada") + 0.25 * numbers(store, "bob")
    apart = numbers(store, "both") - wanted
    assert np.linalg.norm(apart) < 0.01 * np.linalg.norm(wanted)
    assert card.f0_median_hz == pytest.approx(100.0 * 2**0.25)
    assert card.about["parents"] == "0.75 ada + 0.25 bob"
    assert card.licence == "ada: licence of ada; bob: licence of bob"
    assert card.consent == store.card("starter").consent
    text = (store.folder("both") / "card.md").read_text("utf-8")
    assert "licence of bob" in text
    voice = Store(store.home).load("both")
    sound = voice.synth.open(0, 0).step(
        np.zeros((20, 256), np.float32), np.full(20, 120.0, np.float32), 0, 0, Speaker()
    )
    assert 0.0 < np.abs(sound).max() < 2.0
    assert set(voice.card.files) == {SYNTH, INDEX, PREVIEW, "card.md"}
    assert np.abs(SoundFile(store.folder("both") / PREVIEW).read()).max() > 1e-3


def test_the_index_holds_rows_of_both_as_their_shares_say(store: Store) -> None:
    blend(weighted(["ada", "mute"], [3, 1]), "both", store)
    import faiss

    path = store.folder("both") / INDEX
    rows = inspect_index(path).rows
    index: Any = faiss.read_index(str(path))
    values = index.reconstruct_n(0, rows)[:, 0]
    assert rows == 133
    assert (np.sum(values == 0.0), np.sum(values == 2.0)) == (100, 33)


def test_a_difference_leads_from_one_voice_to_another(store: Store) -> None:
    card = blend(added("ada", "bob", "ada"), "led", store)
    wanted = numbers(store, "bob")
    assert np.linalg.norm(numbers(store, "led") - wanted) < 0.02 * np.linalg.norm(wanted)
    assert card.f0_median_hz == pytest.approx(200.0)
    assert card.about["parents"] == "1 ada + 1 bob - 1 ada"


def test_full_size_voices_of_one_shape_are_mixed_without_their_encoder(store: Store) -> None:
    pytest.importorskip("torch")
    from reference import folded, network, shape_of

    from stream.importer.graphs.nsf import write
    from stream.models.nsf import DECODER, PRIOR

    shape = replace(shape_of("v2", 40_000, narrow=True), layers=1, filter=64)
    for seed, name in ((1, "one"), (2, "two")):
        folder = store.home / "voices" / name
        folder.mkdir()
        write(folded(network(shape, seed), shape), folder)
        shutil.copyfile(STARTER / CARD, folder / CARD)
        edit(
            folder,
            name=name,
            kind="nsf",
            rvc_version="v2",
            sample_rate=40_000,
            encoder="contentvec-768",
            feature_dim=768,
            latent=192,
            late=500,
        )
    card = blend(weighted(["one", "two"], [1, 1]), "half", store)
    assert set(card.files) == {PRIOR, DECODER, "prior.bin", "decoder.bin", "card.md"}
    for graph in (PRIOR, DECODER):
        a, b, c = (
            read_weights(store.folder(name) / graph).values for name in ("one", "two", "half")
        )
        for place, value in c.items():
            if place in a and place in b:
                assert np.allclose(value, 0.5 * (a[place] + b[place]), atol=1e-6)
    likeness = compare("one", "half", store)
    assert 0.3 < likeness.weights[PRIOR] < 0.99
    with pytest.raises(ConfigError, match="their kind differs"):
        blend(weighted(["one", "ada"], None), "never", store)


def test_what_does_not_fit_is_refused_and_nothing_is_left(store: Store) -> None:
    before = sorted(p.name for p in (store.home / "voices").iterdir())
    edit(store.folder("bob"), sample_rate=16_000)
    for parts, name, why in (
        (weighted(["ada", "bob"], None), "x", "their sample_rate differs"),
        (weighted(["ada", "ada"], None), "x", "two different voices"),
        (weighted(["ada", "mute"], None), "bob", "is a voice 'bob' already"),
        (weighted(["ada", "mute"], None), "X!", "cannot be a voice's name"),
    ):
        with pytest.raises(ConfigError, match=why):
            blend(parts, name, store)
    with pytest.raises(VoiceNotFound):
        blend(weighted(["ada", "nobody"], None), "x", store)
    assert sorted(p.name for p in (store.home / "voices").iterdir()) == before


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], [-1.0, 2.0], [float("nan"), 1.0]])
def test_weights_that_make_no_sum_are_refused(weights: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"[Ww]eights"):
        weighted(["a", "b"], weights)


def test_shares_sum_to_one_and_are_told() -> None:
    parts = weighted(["a", "b", "c"], [2, 1, 1])
    assert sum(part.share for part in parts) == pytest.approx(1.0)
    assert formula(parts) == "0.5 a + 0.25 b + 0.25 c"
    assert formula([Part("a", -1.0), Part("b", 2.0)]) == "-1 a + 2 b"
    assert sum(part.share for part in added("a", "b", "c", 0.3)) == pytest.approx(1.0)
    with pytest.raises(ConfigError, match="--amount"):
        added("a", "b", "c", 9.0)


def test_a_voice_is_the_same_as_itself_and_akin_to_its_sister(store: Store) -> None:
    same = compare("ada", "ada", store)
    assert same.weights[SYNTH] == pytest.approx(1.0)
    assert same.semitones == 0.0
    assert "weights the same (1.0000)" in "\n".join(same.told)
    sisters = compare("ada", "bob", store)
    assert 0.9 < sisters.weights[SYNTH] < 0.9999
    assert sisters.semitones == pytest.approx(12.0)
    assert sisters.speaker is None
    assert sisters.apart["licence"] == ("licence of ada", "licence of bob")
    assert any("timbral models pull speaker-ge2e" in text for text in sisters.missing)


def test_speakers_are_compared_by_their_previews(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "offline.voices.compare.open_speaker"
    monkeypatch.setattr(module, lambda home: lambda audio: np.array([0.6, 0.8], np.float32))  # pyright: ignore
    assert compare("ada", "bob", store).speaker == pytest.approx(1.0)
    found = compare("ada", "mute", store)
    assert found.speaker is None
    assert any("no preview" in text for text in found.missing)


def test_an_analysis_counts_weights_and_rows(store: Store) -> None:
    found = analyse("ada", store)
    assert found.rows == 100
    assert found.numbers[SYNTH] == read_weights(STARTER / SYNTH).count > 2_000_000
    told = dict(found.told)
    assert told["index"] == "100 rows of 256"
    assert told["licence"] == "licence of ada"
    assert told["preview"] == "yes"


def test_the_verbs_mix_compare_and_tell(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMBRAL_HOME", str(store.home))
    run = CliRunner().invoke
    mixed = run(app, ["voices", "blend", "ada", "mute", "--weights", "0.7", "0.3"])
    assert mixed.exit_code == 0, mixed.output
    assert "Added ada-mute: 0.7 ada + 0.3 mute." in mixed.output
    shown = run(app, ["voices", "info", "ada-mute"])
    assert "0.7 ada + 0.3 mute" in shown.output
    assert "million weights" in shown.output
    alike = run(app, ["voices", "compare", "ada", "ada-mute"])
    assert "of one origin" in alike.output
    for wrong, why in (
        (["ada", "bob", "--weights", "0.7"], "2 voices and 1 weights"),
        (["ada", "bob", "--weights", "x,y"], "are numbers"),
        (["ada", "bob", "--difference"], "takes three voices"),
    ):
        failed = run(app, ["voices", "blend", *wrong])
        assert failed.exit_code == 1
        assert why in str(failed.exception)
