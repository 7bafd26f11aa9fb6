from pathlib import Path
from typing import get_args

import numpy as np
import pedalboard
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import offline.stage
from offline.effects.apply import apply
from offline.effects.build import build, stage
from offline.effects.chain import (
    Bitcrush,
    Board,
    Chain,
    Chorus,
    Clipping,
    Compressor,
    Convolution,
    Delay,
    Distortion,
    Gain,
    Gsm,
    HighPass,
    HighShelf,
    Ladder,
    Limiter,
    LowPass,
    LowShelf,
    Mp3,
    NoiseGate,
    Own,
    Peak,
    Phaser,
    PitchShift,
    Resample,
    Reverb,
)
from offline.effects.presets import Presets
from offline.loudness import measured
from offline.sound import facts, read
from offline.stage import SIZE, through
from offline.tags import Tags, put_tags
from stream.audio import Audio, gain
from stream.errors import AudioError, ConfigError

RATE = 44_100
LONG = 2 * SIZE + 777  # samples: blocks, and a part of one


def tone(hz: float, seconds: float = 0.5, rate: int = RATE, channels: int = 1) -> Audio:
    x = 0.4 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)
    return np.repeat(x.astype(np.float32)[:, None], channels, axis=1)


def noise(n: int = LONG, channels: int = 2, level: float = 0.1) -> Audio:
    rng = np.random.default_rng(5)
    return (rng.standard_normal((n, channels)) * level).astype(np.float32)


def done(effect: Own | Board, x: Audio, rate: int = RATE) -> Audio:
    return np.concatenate(list(through(stage(effect, rate, x.shape[1]), [x])))


