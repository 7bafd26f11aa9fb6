from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strangers import LATENT, Exporter, Stranger

from stream.audio import Audio
from stream.device import CPU
from stream.importer import foreign
from stream.models.blackbox import DELAY, BlackBox
from stream.models.synth import Speaker
from stream.noise import frame_noise
from stream.pitch import coarse

DIM, HOP, SEED = 32, 160, 4
FIRST, AHEAD = 1000, 4  # frames of 10 ms
LATE = 2 * DELAY
WHO = Speaker()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("strangers")


def voice_of(place: Path, exporter: Exporter = "w-okada", **changes: Any) -> BlackBox:
    """A stranger's voice, imported and loaded."""
    folder = place / f"{exporter} {changes}"
    if not folder.is_dir():
        folder.mkdir()
        Stranger(exporter, dim=DIM, hop=HOP, **changes).save(folder / "voice.onnx")
        foreign.write_bundle(foreign.recognise(folder / "voice.onnx"), folder)
    noise = foreign.recognise(folder / "voice.onnx").noise
    return BlackBox(folder / "synth.onnx", dim=DIM, noise=noise, hop=HOP, device=CPU)


def speech(n: int, seed: int = 0) -> tuple[Audio, Audio]:
    """Features [n, DIM] that change slowly, and a gliding pitch [n] in Hz."""
    draw = np.random.default_rng(seed)
    walk = np.cumsum(draw.standard_normal((n, DIM)), axis=0) / 4
    features = np.tanh(walk).astype(np.float32)
    f0 = 150.0 * np.exp(0.2 * np.sin(np.arange(n) / 40.0))
    return features, f0.astype(np.float32)


def said(
    voice: BlackBox,
    features: Audio,
    f0: Audio,
    hops: list[int],
    *,
    speaker: Speaker = WHO,
    context: int = 24,
    ahead: int = AHEAD,
) -> Audio:
    """What it says in hops of so many frames; the features go on for `ahead` frames."""
    stretch, at, parts = voice.open(SEED, context), 0, list[Audio]()
    for hop in hops:
        seen = slice(at, at + hop + ahead)
        part = stretch.step(features[seen], f0[seen], ahead, FIRST + at, speaker)
        assert part.shape == (hop * HOP,)
        parts.append(part)
        at += hop
    return np.concatenate(parts)


def in_one_pass(voice: BlackBox, features: Audio, f0: Audio) -> Audio:
    """The graph's sound of the whole."""
    outputs = voice.model(
        features=features[np.newaxis],
        pitch=coarse(f0)[np.newaxis],
        f0=f0[np.newaxis],
        speaker=np.array([0]),
        skip=np.array([0]),
        noise=frame_noise(SEED, FIRST, len(f0), voice.noise)[np.newaxis],
    )
    return np.asarray(outputs["audio"], np.float32)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("exporter", ["w-okada", "deiteris", "RVC WebUI"])
