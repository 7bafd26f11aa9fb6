"""From weights to an installed voice, and to files for other programs."""

import json
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from random_encoder import random_encoder  # noqa: E402
from reference import folded, modules, network, shape_of  # noqa: E402

from offline.judge.scores import Scores  # noqa: E402
from offline.train import result  # noqa: E402
from offline.train.classic import config, write_classic  # noqa: E402
from offline.train.eight_bit import to_eight_bit  # noqa: E402
from offline.train.parity import WORST_EXPORT_DB, WORST_STREAM_DB, Parity, check, compare  # noqa: E402
from offline.train.result import install  # noqa: E402
from offline.train.story import curve  # noqa: E402
from offline.train.synth import Synthesizer, SynthShape  # noqa: E402
from offline.train.warm import scale_in  # noqa: E402
from offline.train.work import Work  # noqa: E402
from stream.audio import Audio  # noqa: E402
from stream.errors import BadExport, ConfigError  # noqa: E402
from stream.importer.graphs.builder import Graph  # noqa: E402
from stream.importer.graphs.hubert import HubertShape  # noqa: E402
from stream.importer.indices import inspect_index  # noqa: E402
from stream.importer.recognise import recognise  # noqa: E402
from stream.importer.tensors import read_tensors  # noqa: E402
from stream.importer.voices import import_voice  # noqa: E402
from stream.models.index import RetrievalIndex  # noqa: E402
from stream.models.store import Store  # noqa: E402
from stream.models.synth import Speaker  # noqa: E402
from stream.models.voice import INDEX, PREVIEW, SYNTH  # noqa: E402

CONSENT = "Ada agreed <b>in writing</b> | on Monday."
TINY = SynthShape(
    hidden=32, filter=48, layers=1, flow_hidden=32, flow_layers=1, decoder=48, decoder_layers=1
)
EAR = HubertShape(channels=32, width=768, heads=4, inner=96, layers=1, reach=16, groups=4, dim=768)
SCORES = Scores(
    clips=1,
    seconds=2.0,
    mel_db=6.0,
    mcd_db=5.0,
    f0_correlation=0.9,
    f0_cents=20.0,
    voicing_error=0.1,
)


@dataclass(frozen=True)
class Example:
    audio: Audio
    features: Audio
    f0: Audio


