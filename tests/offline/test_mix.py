import errno
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pyloudnorm import Meter as Standard
from song import Song, song
from typer.testing import CliRunner

import offline.mix
from offline.effects.chain import HighPass, LowShelf
from offline.loudness import measure
from offline.mix import Mixed, MixSettings, Track, mix
from offline.sound import facts, read
from offline.tags import Tags, put_tags
from stream.audio import Audio, gain
from stream.errors import AudioError, ConfigError
from timbral import app

RATE = 22_050
PLAIN = MixSettings(loudness=None, ceiling_db=None)


def noise(seconds: float, channels: int = 2, level: float = 0.1, seed: int = 0) -> Audio:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((round(seconds * RATE), channels)) * level).astype(np.float32)


def saved(path: Path, x: Audio, rate: int = RATE) -> Path:
    soundfile.write(path, x, rate, subtype="FLOAT")
    return path


@pytest.fixture(scope="module")
def stems(tmp_path_factory: pytest.TempPathFactory) -> tuple[Song, Path, Path]:
    """The test song, the file of its voice and the file of its band."""
    folder = tmp_path_factory.mktemp("stems")
    music = song(12.0)
    voice = saved(folder / "voice.wav", music.voice, music.rate)
    return music, voice, saved(folder / "band.wav", music.band, music.rate)


def test_untouched_stems_make_the_song(stems: tuple[Song, Path, Path], tmp_path: Path) -> None:
    music, voice, band = stems
    tracks = [Track(path=voice), Track(path=band)]
    mixed = mix(tracks, tmp_path / "out.wav", PLAIN)
    found = read(tmp_path / "out.wav").samples
    assert found.shape == music.mix.shape
    assert np.std(found - music.mix) <= gain(-120.0) * np.std(music.mix)
    assert (mixed.gain_db, mixed.reduction_db, mixed.seconds) == (0.0, 0.0, 12.0)
    song_file = saved(tmp_path / "song.wav", music.mix, music.rate)
    as_loud = MixSettings(loudness=song_file)
    mixed = mix(tracks, tmp_path / "out.flac", as_loud)
    assert np.std(read(tmp_path / "out.flac").samples - music.mix) <= gain(-60.0) * np.std(
        music.mix
    )
    assert abs(mixed.gain_db) < 1e-3


@pytest.mark.parametrize(("lufs", "limited"), [(-30.0, False), (-14.0, True), (-9.0, True)])
def test_the_mix_is_as_loud_as_wanted_and_peaks_no_higher(
    lufs: float, limited: bool, stems: tuple[Song, Path, Path], tmp_path: Path
) -> None:
    _, voice, band = stems
    tracks = [Track(path=voice, gain_db=6.0), Track(path=band)]
    mixed = mix(tracks, tmp_path / "out.wav", MixSettings(loudness=lufs))
    found = read(tmp_path / "out.wav")
    independent = Standard(found.rate).integrated_loudness(found.samples.astype(np.float64))
    assert independent == pytest.approx(lufs, abs=0.1)
    assert mixed.lufs == pytest.approx(independent, abs=0.01)
    assert mixed.true_peak_db <= -1.0
    assert measure(tmp_path / "out.wav").true_peak_db == pytest.approx(mixed.true_peak_db, abs=1e-3)
    assert (mixed.reduction_db > 0.1) == limited


@pytest.mark.parametrize("ending", [".mp3", ".ogg", ".m4a"])
def test_the_peak_is_held_after_a_lossy_format_has_changed_it(ending: str, tmp_path: Path) -> None:
    x = np.sign(noise(3.0, 2, 0.5)) * np.float32(0.9)
    target = tmp_path / f"out{ending}"
    mixed = mix([Track(path=saved(tmp_path / "in.wav", x))], target, MixSettings(loudness=None))
    assert mixed.true_peak_db <= -1.0
    assert measure(target).true_peak_db == pytest.approx(mixed.true_peak_db, abs=1e-6)
    assert {path.name for path in tmp_path.iterdir()} == {"in.wav", target.name}


def test_a_mix_is_as_long_as_its_longest_track(tmp_path: Path) -> None:
    short, long = noise(1.0), noise(7.3, seed=1)
    tracks = [
        Track(path=saved(tmp_path / "short.wav", short)),
        Track(path=saved(tmp_path / "long.wav", long)),
    ]
    told: list[tuple[int, int]] = []
    mixed = mix(tracks, tmp_path / "out.wav", PLAIN, lambda *state: told.append(state))
    wanted = long.copy()
    wanted[: len(short)] += short
    np.testing.assert_allclose(read(tmp_path / "out.wav").samples, wanted, atol=1e-7)
    assert mixed.seconds == len(long) / RATE
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (2 * len(long), 2 * len(long))


