"""Whole covers, of a song whose parts are known."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import halves
import numpy as np
import pytest
from covers import Seen, Studio

from offline import sound
from offline.convert import pitch_of
from offline.cover.mixdown import Parts, mixdown
from offline.cover.settings import checked
from offline.curve import Curve, read_curve, write_curve
from offline.tags import Tags
from stream.audio import Audio
from stream.controls import Controls
from stream.errors import AudioError, Cancelled, ConfigError

ALL = ("read", "separate", "f0", "convert", "mix")


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(tmp_path_factory.mktemp("studio"))


def read(path: Path) -> Audio:
    return sound.read(path).samples


def test_the_voice_is_another_and_the_band_is_the_same(studio: Studio) -> None:
    seen = Seen()
    cover = studio.make({"lufs": "off", "ceiling_db": 0.0}, seen=seen)
    assert seen.missing == ALL
    song, made = read(studio.song), read(studio.folder / "cover.wav")
    assert cover.target == studio.folder / "cover.wav"
    assert made.shape == song.shape
    np.testing.assert_allclose(made[:, 1], song[:, 1], atol=1e-3)  # the band, on the right
    assert np.corrcoef(made[:, 0], song[:, 0])[0, 1] < 0.5
    assert cover.figures["new_voice_lufs"] > -40.0
    loud = [
        20 * np.log10(np.std(x[:, 0])) for x in (song, made)
    ]  # as loud as the one before, but for K-weighting
    assert abs(loud[0] - loud[1]) < 3.0


def test_it_is_as_loud_as_the_song(studio: Studio) -> None:
    cover = studio.make()
    assert cover.figures["lufs"] == pytest.approx(cover.figures["song_lufs"], abs=0.5)
    assert cover.figures["true_peak_db"] <= -1.0


def test_a_second_run_with_another_mix_only_mixes(studio: Studio) -> None:
    studio.make()
    other, same, again = Seen(), Seen(), Seen()
    studio.make({"voice_db": -3.0}, seen=other)
    assert other.missing == ("mix",)
    studio.make({"voice_db": -3.0}, seen=same)
    assert same.missing == ()
    studio.make({"voice_db": -3.0}, seen=again, again=True)
    assert again.missing == ("mix",)


def test_the_new_voice_sings_the_pitch_that_was_edited(studio: Studio) -> None:
    file = studio.folder / "f0.csv"
    studio.make(f0_out=file)
    heard = read_curve(file)
    high = Curve(heard.times, (heard.hz * 1.189).astype(np.float32))  # three semitones
    write_curve(file, high)
    controls = {"controls": {"auto_pitch": False}}
    cover = studio.make(controls, f0_in=file, step="convert", name="parts")
    assert [path.name for path in (studio.folder / "parts").iterdir()] == ["voice.wav"]
    plain = Controls()
    sung = pitch_of(cover.folders["convert"] / "voice.wav", studio.tools.detectors(), plain)
    both = (sung.hz > 0.0) & (high.hz > 0.0)
    assert np.count_nonzero(both) > 30
    cents = 1200.0 * np.log2(sung.hz[both] / high.hz[both])
    assert abs(float(np.median(cents))) < 20.0


def test_the_key_moves_voice_and_band_together(studio: Studio) -> None:
    pytest.importorskip("python_stretch")
    seen = Seen()
    cover = studio.make({"key": 4}, seen=seen, all_parts=True)
    assert set(seen.missing) == {"key-band", "convert", "mix"}
    before = studio.make(all_parts=True)

    def tone(folder: Path, name: str) -> float:
        x = read(folder / name)[:, 1] * np.hanning(len(read(folder / name)))
        spectrum = np.abs(np.fft.rfft(x, 1 << 18))
        return float(np.argmax(spectrum) * halves.RATE / (1 << 18))

    moved = tone(cover.folders["key-band"], "instrumental.wav")
    assert moved / tone(before.folders["separate"], "instrumental.wav") == pytest.approx(
        2 ** (4 / 12), rel=0.02
    )


def test_backing_may_be_sung_by_somebody_else(studio: Studio) -> None:
    values = {"lead": {"models": ["lead"]}, "backing_voice": "starter"}
    seen = Seen()
    cover = studio.make(values, seen=seen, step="convert-backing", name="backing")
    assert set(seen.missing) == {"lead", "f0-backing", "convert-backing"}
    backing = read(studio.folder / "backing" / "voice.wav")
    assert np.abs(backing).max() > 1e-3
    assert cover.target is None


def test_tags_stay_and_the_format_follows_the_name(studio: Studio) -> None:
    pytest.importorskip("av")
    tagged = studio.folder / "tagged.flac"
    x = sound.read(studio.song)
    sound.write(tagged, replace(x, tags=Tags({"title": "A song"})), subtype="PCM_24")
    cover = studio.make(name="cover.mp3", song=tagged)
    assert cover.target is not None
    assert sound.facts(cover.target).tags.texts["title"] == "A song"
    assert sound.facts(cover.target).rate == halves.RATE


def test_parts_that_nobody_changed_mix_to_the_song(tmp_path: Path) -> None:
    song = halves.write_song(tmp_path / "song.wav")
    x = sound.read(song)
    sides = {"voice.wav": (1.0, 0.0), "band.wav": (0.0, 1.0)}
    for name, gains in sides.items():
        sound.write(tmp_path / name, replace(x, samples=x.samples * np.array(gains, np.float32)))
    voice, band = tmp_path / "voice.wav", tmp_path / "band.wav"
    settings = checked({"lufs": "off", "ceiling_db": 0.0})
    parts = Parts(voice, voice, band, None, None)
    mixdown(song, parts, settings, tmp_path / "mix.wav", lambda *_: None)
    error = read(tmp_path / "mix.wav") - x.samples
    assert 20 * np.log10(np.std(error) / np.std(x.samples) + 1e-12) < -60.0


def test_a_song_without_a_voice_is_told_and_stays_quiet(studio: Studio) -> None:
    song = studio.folder / "no voice.wav"
    halves.write_song(song, left=np.zeros_like(halves.band()))
    cover = studio.make(song=song, name="no voice cover.wav")
    assert "hardly a voice" in cover.notes[-1]
    assert np.abs(read(studio.folder / "no voice cover.wav")[:, 0]).max() < 1e-3


@pytest.mark.parametrize("step", ["read", "separate", "convert", "mix", "export"])
def test_whoever_ends_it_leaves_no_cover_and_finds_what_was_finished(
    tmp_path: Path, studio: Studio, step: str
) -> None:
    fresh = Studio(tmp_path)
    shutil.copytree(studio.cache.folder, fresh.cache.folder)
    studio_plan = studio.make(name="plan.wav").plan
    for name in ALL[ALL.index(step) if step in ALL else len(ALL) :]:
        fresh.cache.forget(studio_plan.task(name).step)
    with pytest.raises(Cancelled):
        fresh.make(seen=Seen(ends_in=step))
    assert {path.name for path in tmp_path.iterdir()} == {"song.wav", "cache", "home"} - (
        set() if fresh.home.exists() else {"home"}
    )
    seen = Seen()
    fresh.make(seen=seen, step="read", name="parts")
    assert seen.missing == (("read",) if step == "read" else ())


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[1:2]
from offline.cover.make import Wanted, make_cover
from offline.cover.settings import checked
from offline.cache import Cache
import halves

class Killer:
    def planned(self, missing, kept):
        pass

    def progress(self, name, done, total):
        if name == "convert" and done > 1:
            os.kill(os.getpid(), signal.SIGKILL)

folder = Path(sys.argv[2])
make_cover(folder / "song.wav", checked({}), Wanted(folder / "cover.wav"),
           tools=halves.tools(folder / "home"), cache=Cache(folder / "cache"), watcher=Killer())
"""


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    fresh = Studio(tmp_path)
    tests, root = Path(halves.__file__).parent, Path(halves.__file__).parents[1]
    command = [sys.executable, "-c", KILLED, str(tests), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(root)}
    run = subprocess.run(command, env=environment, cwd=root, check=False)
    assert run.returncode == -signal.SIGKILL
    assert not (tmp_path / "cover.wav").exists()
    seen = Seen()
    fresh.make(seen=seen)
    assert seen.missing == ("convert", "mix")
    assert len(read(tmp_path / "cover.wav")) == len(read(fresh.song))


