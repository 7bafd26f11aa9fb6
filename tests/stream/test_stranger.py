"""The engine's laws on voices that others exported as ONNX, from the file to the sound."""

from pathlib import Path

import numpy as np
import pytest
from random_encoder import NARROW, random_encoder
from strangers import Exporter, Stranger

from stream.audio import Audio
from stream.controls import Controls
from stream.device import CPU
from stream.engine import Conversion
from stream.errors import AssetMissing, BadCheckpoint
from stream.importer.voices import import_voice
from stream.models.blackbox import BlackBox
from stream.models.store import Store
from stream.models.voice import Voice
from stream.profiles import WINDOWED, Profile

LOW = WINDOWED["low"]
SECOND = 16_000
PLAIN = Controls(auto_pitch=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("home"))
    random_encoder(store.home, f"contentvec-{NARROW.dim}", NARROW)
    return store


def voice_of(store: Store, exporter: Exporter, *, f0: bool = True) -> Voice:
    name = f"{exporter} {'with' if f0 else 'without'} pitch".lower().replace(" ", "-")
    if name not in store.names():
        path = store.home / f"{name}.onnx"
        Stranger(exporter, dim=NARROW.dim, hop=320, f0=f0).save(path)
        import_voice([path], store=store)
    return store.load(name, CPU)


@pytest.fixture(scope="module")
def voice(store: Store) -> Voice:
    return voice_of(store, "w-okada")


def run(conversion: Conversion, x: Audio) -> Audio:
    return np.concatenate([conversion.step(x), conversion.flush()])


@pytest.mark.parametrize("exporter", ["w-okada", "deiteris", "RVC WebUI", "obs-rvc"])
def test_a_file_from_anywhere_speaks(store: Store, speech: Audio, exporter: Exporter) -> None:
    voice = voice_of(store, exporter)
    assert voice.card.kind == "blackbox"
    assert isinstance(voice.synth, BlackBox)
    assert len(voice.card.speakers) == (1 if exporter == "obs-rvc" else 3)
    out = run(Conversion(voice, SECOND, profile=LOW), speech[: 2 * SECOND])
    assert out.std() > 0.01
    assert np.isfinite(out).all()


def test_a_voice_without_pitch_speaks(store: Store, speech: Audio) -> None:
    voice = voice_of(store, "w-okada", f0=False)
    assert not voice.card.f0
    assert run(Conversion(voice, SECOND, profile=LOW), speech[: 2 * SECOND]).std() > 0.01


@pytest.mark.parametrize("length", [0, 1, 63, 640, 4_000])
def test_samples_out_are_samples_in(voice: Voice, speech: Audio, length: int) -> None:
    conversion = Conversion(voice, SECOND, profile=LOW)
    for _ in range(2):
        assert len(run(conversion, speech[SECOND : SECOND + length])) == length


def test_cutting_the_input_does_not_change_a_bit(voice: Voice, speech: Audio) -> None:
    x = speech[: SECOND + 77]
    conversion = Conversion(voice, SECOND, profile=LOW)
    pieces = [conversion.step(piece) for piece in np.split(x, [0, 1, 64, 129, 5000, 12_345])]
    cut = np.concatenate([*pieces, conversion.flush()])
    np.testing.assert_array_equal(cut, run(Conversion(voice, SECOND, profile=LOW), x))


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
@pytest.mark.parametrize("profile", WINDOWED.values(), ids=WINDOWED.keys())
def test_latency_is_what_is_declared(voice: Voice, rate: int, profile: Profile) -> None:
    conversion = Conversion(voice, rate, profile=profile)
    grain = conversion.hop // 4
    lags: list[int] = []
    fed = given = 0
    for _ in range(20):
        given += len(conversion.step(np.zeros(grain, np.float32)))
        fed += grain
        lags.append(fed - given)
    assert max(lags) == pytest.approx(conversion.latency, abs=grain)


def test_after_silence_nothing_of_what_was_said_before_is_left(voice: Voice, speech: Audio) -> None:
    first, second = speech[: 2 * SECOND].copy(), speech[: 2 * SECOND].copy()
    first[: SECOND // 2] *= 0.3
    for x in (first, second):
        x[SECOND // 2 : SECOND * 3 // 2] = 0.0
    out = [run(Conversion(voice, SECOND, profile=LOW, controls=PLAIN), x) for x in (first, second)]
    closed, opened = SECOND // 2 + SECOND * 4 // 10, SECOND * 3 // 2 - 1600
    for sound in out:
        np.testing.assert_array_equal(sound[closed:opened], 0.0)
    assert np.abs(out[0][: SECOND // 2] - out[1][: SECOND // 2]).max() > 0.0
    np.testing.assert_array_equal(out[0][opened:], out[1][opened:])
    assert out[0][opened:].std() > 0.01


@pytest.mark.slow
def test_a_hum_goes_on_without_a_seam_whatever_the_hop(voice: Voice) -> None:
    t = np.arange(3 * SECOND) / SECOND
    hum = sum(np.sin(2 * np.pi * 150 * k * t) / k for k in range(1, 12))
    x = (0.1 * np.asarray(hum)).astype(np.float32)
    for profile in (WINDOWED["low"], WINDOWED["quality"]):
        out = run(Conversion(voice, SECOND, profile=profile, controls=PLAIN), x)[
            SECOND : -SECOND // 4
        ]
        rough = np.abs(np.diff(out.astype(np.float64), 2))
        assert rough.max() < 2.5 * np.percentile(rough, 99)


def test_what_is_refused_leaves_nothing_behind(store: Store, tmp_path: Path) -> None:
    before = store.names()
    path = Stranger(length=200, dim=NARROW.dim).save(tmp_path / "fixed.onnx")
    with pytest.raises(BadCheckpoint, match="dynamic axes"):
        import_voice([path], store=store)
    assert store.names() == before
    assert not [p for p in (store.home / "voices").iterdir() if p.name.startswith(".")]


def test_a_voice_whose_encoder_is_missing_says_how_to_get_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "home")
    import_voice([Stranger().save(tmp_path / "ada.onnx")], store=store)
    with pytest.raises(AssetMissing, match="timbral models pull contentvec-768"):
        store.load("ada", CPU)
