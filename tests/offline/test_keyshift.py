import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from song import song
from typer.testing import CliRunner

import offline.keyshift
from offline.envelope import Envelope
from offline.keyshift import Shifter, shift
from offline.sound import facts, read
from offline.stage import through
from offline.tags import Tags, put_tags
from stream.audio import Audio
from stream.errors import AudioError, ConfigError
from timbral import app

RATE = 22_050
VOWELS = [(700.0, 1220.0, 2600.0), (300.0, 2300.0, 3000.0), (450.0, 800.0, 2800.0)]  # Hz: a, i, o


def vowel(hz: float, resonances: tuple[float, ...], seconds: float = 1.0) -> Audio:
    """A sung vowel: pulses with vibrato and some breath through resonances, [n, 1]."""
    n = round(seconds * RATE)
    swing = hz * 2 ** (0.3 * np.sin(2 * np.pi * 5 * np.arange(n) / RATE) / 12)
    pulses = np.diff(np.floor(np.cumsum(swing) / RATE), prepend=0.0)
    y = pulses - hz / RATE + 0.003 * np.random.default_rng(0).standard_normal(n)
    y = np.asarray(lfilter([1.0], [1.0, -0.97], y))
    for centre in resonances:
        r = np.exp(-np.pi * 100.0 / RATE)
        y = np.asarray(
            lfilter([1 - r], [1.0, -2 * r * np.cos(2 * np.pi * centre / RATE), r * r], y)
        )
    return (0.1 * y / np.std(y)).astype(np.float32)[:, None]


def shifted(x: Audio, semitones: float, keep: bool = False, rate: int = RATE) -> Audio:
    return np.concatenate(list(through(Shifter(rate, x.shape[1], semitones, keep), [x])))


def harmonics(x: Audio, hz: float) -> Audio:
    """Levels in dB of the multiples of `hz`, up to 6 kHz."""
    frames = np.lib.stride_tricks.sliding_window_view(x[4000:-4000, 0], 4096)[::2048]
    power = np.mean(np.abs(np.fft.rfft(frames * np.hanning(4096))) ** 2, axis=0)
    bins = np.fft.rfftfreq(4096, 1 / RATE)
    around = [np.abs(bins / hz - k) < 0.5 for k in range(1, int(6000 / hz))]
    return np.array([10 * np.log10(power[near].sum()) for near in around])


@pytest.mark.parametrize("semitones", [-5.0, 4.0, 7.0])
def test_a_shifted_voice_keeps_its_vowels_where_that_is_asked_for(semitones: float) -> None:
    ratio = 2 ** (semitones / 12)
    moved: list[float] = []
    kept: list[float] = []
    for resonances in VOWELS:
        x = vowel(150.0, resonances)
        truth = harmonics(vowel(150.0 * ratio, resonances), 150.0 * ratio)
        heard = truth > truth.max() - 50
        for keep, errors in ((False, moved), (True, kept)):
            found = harmonics(shifted(x, semitones, keep), 150.0 * ratio)
            errors.append(float(np.sqrt(np.mean((found - truth)[heard] ** 2))))
    assert np.mean(kept) < 5.0
    assert np.mean(kept) < 0.5 * np.mean(moved)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("semitones", [-7.0, 0.5, 12.0])
def test_the_pitch_moves_by_what_is_asked_for(semitones: float, keep: bool) -> None:
    x = vowel(220.0, VOWELS[0], 1.5)
    y = shifted(x, semitones, keep)
    assert y.shape == x.shape
    wanted = 220.0 * 2 ** (semitones / 12)
    inner = y[5000:-5000, 0]
    spectrum = np.abs(np.fft.rfft(inner * np.hanning(len(inner)), 1 << 17))
    near = np.arange(round(0.9 * wanted / RATE * (1 << 17)), round(1.1 * wanted / RATE * (1 << 17)))
    power = spectrum[near] ** 2
    found = np.sum(power * near) / np.sum(power) * RATE / (1 << 17)
    assert found == pytest.approx(wanted, rel=0.01)
    assert np.std(y) == pytest.approx(np.std(x), rel=0.35)


def test_no_shift_is_the_sound_itself_and_a_click_stays_in_its_place() -> None:
    x = vowel(220.0, VOWELS[0], 0.2)
    assert np.array_equal(shifted(x, 0.0, True), x)
    click = np.zeros((RATE, 2), np.float32)
    click[9000] = 0.5
    for keep in (False, True):
        y = shifted(click, 4.0, keep)
        assert np.argmax(np.abs(y), axis=0) == pytest.approx([9000, 9000], abs=2)


def test_an_envelope_put_back_on_its_own_sound_changes_nothing() -> None:
    x = np.hstack([vowel(180.0, VOWELS[0]), vowel(90.0, VOWELS[1])])
    y = Envelope(RATE, 1.0).put_back(x, x)
    np.testing.assert_allclose(y, x, atol=1e-5)
    louder = Envelope(RATE, 1.0).put_back(x, x * np.float32(0.6))
    np.testing.assert_allclose(louder, x, atol=1e-3)


@settings(max_examples=6)
@given(n=st.sampled_from([1, 63, 64, 65, 1000]), keep=st.booleans())
def test_as_many_samples_come_back_as_went_in(n: int, keep: bool) -> None:
    assert shifted(vowel(220.0, VOWELS[0])[:n], 3.0, keep).shape == (n, 1)