def test_tracks_have_gain_place_delay_and_filters(tmp_path: Path) -> None:
    x = noise(0.5, 1)
    source = saved(tmp_path / "in.wav", x)

    def heard(**settings: object) -> Audio:
        track = Track.model_validate({"path": source, **settings})
        mix([track], tmp_path / "out.wav", PLAIN)
        return read(tmp_path / "out.wav").samples

    np.testing.assert_allclose(heard(gain_db=-6.0), x * gain(-6.0), atol=1e-7)
    late = heard(delay_ms=100.0)
    assert np.array_equal(late, np.concatenate([np.zeros((2205, 1), np.float32), x]))
    assert np.array_equal(heard(delay_ms=-100.0), x[2205:])
    left, half = heard(pan=-1.0), heard(pan=0.5)
    np.testing.assert_allclose(left, np.hstack([x * 2**0.5, 0 * x]), atol=1e-6)
    np.testing.assert_allclose(np.sum(half**2, axis=1), 2 * x[:, 0] ** 2, rtol=1e-4)
    assert np.sum(half[:, 1] ** 2) > 2 * np.sum(half[:, 0] ** 2)
    low = heard(eq=(LowShelf(hz=200.0, gain_db=-12.0), HighPass(hz=60.0, slope=24)))
    before, after = (np.abs(np.fft.rfft(y[:, 0])) for y in (x, low))
    assert np.sum(after[25:50] ** 2) / np.sum(before[25:50] ** 2) < gain(-7.0)  # 50 to 100 Hz
    assert np.sum(after[1000:] ** 2) / np.sum(before[1000:] ** 2) == pytest.approx(1.0, abs=0.02)


