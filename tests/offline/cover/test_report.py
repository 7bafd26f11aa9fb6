"""Tests of the page about a cover, and of what it is made from."""

import html
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import halves
import numpy as np
import pytest
import soundfile
from assets import home_with
from covers import Seen, Studio

from offline.cover import look as looking
from offline.cover.judge import judge, judged, melody
from offline.cover.look import look, looked
from offline.cover.recipe import looks
from offline.curve import Curve, frame_times, write_curve
from offline.loudness import measure
from stream.audio import Audio
from stream.errors import AudioError
from stream.models.store import STARTER

RATE = 44_100


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(tmp_path_factory.mktemp("studio"), "<so>ng.wav")


def write(path: Path, samples: Audio) -> Path:
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    return path


def noise(seconds: float, scale: float = 0.1) -> Audio:
    samples = np.random.default_rng(0).normal(0.0, scale, (round(seconds * RATE), 2))
    return samples.astype(np.float32)


def test_the_page_tells_all_and_plays_all(studio: Studio, tmp_path: Path) -> None:
    cover = studio.make({"band_db": -1.5}, report=True)
    assert cover.report == studio.folder / "cover.html"
    page = (studio.folder / "cover.html").read_text("utf-8")
    text = html.unescape(page)
    assert "<so>ng.wav, sung by starter" in text
    assert "<so>ng.wav" not in page
    for task in cover.plan.tasks:
        assert task.step.key[:12] in text
        assert all(model in text for model in task.step.models)
    for said in (
        "band_db</td><td>-1.5",
        "controls.autotune",
        cover.song.digest,
        "speaker-ge2e",
        "Melody",
    ):
        assert said in text, said
    assert f"the cover {cover.figures['lufs']:.1f} LUFS" in text
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for part in ("cover.html", "cover (listen)"):
        shutil.move(studio.folder / part, moved / part)
    sounds = [unquote(src) for src in re.findall(r'<audio[^>]* src="([^"]*)"', page)]
    assert [Path(sound).stem for sound in sounds] == [
        *("the song", "its voice", "the new voice", "the band", "the cover")
    ]
    played = soundfile.read(moved / sounds[-1])[0]
    made = soundfile.read(studio.folder / "cover.wav")[0]
    assert played.shape == made.shape
    assert np.corrcoef(played.ravel(), made.ravel())[0, 1] > 0.9  # as Vorbis


def test_only_what_a_change_touches_is_looked_at_again(studio: Studio) -> None:
    studio.make(report=True)
    again, changed = Seen(), Seen()
    studio.make(seen=again, report=True)
    assert again.missing == ()
    studio.make({"voice_db": -3.0}, seen=changed, report=True)
    assert changed.missing == ("mix", "look at the cover")


def test_nobody_gets_a_page_who_did_not_ask(studio: Studio) -> None:
    plain = studio.make(name="plain.wav")
    for cover in (plain, studio.make(name="parts", step="f0", report=True)):
        assert cover.report is None
        assert not looks(cover.plan)
    assert not (studio.folder / "plain.html").exists()


def test_without_its_page_the_cover_is_still_there(studio: Studio) -> None:
    (studio.folder / "closed.html").mkdir()
    with pytest.raises(AudioError, match=r"cover is there, but its page .*closed.html"):
        studio.make(name="closed.wav", report=True)
    assert (studio.folder / "closed.wav").is_file()


@pytest.mark.parametrize("seconds", [0.1, 0.73, 20.0])
def test_a_look_is_that_of_the_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    samples = noise(seconds)
    samples[1000] = (1.0, -1.5)
    file = write(tmp_path / "noise.wav", samples)
    found = look(file, tmp_path)
    sound = measure(file)
    assert found.figures.lufs == pytest.approx(sound.lufs, abs=1e-9)
    assert found.figures.true_peak_db == pytest.approx(sound.true_peak_db, abs=1e-9)
    assert found.figures.clipped == 2
    assert found.figures.peak_db == pytest.approx(20 * np.log10(1.5), abs=1e-4)
    assert (found.lowest.min(), found.highest.max()) == (-1.5, np.float32(samples.max()))
    assert len(found.level) <= looking.COLUMNS
    assert found.figures.column * len(found.level) == pytest.approx(
        seconds, abs=found.figures.column
    )
    monkeypatch.setattr(looking, "PIECE_SECONDS", 0.0173)
    cut = look(file, tmp_path, listen=False)
    np.testing.assert_allclose(cut.level, found.level, atol=1e-4)
    np.testing.assert_allclose(cut.spectrum, found.spectrum, atol=1e-2)
    np.testing.assert_array_equal(cut.highest, found.highest)
    np.testing.assert_array_equal(cut.lowest, found.lowest)