@settings(max_examples=4)
@given(sizes=st.lists(st.sampled_from([0, 1, 63, 64, 65, 9000, 30_000]), min_size=1, max_size=5))
def test_the_same_comes_out_however_the_sound_is_cut(sizes: list[int]) -> None:
    x = vowel(220.0, VOWELS[0], 6.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(offline.keyshift, "PIECE_S", 2.0)
        one = shifted(x, 2.0)
        cuts = np.split(x, np.minimum(np.cumsum(sizes), len(x)))
        pieces = np.concatenate(list(through(Shifter(RATE, 1, 2.0, False), cuts)))
    assert np.array_equal(one, pieces)
    assert len(one) == len(x)


def test_pieces_are_joined_without_a_gap_or_a_click(monkeypatch: pytest.MonkeyPatch) -> None:
    music = song(12.0)
    x = music.voice[: 6 * music.rate]
    whole = shifted(x, 3.0, True, music.rate)
    monkeypatch.setattr(offline.keyshift, "PIECE_S", 2.5)
    joined = shifted(x, 3.0, True, music.rate)
    assert joined.shape == whole.shape == x.shape
    first = round(2.5 * music.rate)
    assert np.array_equal(joined[:first], whole[:first])  # nothing is joined so far
    assert not np.array_equal(joined[first:], whole[first:])

    def levels(y: Audio) -> Audio:
        size = music.rate // 50
        whole_frames = y[: len(y) // size * size].reshape(-1, size * y.shape[1])
        return 10 * np.log10(np.mean(whole_frames**2, axis=1) + 1e-6)

    apart = (levels(joined) - levels(whole))[:-10]  # the cut at the end smears either way
    assert np.max(np.abs(apart)) < 4.0
    steps = [np.max(np.abs(np.diff(y, n=2, axis=0))) for y in (joined, whole)]
    assert steps[0] <= 1.1 * steps[1]


def test_a_chord_without_any_pause_is_joined_smoothly(monkeypatch: pytest.MonkeyPatch) -> None:
    time = np.arange(9 * RATE) / RATE
    notes = [np.sin(2 * np.pi * hz * time + hz) for hz in (220.0, 277.2, 329.6, 440.3, 554.4)]
    x = (0.08 * np.sum(notes, axis=0)).astype(np.float32)[:, None]
    whole = shifted(x, 3.0)
    monkeypatch.setattr(offline.keyshift, "PIECE_S", 2.0)
    joined = shifted(x, 3.0)
    bends = [np.abs(np.diff(y[3000:-3000], n=2, axis=0)).max() for y in (whole, joined)]
    assert bends[1] < 1.1 * bends[0]
    frames = [y[: 9 * RATE].reshape(90, -1)[3:-3] for y in (whole, joined)]
    levels = [10 * np.log10(np.mean(y**2, axis=1)) for y in frames]
    assert levels[1].min() > levels[0].min() - 0.5
    assert levels[1].max() < levels[0].max() + 0.5


@pytest.mark.parametrize("semitones", [-5.0, 4.0, 7.0])
def test_a_high_voice_is_as_loud_as_it_was(semitones: float) -> None:
    for resonances in VOWELS:
        x = vowel(440.0, resonances)
        y = shifted(x, semitones, True)
        change = 20 * np.log10(np.std(y[3000:-3000]) / np.std(x[3000:-3000]))
        assert change == pytest.approx(0.0, abs=0.6)


def test_a_file_is_shifted_with_its_tags(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "raw.flac", vowel(220.0, VOWELS[0], 6.0), RATE)
    source = put_tags(tmp_path / "raw.flac", tmp_path / "in.flac", Tags({"title": "A song"}))
    told: list[tuple[int, int]] = []
    shift(source, tmp_path / "out.flac", 2.0, True, lambda *state: told.append(state))
    after = facts(tmp_path / "out.flac")
    assert (after.frames, after.rate, after.tags.texts["title"]) == (6 * RATE, RATE, "A song")
    assert told[-1] == (6 * RATE, 6 * RATE)
    words = ["shift", str(source), str(tmp_path / "b.flac"), "--semitones", "2", "--keep-formants"]
    run = CliRunner().invoke(app, words)
    assert run.exit_code == 0, run.output
    assert np.array_equal(read(tmp_path / "b.flac").samples, read(tmp_path / "out.flac").samples)


def test_what_cannot_be_done_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "in.wav", vowel(220.0, VOWELS[0], 0.2), RATE)
    with pytest.raises(ConfigError, match="-24 to 24"):
        shift(tmp_path / "in.wav", tmp_path / "out.wav", 25.0)
    with pytest.raises(AudioError, match="No file"):
        shift(tmp_path / "none.wav", tmp_path / "out.wav", 2.0)
    with pytest.raises(ConfigError, match="file to read"):
        shift(tmp_path / "in.wav", tmp_path / "in.wav", 2.0)
    monkeypatch.setitem(sys.modules, "python_stretch", None)
    with pytest.raises(ConfigError, match="pip install python-stretch"):
        shift(tmp_path / "in.wav", tmp_path / "out.wav", 2.0)
    shift(tmp_path / "in.wav", tmp_path / "same.wav", 0.0)
    assert {path.name for path in tmp_path.iterdir()} == {"in.wav", "same.wav"}