@settings(max_examples=5)
@given(n=st.sampled_from([1, 63, 64, 65, 110_249, 110_250, 110_251]))
def test_tracks_of_any_length_are_summed_to_the_last_sample(n: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        x, y = np.full((n, 1), 0.25, np.float32), np.full((100, 1), 0.5, np.float32)
        paths = saved(Path(folder) / "x.wav", x), saved(Path(folder) / "y.wav", y)
        mix([Track(path=path) for path in paths], Path(folder) / "out.wav", PLAIN)
        found = read(Path(folder) / "out.wav").samples[:, 0]
    wanted = np.zeros(max(n, 100))
    wanted[:n] += 0.25
    wanted[:100] += 0.5
    assert np.array_equal(found, wanted)


def test_tracks_that_begin_elsewhere_are_summed_in_step(tmp_path: Path) -> None:
    x, y = noise(11.0, 1), noise(12.0, 1, seed=1)
    tracks = [
        Track(path=saved(tmp_path / "x.wav", x), delay_ms=700.0),
        Track(path=saved(tmp_path / "y.wav", y), delay_ms=-5500.0),
    ]
    mix(tracks, tmp_path / "out.wav", PLAIN)
    wanted = np.zeros((len(x) + 15_435, 1), np.float32)
    wanted[15_435:] += x
    wanted[: len(y) - 121_275] += y[121_275:]
    np.testing.assert_allclose(read(tmp_path / "out.wav").samples, wanted, atol=1e-7)


def test_rates_and_channels_may_differ(tmp_path: Path) -> None:
    time = np.arange(44_100) / 44_100
    tone = (0.2 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    fast = saved(tmp_path / "fast.wav", np.stack([tone, -tone], axis=1), 44_100)
    slow = saved(tmp_path / "slow.wav", tone[::2].copy())
    surround = np.zeros((44_100, 6), np.float32)
    surround[:, 2] = tone  # the centre
    wide = saved(tmp_path / "wide.wav", surround, 44_100)
    mix([Track(path=fast), Track(path=slow)], tmp_path / "out.wav", PLAIN)
    found = read(tmp_path / "out.wav")
    assert found.rate == 44_100
    inner = slice(2000, -2000)
    np.testing.assert_allclose(found.samples[inner, 0], 2 * tone[inner], atol=2e-3)
    np.testing.assert_allclose(found.samples[inner, 1], 0.0, atol=2e-3)
    mix([Track(path=wide)], tmp_path / "out.wav", PLAIN)
    folded = read(tmp_path / "out.wav").samples
    np.testing.assert_allclose(folded, np.stack([tone, tone], axis=1) * 0.5**0.5, atol=1e-6)
    mix([Track(path=slow)], tmp_path / "out.wav", MixSettings(loudness=None, rate=16_000))
    assert facts(tmp_path / "out.wav").rate == 16_000


def test_tags_come_from_the_first_track_that_has_any(tmp_path: Path) -> None:
    bare = saved(tmp_path / "bare.wav", noise(0.2))
    soundfile.write(tmp_path / "raw.flac", noise(0.2), RATE)
    tagged = put_tags(tmp_path / "raw.flac", tmp_path / "song.flac", Tags({"title": "Song"}))
    tracks = [Track(path=bare), Track(path=tagged)]
    mix(tracks, tmp_path / "out.flac", PLAIN)
    assert facts(tmp_path / "out.flac").tags.texts["title"] == "Song"
    mix(tracks, tmp_path / "out.flac", PLAIN, tags=Tags({"title": "Cover"}))
    assert facts(tmp_path / "out.flac").tags.texts["title"] == "Cover"


def test_silence_stays_silent_and_is_no_measure_for_others(tmp_path: Path) -> None:
    quiet = saved(tmp_path / "quiet.wav", np.zeros((RATE, 2), np.float32))
    assert mix([Track(path=quiet)], tmp_path / "out.wav") == Mixed(-70.0, -120.0, 0.0, 0.0, 1.0)
    with pytest.raises(AudioError, match="is silent"):
        mix([Track(path=quiet)], tmp_path / "out.wav", MixSettings(loudness=quiet))


def test_too_loud_for_a_format_without_floats_is_an_error(tmp_path: Path) -> None:
    loud = saved(tmp_path / "loud.wav", np.full((RATE, 1), 0.75, np.float32))
    tracks = [Track(path=loud), Track(path=loud)]
    with pytest.raises(AudioError, match=r"clipped.*3\.5 dB"):
        mix(tracks, tmp_path / "out.flac", PLAIN)
    mix(tracks, tmp_path / "out.wav", PLAIN)
    assert read(tmp_path / "out.wav").samples.max() == 1.5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loud.wav", "out.wav"]


def test_what_cannot_be_done_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = saved(tmp_path / "in.wav", noise(0.5))
    track, before = Track(path=source), source.read_bytes()
    with pytest.raises(ConfigError, match="one of the tracks"):
        mix([track], source)
    with pytest.raises(ConfigError, match="at least one track"):
        mix([], tmp_path / "out.wav")
    with pytest.raises(ConfigError, match="no folder"):
        mix([track], tmp_path / "none" / "out.wav")
    with pytest.raises(AudioError, match="No file"):
        mix([track, Track(path=tmp_path / "none.wav")], tmp_path / "out.wav")
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        Track(path=source, pan=1.5)

    def cancel(done: int, all: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mix([track], tmp_path / "out.wav", None, cancel)

    class Full(offline.mix.Take):
        def record(self, *args: object) -> object:  # pyright: ignore[reportIncompatibleMethodOverride]
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(offline.mix, "Take", Full)
    with pytest.raises(AudioError, match="No space left"):
        mix([track], tmp_path / "out.wav")
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]
    assert source.read_bytes() == before


def test_the_command_mixes_tracks_by_their_words(tmp_path: Path) -> None:
    one, two = saved(tmp_path / "a:b.wav", noise(1.0)), saved(tmp_path / "c.wav", noise(1.0))
    out = tmp_path / "out.wav"
    words = ["mix", f"{one}:gain=-3,pan=0.2,delay=20,cut=80,low=1,mid=-2,high=3", str(two)]
    run = CliRunner().invoke(app, [*words, "-o", str(out), "--loudness", "-20"])
    assert run.exit_code == 0, run.output
    assert "-20.0 LUFS" in run.output
    assert measure(out).lufs == pytest.approx(-20.0, abs=0.1)
    run = CliRunner().invoke(app, ["mix", str(one), "-o", str(out), "--loudness", f"source={two}"])
    assert run.exit_code == 0, run.output
    assert measure(out).lufs == pytest.approx(measure(two).lufs, abs=0.1)
    run = CliRunner().invoke(
        app, ["mix", str(one), "-o", str(out), "--loudness", "off", "--ceiling", "off"]
    )
    assert run.exit_code == 0, run.output
    np.testing.assert_allclose(read(out).samples, read(one).samples, atol=1e-7)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{in}:gian=3"], "gian"),
        (["{in}:gain=loud"], "gain"),
        (["{in}:pan=7"], "pan"),
        (["{in}", "--loudness", "loud"], "loudness"),
        (["{in}", "--loudness", "3"], "loudness"),
        (["{in}", "--ceiling", "2"], "ceiling"),
    ],
)
def test_a_wrong_word_of_the_command_is_named(words: list[str], said: str, tmp_path: Path) -> None:
    source = saved(tmp_path / "in.wav", noise(0.2))
    filled = [word.format_map({"in": source}) for word in words]
    run = CliRunner().invoke(app, ["mix", *filled, "-o", str(tmp_path / "out.wav")])
    assert run.exit_code != 0
    assert isinstance(run.exception, ConfigError)
    assert said in str(run.exception)
    assert not (tmp_path / "out.wav").exists()
