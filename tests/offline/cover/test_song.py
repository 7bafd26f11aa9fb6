"""Tests of what no cover can be made of, and of reading the rest."""

import os
from pathlib import Path

import halves
import numpy as np
import pytest
import soundfile

from offline import sound
from offline.cover import song as songs
from offline.cover.song import listen, read
from stream.audio import Audio
from stream.errors import AudioError


def written(path: Path, x: Audio, rate: int = halves.RATE) -> Path:
    soundfile.write(path, x, rate)
    return path


def noise(seconds: float, channels: int, rate: int = halves.RATE) -> Audio:
    shape = (round(seconds * rate), channels)
    return (0.1 * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("rate", "channels", "made_at", "note"),
    [
        (44_100, 2, 44_100, ""),
        (48_000, 1, 48_000, ""),
        (96_000, 2, 48_000, ""),
        (22_050, 2, 44_100, ""),
        (8_000, 1, 44_100, "telephone"),
        (48_000, 6, 48_000, "6 channels are folded"),
    ],
)
def test_any_rate_and_channels_become_stereo(
    tmp_path: Path, rate: int, channels: int, made_at: int, note: str
) -> None:
    song = listen(written(tmp_path / "in.wav", noise(0.6, channels, rate), rate))
    assert (song.rate, song.own_rate) == (made_at, rate)
    assert note in " ".join(song.notes)
    assert bool(song.notes) == bool(note)
    read(song, tmp_path / "out.wav", lambda *_: None)
    found = sound.facts(tmp_path / "out.wav")
    assert (found.rate, found.channels) == (made_at, 2)
    assert found.frames == round(0.6 * made_at)
    assert song.seconds == pytest.approx(0.6)


def test_what_is_clipped_is_told(tmp_path: Path) -> None:
    song = listen(written(tmp_path / "in.wav", np.clip(20.0 * noise(0.6, 2), -1.0, 1.0)))
    assert "clips" in song.notes[0]


def test_reading_leaves_every_sample_as_it_is(tmp_path: Path) -> None:
    path = halves.write_song(tmp_path / "in.wav")
    read(listen(path), tmp_path / "out.wav", lambda *_: None)
    np.testing.assert_array_equal(
        sound.read(tmp_path / "out.wav").samples, sound.read(path).samples
    )


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = halves.write_song(tmp_path / "in.wav")
    song = listen(path)
    os.utime(path, (1.0, 1.0))
    with pytest.raises(AudioError, match="changed while it was read"):
        read(song, tmp_path / "out.wav", lambda *_: None)
    assert not (tmp_path / "out.wav").exists()


def damaged_mp3(path: Path) -> Path:
    soundfile.write(path, noise(3.0, 2), halves.RATE)
    raw = bytearray(path.read_bytes())
    path.write_bytes(bytes(len(raw)))
    return path


BAD = {
    "silent.wav": (lambda path: written(path, np.zeros((44_100, 2))), "is silent"),
    "short.wav": (lambda path: written(path, noise(0.1, 2)), "That is no song"),
    "empty.wav": (lambda path: path.touch(), "is empty"),
    "none.wav": (lambda path: None, "No file"),
    "text.mp3": (lambda path: path.write_text("la la la\n" * 999), "no audio or video"),
    "zeros.mp3": (damaged_mp3, "no audio|holds no sound|is damaged|is silent"),
    "nan.wav": (
        lambda path: soundfile.write(path, np.full((44_100, 2), np.nan), 44_100, subtype="FLOAT"),
        "no sample",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_song_is_told(tmp_path: Path, name: str) -> None:
    pytest.importorskip("av")
    make, why = BAD[name]
    make(tmp_path / name)
    with pytest.raises(AudioError, match=why):
        listen(tmp_path / name)


def test_a_video_gives_its_sound_and_a_silent_film_is_told(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "film.mp4"
    picture = np.zeros((48, 64, 3), np.uint8)
    with av.open(str(path), "w") as film:
        stream = film.add_stream("mpeg4", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(24):
            film.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        film.mux(stream.encode(None))
    with pytest.raises(AudioError, match="no audio stream"):
        listen(path)
    sounding = tmp_path / "song.mp4"
    with sound.writing(tmp_path / "song.m4a", halves.RATE, 2) as out:
        out.write(noise(1.0, 2))
    (tmp_path / "song.m4a").rename(sounding)
    assert listen(sounding).seconds == pytest.approx(1.0, abs=0.1)


def test_what_is_too_long_is_told_before_all_of_it_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "in.wav", noise(2.0, 2))
    monkeypatch.setattr(songs, "LONGEST_SECONDS", 1)
    heard: list[int] = []
    with pytest.raises(AudioError, match="Cut it into parts"):
        listen(path, lambda done, _total: heard.append(done))
    assert not heard