@pytest.mark.parametrize(("hop", "ahead"), [(2, 4), (10, 8), (16, 4)])
def test_without_an_oscillator_it_says_what_one_pass_says(
    place: Path, exporter: Exporter, named: bool, hop: int, ahead: int
) -> None:
    voice = voice_of(place, exporter, sung=0.0, drawn=0.1, named=named)
    n = 80 - 80 % hop
    features, f0 = speech(n + ahead)
    out = said(voice, features, f0, [hop] * (n // hop), ahead=ahead)
    whole = in_one_pass(voice, features, f0)
    settled = 30  # frames; before them the stretch's first features are its past
    shifted = out[(settled + LATE) * HOP :]
    wanted = whole[settled * HOP :][: len(shifted)]
    assert np.abs(shifted - wanted).max() < 1e-5 * np.abs(wanted).max()


@settings(max_examples=10)
@given(hops=st.lists(st.sampled_from([0, 2, 4, 10, 50, 210]), max_size=4))
def test_as_many_samples_come_out_as_were_asked_for(place: Path, hops: list[int]) -> None:
    features, f0 = speech(sum(hops) + AHEAD)
    for ahead in (0, AHEAD) if hops else ():
        said(voice_of(place), features, f0, hops, ahead=ahead)


def roughness(x: Audio) -> Audio:
    """Second differences, [n - 2]: large where a sound breaks."""
    return np.abs(np.diff(x.astype(np.float64), 2))


@pytest.mark.parametrize("exporter", ["w-okada", "deiteris"])
@pytest.mark.parametrize("hop", [10, 16])
def test_an_oscillator_that_starts_anew_in_every_window_has_no_seam(
    place: Path, exporter: Exporter, hop: int
) -> None:
    voice = voice_of(place, exporter, spoken=0.0, drawn=0.0)
    features, f0 = speech(400 + AHEAD)
    out = said(voice, features, f0, [hop] * (400 // hop))[(hop + 4) * HOP :]
    whole = in_one_pass(voice, features, f0)
    assert roughness(out).max() < 1.15 * roughness(whole[HOP:]).max()
    assert 0.95 < out.std() / whole.std() < 1.05


def test_the_same_windows_laid_end_to_end_do_break(place: Path) -> None:
    voice = voice_of(place, spoken=0.0, drawn=0.0)
    features, f0 = speech(200)
    pieces = [in_one_pass(voice, features[at : at + 15], f0[at : at + 15]) for at in (0, 15, 30)]
    assert roughness(np.concatenate(pieces)).max() > 3.0 * roughness(pieces[0]).max()


def test_the_same_calls_give_the_same_samples(place: Path) -> None:
    features, f0 = speech(60 + AHEAD)
    first = said(voice_of(place), features, f0, [10] * 6)
    np.testing.assert_array_equal(said(voice_of(place), features, f0, [10] * 6), first)


def test_after_a_gap_nothing_of_what_was_before_is_heard(place: Path) -> None:
    voice = voice_of(place)
    stretch = voice.open(SEED, 24)
    loud, f0 = speech(14, seed=1)
    stretch.step(loud, f0, AHEAD, FIRST - 500, WHO)
    features, f0 = speech(20 + AHEAD)
    out = stretch.step(features, f0, AHEAD, FIRST, WHO)
    np.testing.assert_array_equal(out, said(voice, features, f0, [20]))
    assert not out[: LATE * HOP].any()  # before the stretch nobody spoke
    assert out[LATE * HOP :].std() > 0.01


def test_the_speaker_is_the_nearer_of_two(place: Path) -> None:
    voice = voice_of(place)
    features, f0 = speech(20 + AHEAD)

    def of(first: int, second: int = 0, morph: float = 0.0) -> Audio:
        return said(voice, features, f0, [20], speaker=Speaker(first, second, morph))

    assert np.abs(of(0) - of(1)).max() > 0.01
    np.testing.assert_array_equal(of(0, 1, 0.4), of(0))
    np.testing.assert_array_equal(of(0, 1, 0.6), of(1))


@pytest.mark.parametrize("changes", [{"f0": False}, {"half": True}, {"uniform": True}])
def test_voices_without_pitch_in_half_precision_and_with_other_noise_speak(
    place: Path, changes: dict[str, Any]
) -> None:
    features, f0 = speech(40 + AHEAD)
    out = said(voice_of(place, **changes), features, f0, [10] * 4)
    assert np.isfinite(out).all()
    assert out[LATE * HOP :].std() > 0.01


def test_the_context_is_kept_within_what_helps(place: Path) -> None:
    voice = voice_of(place, sung=0.0, spoken=0.0)
    assert voice.noise == LATENT + HOP
    features, f0 = speech(40 + AHEAD)
    wide = said(voice, features, f0, [10] * 4, context=24)
    for context in (0, 12, 100):
        out = said(voice, features, f0, [10] * 4, context=context)
        np.testing.assert_allclose(out, wide, atol=1e-6)