@dataclass(frozen=True)
class Clip:
    """A gliding buzz, with features of its own."""

    seed: int
    rate: int
    dim: int
    seconds: float = 1.2

    def load(self) -> Example:
        frames = int(50 * self.seconds)
        draw = np.random.default_rng(self.seed)
        features = draw.normal(size=(frames, self.dim)).astype(np.float32)
        f0 = np.linspace(120.0, 180.0, 2 * frames).astype(np.float32)
        f0[-20:-10] = 0.0
        phase = 2 * np.pi * np.cumsum(np.repeat(f0, self.rate // 100) / self.rate)
        sound = np.sum([np.cos(k * phase) / k for k in range(1, 9)], axis=0) * 0.05
        return Example(sound.astype(np.float32), np.repeat(features, 2, axis=0), f0)


def described(rate: int, dim: int) -> dict[str, Any]:
    return {
        "training": tuple(Clip(seed, rate, dim) for seed in range(3)),
        "held_out": (Clip(9, rate, dim),),
        "facts": {
            "training_minutes": 0.12,
            "held_out_minutes": 0.04,
            "speakers": ["ada"],
            "recordings": [{"file": "one_take.wav", "sha256": "12ab" * 16}],
            "refused": [{"file": "bad.wav", "why": "/home/ada/takes/bad.wav is damaged"}],
            "remarks": ["short"],
            "key": "key-of-data",
        },
        "history": {100: replace(SCORES, mel_db=9.0), 200: SCORES},
        "recipe": "recipe-hash",
        "step": 200,
        "speakers": ("ada",),
    }


@pytest.fixture(scope="module")
def narrow() -> Work:
    torch.manual_seed(1)
    torch.set_num_threads(1)
    synth = Synthesizer(TINY)
    with torch.no_grad():
        synth.enc_p.proj.weight.normal_(0.0, 0.05)
    weights = {name: value.numpy() for name, value in synth.state_dict().items()}
    return Work(
        family="narrow",
        shape=TINY,
        weights=weights,
        scale=(np.full(80, -5.0, np.float32), np.ones(80, np.float32)),
        encoder="student-256",
        **described(24_000, 256),
    )


@pytest.fixture(scope="module")
def rvc() -> Work:
    torch.set_num_threads(1)
    shape = shape_of("v2", 40_000, narrow=True, speakers=1)
    return Work(
        family="rvc",
        shape=shape,
        weights=folded(network(shape), shape).weights,
        scale=None,
        encoder="contentvec-768",
        **described(40_000, 768),
    )


def finished(work: Work, home: Path, **others: Any) -> Any:
    said: dict[str, Any] = {"name": "ada", "consent": CONSENT, "licence": "CC0-1.0"}
    return install(work, store=Store(home, threads=1), **{**said, **others})


@pytest.fixture(scope="module")
def home(narrow: Work, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the narrow voice in it."""
    home = tmp_path_factory.mktemp("home")
    finished(narrow, home)
    return home


def test_a_narrow_voice_is_installed_whole_and_speaks(home: Path, narrow: Work) -> None:
    store = Store(home, threads=1)
    voice = store.load("ada")
    card = voice.card
    assert set(card.files) == {SYNTH, INDEX, PREVIEW, "card.md"}
    assert (card.kind, card.sample_rate, card.encoder) == ("student", 24_000, "student-256")
    assert card.f0_median_hz == pytest.approx(149.0, abs=3.0)
    assert card.about["recipe"] == "recipe-hash"
    assert voice.index is not None
    assert scale_in(home / "voices/ada" / SYNTH) is not None
    said = voice.synth.open(0, 0).step(*spoken(narrow), 0, 0, Speaker())
    assert np.abs(said).max() > 0.0
    assert not list((home / "voices").glob(".*"))


def spoken(work: Work) -> tuple[Audio, Audio]:
    clip = work.held_out[0].load()
    return clip.features, clip.f0


def test_the_card_tells_data_worth_and_recipe_and_takes_no_markup(home: Path) -> None:
    text = (home / "voices/ada/card.md").read_text("utf-8")
    assert "Ada agreed &lt;b&gt;in writing&lt;/b&gt; \\| on Monday." in text
    for told in ("0.1 minutes of 1 recordings", "one\\_take.wav (sha256 12ab12ab12ab12ab)"):
        assert told in text
    for told in ("bad.wav: bad.wav is damaged", "step 200", "as installed, live", "recipe-hash"):
        assert told in text
    assert "key-of-data" in text
    assert "timbral models pull speaker-ge2e" in text
    assert "ONNX Runtime equals torch to -" in text
    assert "8-bit weights are -" in text
    assert curve([SCORES.value + 1.0, SCORES.value]) in text


@pytest.mark.slow
def test_an_rvc_voice_is_installed_and_its_graphs_equal_the_network(
    rvc: Work, tmp_path: Path
) -> None:
    random_encoder(tmp_path, "contentvec-768", shape=EAR)
    card = finished(rvc, tmp_path)
    assert (card.kind, card.rvc_version, card.late > 0) == ("nsf", "v2", True)
    assert "equals torch to -" in card.about["parity"]
    assert Store(tmp_path, threads=1).load("ada").synth.whole_hops


class Wrong:
    """Says what `speech` says, spoilt."""

    delay_frames = 0

    def __init__(self, *, every: int, by: float) -> None:
        self._every, self._by = every, by

    def open(self, seed: int, context: int) -> "Wrong":
        return self

    def step(
        self, features: Audio, f0: Audio, ahead: int, first_frame: int, speaker: Speaker
    ) -> Audio:
        said = features[: len(f0) - ahead, 0].copy()
        if self._every and len(said) >= self._every:
            said *= 1.0 + self._by
        return said


@pytest.mark.parametrize(
    ("every", "by", "fits"),
    [(0, 0.0, True), (1, 0.009, True), (1, 0.02, False), (5, 0.005, False), (5, 1e-4, True)],
)
def test_a_voice_that_says_something_else_is_refused(every: int, by: float, fits: bool) -> None:
    features = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    f0 = np.full(100, 100.0, np.float32)
    found = compare(Wrong(every=every, by=by), lambda x, f, seed: x[:, 0], features, f0, 1)
    if fits:
        assert check(found) is found
    else:
        with pytest.raises(BadExport, match="was not installed"):
            check(found)


def test_silence_and_numbers_that_are_none_do_not_pass() -> None:
    for value in (float("nan"), float("inf")):
        with pytest.raises(BadExport):
            check(Parity(value, WORST_STREAM_DB - 1))
        with pytest.raises(BadExport):
            check(Parity(WORST_EXPORT_DB - 1, value))
        with pytest.raises(BadExport):
            check(Parity(WORST_EXPORT_DB - 1, WORST_STREAM_DB - 1, value))


def test_nothing_is_installed_and_the_old_voice_stays_when_the_comparison_fails(
    home: Path, narrow: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(p.name for p in (home / "voices").rglob("*"))
    card = Store(home).card("ada")

    def exported(work: Work, folder: Path, f0_hz: Any) -> Mapping[str, int]:
        (folder / SYNTH).write_bytes(b"another graph")
        return {"latent": 80, "late": 0}

    monkeypatch.setattr(result, "_export", exported)
    monkeypatch.setattr(result, "_compared", lambda *_: Parity(-3.0, -90.0))
    with pytest.raises(BadExport, match=r"-3\.0 dB apart"):
        finished(narrow, home, replace=True)
    assert sorted(p.name for p in (home / "voices").rglob("*")) == before
    assert Store(home).card("ada") == card


@pytest.mark.parametrize("name", ["Ada", "", "starter", "a/b"])
def test_a_name_that_is_none_is_refused_before_anything_is_done(
    home: Path, narrow: Work, name: str
) -> None:
    with pytest.raises(ConfigError, match="cannot be a voice's name"):
        finished(narrow, home, name=name)
    with pytest.raises(ConfigError, match="is a voice 'ada' already"):
        finished(narrow, home)


def test_recordings_without_any_pitch_are_told(narrow: Work, tmp_path: Path) -> None:
    silent = Example(*(np.zeros(s, np.float32) for s in ((480,), (2, 256), (2,))))

    class Still:
        seconds = 1.0

        def load(self) -> Example:
            return silent

    with pytest.raises(ConfigError, match="No pitch"):
        finished(replace(narrow, training=(Still(),)), tmp_path)


def test_classic_files_come_back_through_the_importer(rvc: Work, tmp_path: Path) -> None:
    made = write_classic(rvc, tmp_path / "out", name="ada")
    found = recognise(read_tensors(made.pth))
    assert found.shape == rvc.shape
    assert found.embedder == "contentvec-768"
    assert found.f0_median_hz == pytest.approx(149.0, abs=3.0)
    for name, value in rvc.weights.items():
        assert np.allclose(found.weights[name], value, rtol=4e-3, atol=1e-3), name
    assert inspect_index(made.index).dim == 768
    store = Store(tmp_path / "home")
    card = import_voice([made.pth], store=store, name="again", index=made.index)
    assert card.speakers == ("ada",)
    assert RetrievalIndex(store.folder("again") / INDEX, 768)


def test_rvcs_own_loader_takes_the_classic_file(rvc: Work, tmp_path: Path) -> None:
    """What infer_rvc_python does with a .pth, with `weights_only`."""
    made = write_classic(rvc, tmp_path, name="ada")
    held: Mapping[str, Any] = torch.load(made.pth, map_location="cpu", weights_only=True)
    assert len(held["config"]) == 18
    settings = list(held["config"])
    settings[-3] = held["weight"]["emb_g.weight"].shape[0]
    assert (held["f0"], held["version"], held["sr"], settings[-1]) == (1, "v2", "40k", 40_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its age shows
        net: Any = modules("infer_pack.models").SynthesizerTrnMs768NSFsid(*settings, is_half=False)
    del net.enc_q
    missing = net.load_state_dict(held["weight"], strict=False)
    assert not missing.missing_keys
    assert not missing.unexpected_keys
    again = folded(net.float(), shape_of("v2", 40_000, narrow=True, speakers=1)).weights
    for name, value in rvc.weights.items():
        assert np.allclose(again[name], value, rtol=4e-3, atol=1e-3), name


@pytest.mark.parametrize(("rate", "bins"), [(32_000, 513), (40_000, 1025), (48_000, 1025)])
def test_the_settings_are_rvcs_eighteen(rate: int, bins: int) -> None:
    settings = config(shape_of("v2", rate))
    assert settings[0] == bins
    assert settings[15:] == [3, 256, rate]
    assert json.loads(json.dumps(settings)) == settings


def test_making_eight_bits_says_nothing_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    graph = Graph("product")
    y = graph.linear(graph.input("x", (1, "t", 64)), np.ones((64, 64), np.float32))
    graph.output(y, "y", (1, "t", 64))
    caplog.set_level(logging.INFO)
    assert to_eight_bit(graph.model()).graph.node[0].op_type == "MatMulNBits"
    assert not caplog.records
    assert not logging.root.manager.disable


def test_a_narrow_voice_has_no_classic_form(narrow: Work, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rvc family"):
        write_classic(narrow, tmp_path, name="ada")