def test_what_cannot_be_written_is_told_before_the_work(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="must end in"):
        studio.make(name="cover.doc")
    with pytest.raises(ConfigError, match="no folder"):
        studio.make(name="none/cover.flac")
    with pytest.raises(ConfigError, match="the file to read"):
        studio.make(name="song.wav")
    with pytest.raises(ConfigError, match="no step 'dance'"):
        studio.make(step="dance", name="parts")
    with pytest.raises(ConfigError, match="is a file"):
        studio.make(step="read", name="song.wav")
    with pytest.raises(ConfigError, match="must end in one of"):
        studio.make(f0_out=studio.folder / "f0.xls")
    usage = shutil.disk_usage(studio.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(ConfigError, match=r"needs up to .* GB .* prune"):
        studio.make({"seed": 5})


def test_a_disk_that_gets_full_leaves_nothing_half_done(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio.make()

    def full(*_: object, **__: object) -> None:
        raise AudioError("cover.wav cannot be written: No space left on device")

    (studio.folder / "cover.wav").unlink(missing_ok=True)
    monkeypatch.setattr("offline.cover.make.writing", full)
    with pytest.raises(AudioError, match="No space left"):
        studio.make()
    assert not (studio.folder / "cover.wav").exists()


def test_the_mix_tells_what_was_measured(studio: Studio) -> None:
    cover = studio.make()
    told = json.loads((cover.folders["mix"] / "mix.json").read_text())
    assert set(told) >= {"lufs", "true_peak_db", "song_lufs", "old_voice_lufs", "new_voice_lufs"}
    assert cover.took > 0.0
