"""The law of offline.sound: what is written reads back, every channel, tag and sample of it."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from offline import sound
from offline.sound import SUBTYPES, Sound, pieces, read, stereo, write, writing
from offline.tags import Tags
from stream.audio import Audio
from stream.errors import AudioError, ConfigError

av = pytest.importorskip("av", reason="the extra `offline` is not installed")


def chirp(rate: int = 44_100, seconds: float = 1.5, channels: int = 2) -> Audio:
    """A different rising tone on each channel, [n, channels]."""
    t = np.arange(round(rate * seconds)) / rate
    base = 200.0 + 150.0 * np.arange(channels)
    return (0.4 * np.sin(2 * np.pi * base * t[:, None] * (1 + t[:, None]))).astype(np.float32)


def png() -> bytes:
    """A red square of 8 x 8."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = b"".join(b"\0" + b"\xff\0\0" * 8 for _ in range(8))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def jpeg() -> bytes:
    """A grey square of 16 x 16, from PyAV's encoder."""
    frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 99, np.uint8), format="rgb24")
    out = io.BytesIO()
    with av.open(out, "w", format="image2pipe") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuvj420p"
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def video(path: Path, *, with_sound: bool, layout: str = "stereo", rate: int = 44_100) -> Audio:
    """A little film; returns its sound."""
    x = chirp(rate, channels=av.AudioLayout(layout).nb_channels)
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mpeg4", rate=5)
        picture.width = picture.height = 32
        picture.pix_fmt = "yuv420p"
        heard = container.add_stream("pcm_s16le", rate=rate, layout=layout) if with_sound else None
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        if heard:
            samples = (x * 32767).astype(np.int16).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=layout)
            frame.sample_rate = rate
            container.mux(heard.encode(frame))
            container.mux(heard.encode(None))
    return x