def level(x: Audio) -> float:
    """In dB, of the middle."""
    inner = x[len(x) // 4 : -len(x) // 4]
    return 20.0 * float(np.log10(np.sqrt(np.mean(np.square(inner, dtype=np.float64))) + 1e-12))


@pytest.fixture(scope="module")
def click(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded answer of a room: the click itself, and an echo of half of it 0.1 s later."""
    path = tmp_path_factory.mktemp("rooms") / "room.wav"
    x = np.zeros((4500, 1), np.float32)
    x[0], x[4410] = 1.0, 0.5
    soundfile.write(path, x, RATE, subtype="FLOAT")
    return path


ALL = [
    Gain(gain_db=-3.0),
    HighPass(),
    LowPass(slope=24),
    Peak(gain_db=6.0),
    LowShelf(gain_db=-6.0),
    HighShelf(gain_db=6.0),
    Clipping(threshold_db=-18.0),
    Limiter(ceiling_db=-12.0),
    PitchShift(semitones=3.0),
    Chorus(feedback=0.5),
    Phaser(),
    Distortion(),
    Compressor(threshold_db=-30.0),
    NoiseGate(threshold_db=-20.0),
    Ladder(resonance=0.7),
    Delay(delay_ms=100.0),
    Reverb(room=0.1),
    Gsm(),
    Mp3(),
    Resample(),
    Bitcrush(),
]


def test_every_effect_is_tried_here() -> None:
    kinds = {*get_args(Own), *get_args(Board)}
    assert kinds - {type(effect) for effect in ALL} == {Convolution}


@pytest.mark.parametrize("effect", ALL, ids=lambda effect: effect.kind)
def test_an_effect_does_something_the_same_however_the_sound_is_cut(effect: Own | Board) -> None:
    x = noise()
    one = done(effect, x)
    sizes = [0, 1, 63, 64, 65, SIZE, 3000, LONG]
    cuts = np.split(x, np.cumsum(sizes))
    pieces = np.concatenate(list(through(stage(effect, RATE, 2), cuts)))
    assert np.array_equal(one, pieces)
    assert len(one) >= len(x)
    assert np.max(np.abs(one[: len(x)] - x)) > 1e-3


def test_pieces_are_one_pass_of_the_package_over_everything() -> None:
    x = noise()
    for effect, plugin in (
        (Chorus(feedback=0.5), pedalboard.Chorus(1.0, 0.25, 7.0, 0.5, 0.5)),
        (Phaser(), pedalboard.Phaser()),
        (Reverb(room=0.1), pedalboard.Reverb(0.1)),
        (Compressor(threshold_db=-30.0), pedalboard.Compressor(-30.0, 4.0)),
        (Resample(), pedalboard.Resample(8_000.0)),
        (Mp3(), pedalboard.MP3Compressor(6.0)),
    ):
        whole = plugin.process(np.ascontiguousarray(x.T), RATE).T
        np.testing.assert_allclose(done(effect, x)[: len(x)], whole, atol=1e-6)


@pytest.mark.parametrize(
    "effect",
    [
        *(effect for effect in ALL if not isinstance(effect, PitchShift | Ladder | Gsm)),
        PitchShift(semitones=-4.0, keep_formants=True),
    ],
    ids=lambda effect: effect.kind,
)
def test_what_is_done_to_a_click_stays_in_its_place(effect: Own | Board) -> None:
    x = np.zeros((LONG, 2), np.float32)
    x[10_000:10_002] = 0.9
    assert abs(int(np.argmax(np.abs(done(effect, x)[:, 0]))) - 10_000) <= 2


@settings(max_examples=5)
@given(n=st.sampled_from([1, 63, 64, 65, SIZE - 1, SIZE, SIZE + 1]))
def test_a_chain_gives_back_as_many_samples_as_it_got(n: int) -> None:
    effects = (HighPass(), Compressor(), Gsm(), Mp3(), Limiter(), PitchShift(semitones=1.0))
    chain = Chain(effects=effects)
    heard = np.concatenate(list(through(build(chain, RATE, 2), [noise(n)])))
    assert heard.shape == (n, 2)


def test_filters_do_what_their_figures_say() -> None:
    def change(effect: Own, hz: float) -> float:
        return level(done(effect, tone(hz))) - level(tone(hz))

    assert change(HighPass(hz=1000.0, slope=24), 500.0) == pytest.approx(-24.1, abs=0.3)
    assert change(HighPass(hz=1000.0, slope=6), 500.0) == pytest.approx(-7.0, abs=0.3)
    assert change(LowPass(hz=1000.0), 1000.0) == pytest.approx(-3.0, abs=0.1)
    assert change(LowPass(hz=1000.0), 100.0) == pytest.approx(0.0, abs=0.1)
    assert change(Peak(hz=1000.0, gain_db=6.0, q=2.0), 1000.0) == pytest.approx(6.0, abs=0.1)
    assert change(Peak(hz=1000.0, gain_db=6.0, q=2.0), 100.0) == pytest.approx(0.0, abs=0.1)
    assert change(LowShelf(hz=500.0, gain_db=-5.0), 40.0) == pytest.approx(-5.0, abs=0.1)
    assert change(LowShelf(hz=500.0, gain_db=-5.0), 8000.0) == pytest.approx(0.0, abs=0.1)
    assert change(HighShelf(hz=2000.0, gain_db=4.0), 15_000.0) == pytest.approx(4.0, abs=0.1)
    assert change(HighShelf(hz=2000.0, gain_db=4.0), 100.0) == pytest.approx(0.0, abs=0.1)
    assert change(Gain(gain_db=-7.0), 440.0) == pytest.approx(-7.0, abs=0.01)


def test_filters_above_what_a_low_rate_holds_have_nothing_to_do() -> None:
    x = tone(1000.0, rate=8_000)
    for effect in (LowPass(hz=16_000.0), HighShelf(hz=6_000.0, gain_db=9.0), Peak(hz=5_000.0)):
        assert np.array_equal(done(effect, x, 8_000), x)


def test_distorting_effects_do_what_their_figures_say() -> None:
    x = tone(440.0)
    assert np.abs(done(Clipping(threshold_db=-20.0), x)).max() == pytest.approx(gain(-20.0))
    assert len(np.unique(done(Bitcrush(bits=4.0), x).round(4))) <= 16
    np.testing.assert_allclose(
        done(Distortion(drive_db=12.0), x), np.tanh(x * gain(12.0)), atol=1e-3
    )
    limited = done(Limiter(ceiling_db=-14.0), x)
    assert measured([limited], RATE, 1).true_peak_db == pytest.approx(-14.05, abs=0.05)


def test_dynamic_effects_treat_loud_and_quiet_apart() -> None:
    loud, quiet = tone(440.0), tone(440.0) * gain(-40.0)
    squeezed = Compressor(threshold_db=-28.0, ratio=4.0, release_ms=300.0)
    assert level(done(squeezed, loud)) - level(loud) == pytest.approx(-13.5, abs=2.5)
    assert level(done(squeezed, quiet)) - level(quiet) == pytest.approx(0.0, abs=0.1)
    gate = NoiseGate(threshold_db=-30.0, ratio=10.0)
    assert level(done(gate, loud)) - level(loud) == pytest.approx(0.0, abs=0.3)
    assert level(done(gate, quiet)) - level(quiet) < -20.0


def test_effects_of_old_machines_take_away_what_is_high() -> None:
    for effect in (Gsm(), Resample(rate_hz=8_000.0), Mp3(vbr_quality=9.5), Ladder(hz=500.0)):
        x = noise(RATE // 2, 1)
        high = np.abs(np.fft.rfft(done(effect, x)[: RATE // 2, 0]))[9_000:]  # 2 Hz a bin
        assert np.sum(high**2) < 0.2 * np.sum(np.abs(np.fft.rfft(x[:, 0]))[9_000:] ** 2), effect


def test_a_pitch_shift_in_a_chain_moves_the_pitch() -> None:
    y = done(PitchShift(semitones=12.0), tone(440.0, 1.0))
    assert int(np.argmax(np.abs(np.fft.rfft(y[:, 0])))) == pytest.approx(880, abs=2)


def test_the_tail_is_kept_until_it_is_inaudible(click: Path) -> None:
    x = np.zeros((5000, 1), np.float32)
    x[-1] = 0.8
    echoes = done(Delay(delay_ms=300.0, feedback=0.5, mix=0.5), x)
    heard = np.flatnonzero(np.abs(echoes[:, 0]) > 1e-6)[1:] - 4999
    assert np.array_equal(heard, 13_230 * np.arange(1, len(heard) + 1))
    assert np.abs(echoes[4999 + heard[-1], 0]) <= 2 * gain(-90.0)
    assert len(done(Reverb(room=0.9, damping=0.1), x)) > 5000 + RATE
    room = done(Convolution(impulse=click, mix=1.0), x)
    np.testing.assert_allclose(
        room[[4999, 9409], 0], 0.8 * np.array([1.0, 0.5]) / 1.25**0.5, atol=1e-4
    )
    assert len(room) == 9410
    half = done(Convolution(impulse=click, mix=0.5), x)
    assert half[4999, 0] == pytest.approx(0.4 + 0.4 / 1.25**0.5, abs=1e-4)
    assert len(done(Compressor(), x)) == 5000


def test_echoes_that_would_never_end_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline.stage, "LONGEST_RING", 3)
    x = tone(440.0, 0.2, 8_000)
    y = done(Delay(delay_ms=50.0, feedback=0.95, mix=0.5), x, 8_000)
    assert len(x) + 3 * 8_000 <= len(y) <= len(x) + 3 * 8_000 + 2 * SIZE


def test_a_chain_is_its_effects_one_after_the_other() -> None:
    x = noise()
    chain = Chain(effects=(Gain(gain_db=6.0), Clipping(threshold_db=-20.0), Gain(gain_db=6.0)))
    heard = np.concatenate(list(through(build(chain, RATE, 2), [x])))
    most = gain(-20.0)
    np.testing.assert_allclose(heard, np.clip(x * gain(6.0), -most, most) * gain(6.0), atol=1e-6)


def test_a_recorded_room_may_have_any_rate_but_not_any_length(tmp_path: Path) -> None:
    room = np.zeros((9000, 2), np.float32)
    room[0], room[8820] = 1.0, 0.25
    soundfile.write(tmp_path / "room.wav", room, 88_200, subtype="FLOAT")
    x = np.zeros((100, 2), np.float32)
    x[0] = 0.5
    y = done(Convolution(impulse=tmp_path / "room.wav", mix=1.0), x)
    assert abs(int(np.argmax(np.abs(y[1000:, 0]))) + 1000 - 4410) <= 1
    soundfile.write(tmp_path / "long.wav", np.zeros(1000 * 61, np.int16), 1000)
    with pytest.raises(AudioError, match="at most 60 s"):
        done(Convolution(impulse=tmp_path / "long.wav"), x)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 96_000])
def test_built_in_presets_work_at_every_rate(rate: int, tmp_path: Path) -> None:
    presets = Presets(tmp_path)
    assert {"clean-vocal", "studio", "hall", "radio", "telephone"} <= set(presets.names())
    x = tone(440.0, 0.3, rate, 2)
    for name in presets.names():
        chain = presets.load(name)
        assert chain.title, name
        y = np.concatenate(list(through(build(chain, rate, 2), [x])))
        assert np.isfinite(y).all(), name
        assert 0.02 < np.abs(y[: len(x)]).max() < 2.0, name


def test_a_file_is_written_with_its_tail_and_its_tags(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "plain.flac", tone(440.0, 6.0, 8_000), 8_000)
    source = put_tags(tmp_path / "plain.flac", tmp_path / "in.flac", Tags({"title": "A song"}))
    told: list[tuple[int, int]] = []
    chain = Chain(stereo=True, effects=(Reverb(), Limiter()))
    apply(source, tmp_path / "out.flac", chain, lambda *state: told.append(state))
    after = facts(tmp_path / "out.flac")
    assert (after.rate, after.channels, after.tags.texts["title"]) == (8_000, 2, "A song")
    assert 48_000 < after.frames < 48_000 + 20 * 8_000
    assert told == [(40_000, 48_000), (48_000, 48_000)]
    ends = read(tmp_path / "out.flac").samples[48_000:48_500]
    assert np.abs(ends).max() > 0.01


def test_what_cannot_be_done_leaves_everything_as_it_was(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "wide.wav", np.zeros((100, 6), np.int16), 8_000)
    soundfile.write(tmp_path / "in.wav", np.zeros(100, np.int16), 8_000)
    soundfile.write(tmp_path / "odd.wav", np.zeros(100, np.int16), 9_000)
    before = sorted(tmp_path.iterdir())
    chain = Chain(effects=(Gain(), Mp3()))
    with pytest.raises(AudioError, match="6 channels"):
        apply(tmp_path / "wide.wav", tmp_path / "out.wav", chain)
    with pytest.raises(AudioError, match="9000 Hz"):
        apply(tmp_path / "odd.wav", tmp_path / "out.wav", chain)
    with pytest.raises(ConfigError, match="no folder"):
        apply(tmp_path / "in.wav", tmp_path / "none" / "out.wav", chain)
    lost = Chain(effects=(Convolution(impulse=tmp_path / "none.wav"),))
    with pytest.raises(AudioError, match="No file"):
        apply(tmp_path / "in.wav", tmp_path / "out.wav", lost)

    def cancel(done: int, all: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply(tmp_path / "in.wav", tmp_path / "out.wav", chain, cancel)
    assert sorted(tmp_path.iterdir()) == before