@pytest.mark.parametrize("frames", [1, 63, 64, 65])
def test_the_shortest_sounds_can_be_looked_at(tmp_path: Path, frames: int) -> None:
    found = look(write(tmp_path / "short.wav", noise(1.0)[:frames]), tmp_path, listen=False)
    assert found.spectrum.shape == (looking.BANDS, 1)
    assert np.isfinite(found.spectrum).all()
    assert looked(tmp_path).figures == found.figures


def test_levels_and_bands_are_those_of_a_sine(tmp_path: Path) -> None:
    t = np.arange(2 * RATE) / RATE
    brightest: list[int] = []
    for hz in (200.0, 1000.0, 8000.0):
        sine = np.sin(2 * np.pi * hz * t).astype(np.float32)[:, None]
        found = look(write(tmp_path / "sine.wav", 0.5 * sine), tmp_path, listen=False)
        np.testing.assert_allclose(found.level, -9.03, atol=0.15)
        brightest.append(int(found.spectrum.mean(axis=1).argmax()))
    assert brightest == sorted(set(brightest))
    assert brightest[-1] > looking.BANDS // 2


def test_a_melody_is_known_in_another_key(tmp_path: Path) -> None:
    times = frame_times(200)
    hz = (220.0 * np.exp2(np.sin(times * 3.0))).astype(np.float32)
    hz[50:70] = 0.0
    correlation, cents, voicing = melody(Curve(times, hz), Curve(times, 1.5 * hz))
    assert (correlation, cents) == (pytest.approx(1.0, abs=1e-6), pytest.approx(0.0, abs=0.01))
    assert voicing == 0.0
    other = melody(Curve(times, hz), Curve(times, hz[::-1].copy()))
    assert other[0] is not None
    assert other[0] < 0.9
    assert other[2] == pytest.approx(0.2)
    silent = Curve(times, np.zeros(200, np.float32))
    assert melody(silent, silent)[:2] == (None, None)


def test_what_cannot_be_judged_is_told(tmp_path: Path) -> None:
    voice = write(tmp_path / "voice.wav", noise(1.0))
    curve = tmp_path / "f0.csv"
    write_curve(curve, Curve(frame_times(3), np.zeros(3, np.float32)))
    found = judge((voice, voice), (curve, curve), STARTER_PREVIEW, tmp_path, tmp_path)
    assert "timbral models pull speaker-ge2e" in found.missing[0]
    assert found.like_voice is None
    alone = judge((voice, voice), (curve, curve), None, tmp_path, tmp_path)
    assert alone.missing == ("The voice has no preview to compare with.",)
    assert judged(tmp_path) == alone


STARTER_PREVIEW = (
    Path(halves.__file__).parent.parent / "stream" / "models" / STARTER / "preview.wav"
)


@pytest.mark.slow
def test_a_speaker_is_known_by_the_preview(tmp_path: Path) -> None:
    home = home_with("speaker-ge2e")
    curve = tmp_path / "f0.csv"
    write_curve(curve, Curve(frame_times(3), np.zeros(3, np.float32)))
    other = write(tmp_path / "other.wav", halves.voice(4.0))
    found = judge((other, STARTER_PREVIEW), (curve, curve), STARTER_PREVIEW, home, tmp_path)
    assert found.missing == ()
    assert found.like_voice == pytest.approx(1.0, abs=1e-3)
    assert found.was_like_voice is not None
    assert found.was_like_voice < 0.75
    assert found.like_singer == pytest.approx(found.was_like_voice, abs=1e-3)