@pytest.mark.parametrize("cover", [png, jpeg])
@pytest.mark.parametrize("suffix", SUBTYPES)
def test_sound_tags_and_cover_come_back(
    suffix: str, cover: Callable[[], bytes], tmp_path: Path
) -> None:
    path = tmp_path / f"song{suffix}"
    x = chirp()
    art = cover()
    texts = {"title": "Größe", "artist": "Ada", "album": "B", "genre": "Rock", "date": "1999"}
    write(path, Sound(x, 44_100, Tags(texts, art)))
    back = read(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert back.rate == 44_100
    assert suffix == ".w64" or back.tags.texts.items() >= texts.items()
    assert back.tags.cover == (b"" if suffix in (".wav", ".w64") else art)
    lossless = suffix in (".wav", ".w64", ".flac")
    tail = 0 if suffix != ".m4a" else 1024  # AAC's last frame is whole
    assert len(x) <= len(back.samples) <= len(x) + tail
    error = back.samples[: len(x)] - x
    assert np.abs(error).max() < 1.3e-7 if lossless else np.std(error) < 0.02


@pytest.mark.parametrize("suffix", [".wav", ".w64", ".flac"])
def test_floats_and_24_bits_survive(suffix: str, tmp_path: Path) -> None:
    x = chirp() * (3.0 if suffix != ".flac" else 1.0)
    write(tmp_path / f"a{suffix}", Sound(x, 44_100))
    np.testing.assert_allclose(read(tmp_path / f"a{suffix}").samples, x, atol=1.3e-7)


@settings(max_examples=12)
@given(size=st.sampled_from([0.011, 0.5, 1.0, 7.0]), rate=st.sampled_from([None, 8_000, 48_000]))
def test_pieces_join_to_the_whole(
    size: float, rate: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("a") / "a.wav"
    write(path, Sound(chirp(seconds=2.3, channels=3), 44_100))
    whole = read(path, rate)
    parts = list(pieces(path, size, rate))
    assert len(whole.samples) == -(-round(2.3 * 44_100) * (rate or 44_100) // 44_100)
    assert {len(p) for p in parts[:-1]} <= {round(size * whole.rate)}
    np.testing.assert_array_equal(np.concatenate(parts), whole.samples)


def test_a_film_gives_its_sound(tmp_path: Path) -> None:
    x = video(tmp_path / "film.mkv", with_sound=True)
    np.testing.assert_allclose(read(tmp_path / "film.mkv").samples, x, atol=1e-4)


def test_a_film_without_sound_says_so(tmp_path: Path) -> None:
    video(tmp_path / "mute.mkv", with_sound=False)
    with pytest.raises(AudioError, match="no audio stream"):
        read(tmp_path / "mute.mkv")


@pytest.mark.parametrize("rate", [8_000, 96_000])
def test_other_rates_stay_as_they_are(rate: int, tmp_path: Path) -> None:
    write(tmp_path / "a.flac", Sound(chirp(rate, channels=1), rate))
    back = read(tmp_path / "a.flac")
    assert (back.rate, back.samples.shape[1]) == (rate, 1)
    middle = slice(10_000, 20_000)
    up = read(tmp_path / "a.flac", 44_100).samples
    np.testing.assert_allclose(up[middle], chirp(channels=1)[middle], atol=0.01)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".m4a", ".mkv"])
def test_six_channels_keep_their_places(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"surround{suffix}"
    x = chirp(48_000, channels=6)
    if suffix == ".mkv":
        x = video(path, with_sound=True, layout="5.1", rate=48_000)
    elif suffix == ".ogg":  # in the order of the format, which libsndfile does not know
        soundfile.write(path, x[:, [0, 2, 1, 4, 5, 3]], 48_000, format="OGG")
    else:
        write(path, Sound(x, 48_000))
    back = read(path).samples[: len(x)]
    for channel in range(6):
        if suffix in (".m4a", ".ogg") and channel == 3:
            continue  # these keep of the bass channel only the bass
        likeness = [np.corrcoef(back[:, channel], x[:, other])[0, 1] for other in range(6)]
        assert likeness[channel] > 0.95, channel
        assert np.argmax(likeness) == channel


def test_channels_fold_into_two_by_the_standard() -> None:
    one = np.ones((4, 1), np.float32)
    np.testing.assert_array_equal(stereo(one), np.ones((4, 2), np.float32))
    two = chirp()
    assert stereo(two) is two
    half = np.float32(0.5**0.5)
    wanted = [[1, 0], [0, 1], [half, half], [0, 0], [half, 0], [0, half]]
    np.testing.assert_array_equal(stereo(np.eye(6, dtype=np.float32)), wanted)
    with pytest.raises(AudioError, match="9 channels"):
        stereo(np.zeros((1, 9), np.float32))


def test_a_song_of_three_hours_is_read_in_pieces_that_stay_small(tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    with soundfile.SoundFile(path, "w", 2_000, 1, "PCM_16") as file:
        for _ in range(18):
            file.write(np.zeros(2_000 * 600, np.float32))
    seen = [len(piece) for piece in pieces(path, 60.0)]
    assert seen == [120_000] * 180


@pytest.mark.parametrize("suffix", [".mp3", ".m4a", ".wav", ".flac"])
def test_rubbish_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"rubbish{suffix}"
    path.write_bytes(np.random.default_rng(1).bytes(40_000))
    with pytest.raises(AudioError, match=r"rubbish"):
        read(path)


@pytest.mark.parametrize("suffix", [".mp3", ".flac", ".m4a"])
def test_a_file_cut_off_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"cut{suffix}"
    write(path, Sound(chirp(seconds=8.0), 44_100, Tags({"title": "x" * 5000}, png())))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match="cut"):
        read(path)


@pytest.mark.parametrize("suffix", [".wav", ".ogg"])
def test_what_does_not_tell_its_length_is_as_long_as_it_is(suffix: str, tmp_path: Path) -> None:
    """Recorders that lose power leave such files: libsndfile counts what is there."""
    path = tmp_path / f"cut{suffix}"
    write(path, Sound(chirp(seconds=8.0), 44_100))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 2.0 < read(path).seconds < 5.0


def test_an_mp3_with_a_hole_is_refused_and_one_with_a_scratch_is_not(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    write(path, Sound(chirp(seconds=8.0), 44_100))
    whole = bytearray(path.read_bytes())
    for size in (3, len(whole) // 2):
        rubbish = bytearray(whole)
        at = len(whole) // 3
        rubbish[at : at + size] = np.random.default_rng(2).bytes(size)
        path.write_bytes(bytes(rubbish))
        if size == 3:
            assert read(path).seconds == pytest.approx(8.0, abs=0.1)
        else:
            with pytest.raises(AudioError, match=r"song\.mp3 is (damaged|cut off)"):
                read(path)


def test_what_is_no_file_or_no_sample_is_told(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="No file"):
        read(tmp_path / "none.wav")
    (tmp_path / "empty.mp3").touch()
    with pytest.raises(AudioError, match="0 bytes"):
        read(tmp_path / "empty.mp3")
    soundfile.write(tmp_path / "nothing.wav", np.zeros((0, 2), np.float32), 44_100)
    with pytest.raises(AudioError, match="no samples"):
        read(tmp_path / "nothing.wav")
    soundfile.write(tmp_path / "nan.wav", np.full((9, 2), np.nan, np.float32), 44_100, "FLOAT")
    with pytest.raises(AudioError, match="no sample"):
        read(tmp_path / "nan.wav")


def test_silence_is_sound(tmp_path: Path) -> None:
    write(tmp_path / "silence.mp3", Sound(np.zeros((44_100, 2), np.float32), 44_100))
    assert not read(tmp_path / "silence.mp3").samples.any()


def test_what_fails_half_way_leaves_nothing_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out.flac"
    path.write_bytes(b"old")

    def fail() -> None:
        with writing(path, 44_100, 2, tags=Tags({"title": "x"})) as sink:
            sink.write(chirp())
            raise RuntimeError("broke")

    with pytest.raises(RuntimeError, match="broke"):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["out.flac"]
    assert path.read_bytes() == b"old"


def test_places_and_formats_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    quiet = Sound(np.zeros((9, 2), np.float32), 44_100)
    for name, why in (("a.xyz", "must end"), ("none/a.wav", "no folder")):
        with pytest.raises(ConfigError, match=why):
            write(tmp_path / name, quiet)
    path = tmp_path / "a.wav"
    write(path, quiet)
    with pytest.raises(ConfigError, match="is the file to read"):
        write(path, quiet, source=path)
    with pytest.raises(AudioError, match="cannot be written"):
        write(tmp_path / "a.mp3", Sound(np.zeros((9, 3), np.float32), 44_100))
    with pytest.raises(AudioError, match="1, 2 or 6"):
        write(tmp_path / "a.m4a", Sound(np.zeros((9, 3), np.float32), 44_100))
    with pytest.raises(AudioError, match="neither JPEG nor PNG"):
        write(tmp_path / "a.mp3", Sound(quiet.samples, 44_100, Tags(cover=b"GIF89a")))
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = soundfile.SoundFile

    def full(_: Path, *rest: Any, **options: Any) -> soundfile.SoundFile:
        return real("/dev/full", *rest, **options)

    monkeypatch.setattr(sound.soundfile, "SoundFile", full)
    with pytest.raises(AudioError, match="cannot be written"):
        write(tmp_path / "a.wav", Sound(np.zeros((1 << 20, 2), np.float32), 44_100))
    assert not os.listdir(tmp_path)


def test_a_wav_that_cannot_be_counted_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sound, "MOST_IN_WAV", 1000)
    with pytest.raises(AudioError, match="more than WAV holds"):
        write(tmp_path / "a.wav", Sound(np.zeros((126, 2), np.float32), 44_100))
