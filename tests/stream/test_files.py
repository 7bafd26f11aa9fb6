from pathlib import Path

import numpy as np
import pytest
import soundfile

from stream.audio import RATES, Audio
from stream.errors import AudioError, ConfigError
from stream.files import SUBTYPES, SoundFile, stream_rate, writing

NONE = Path("none.wav")


def tone(rate: int, seconds: float = 0.5, hz: float = 440.0) -> Audio:
    t = np.arange(int(rate * seconds)) / rate
    return (0.5 * np.sin(2 * np.pi * hz * t)).astype(np.float32)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000, 96_000, 192_000])
def test_any_rate_is_read_as_the_same_sound_at_a_rate_that_streams(
    rate: int, tmp_path: Path
) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(rate), rate, subtype="FLOAT")
    file = SoundFile(path)
    heard = file.read()
    assert file.rate == stream_rate(rate) in RATES
    assert len(heard) == file.length == -(-len(tone(rate)) * file.rate // rate)
    middle = slice(len(heard) // 4, len(heard) // 2)
    np.testing.assert_allclose(heard[middle], tone(file.rate)[: len(heard)][middle], atol=2e-3)


def test_channels_are_averaged(tmp_path: Path) -> None:
    path = tmp_path / "six.wav"
    x = tone(48_000)
    soundfile.write(path, np.stack([x, x, x, -x, x, x], axis=1), 48_000, subtype="FLOAT")
    np.testing.assert_allclose(SoundFile(path).read(), x * 4 / 6, atol=1e-6)


def test_a_long_file_comes_in_blocks_that_join_to_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    x = tone(16_000, seconds=12.3)
    soundfile.write(path, x, 16_000, subtype="FLOAT")
    blocks = list(SoundFile(path))
    assert len(blocks) > 2
    np.testing.assert_array_equal(np.concatenate(blocks), x)


@pytest.mark.parametrize("suffix", SUBTYPES)
def test_every_format_that_is_written_reads_back(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"tone{suffix}"
    x = tone(24_000, seconds=1.0)
    with writing(path, 24_000, NONE) as file:
        for block in np.array_split(x, 7):
            file.write(block)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    heard = SoundFile(path).read()
    assert abs(len(heard) - len(x)) < 2500  # MP3 pads to whole frames
    assert 0.3 < np.sqrt(np.mean(heard**2)) < 0.4


def test_video_containers_are_read_with_pyav(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="the extra `offline` is not installed")
    path = tmp_path / "tone.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=44_100, layout="mono")
        samples = (tone(44_100) * 32767).astype(np.int16)[np.newaxis]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 44_100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    np.testing.assert_allclose(SoundFile(path).read(), tone(44_100), atol=1e-3)


def test_a_file_that_fails_half_way_leaves_nothing_and_keeps_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    path.write_bytes(b"old")

    def fail() -> None:
        with writing(path, 16_000, NONE) as file:
            file.write(tone(16_000))
            raise RuntimeError("the conversion broke")

    with pytest.raises(RuntimeError, match="broke"):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["out.wav"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("name", ["out.m4a", "out", "none/out.wav"])
def test_places_that_cannot_be_written_are_named_at_once(name: str, tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"must end in|no folder"),
        writing(tmp_path / name, 16_000, NONE),
    ):
        pass


def test_the_file_to_read_is_never_the_file_to_write(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"precious")
    link = tmp_path / "b.wav"
    link.symlink_to(path)
    for target in (path, link):
        with pytest.raises(ConfigError, match="is the file to read"), writing(target, 16_000, path):
            pass
    assert path.read_bytes() == b"precious"


def test_no_file_and_empty_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="No file"):
        SoundFile(tmp_path / "none.wav")
    (tmp_path / "empty.wav").touch()
    with pytest.raises(AudioError, match="is empty"):
        SoundFile(tmp_path / "empty.wav")
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0, np.float32), 16_000)
    with pytest.raises(AudioError, match="no samples"):
        SoundFile(tmp_path / "nothing.wav").read()


@pytest.mark.parametrize("content", [b"hello, this is text\n" * 40, bytes(2000), b"RIFF"])
def test_what_is_no_audio_is_refused_with_advice(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "fake.wav").write_bytes(content)
    with pytest.raises(AudioError, match="WAV, FLAC, Ogg"):
        SoundFile(tmp_path / "fake.wav").read()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 30_000.0])
def test_samples_that_are_no_sound_are_refused_with_their_time(bad: float, tmp_path: Path) -> None:
    x = tone(16_000, seconds=6.0)
    x[68_000] = bad  # in the second block
    soundfile.write(tmp_path / "bad.wav", x, 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"at 4\.25 s"):
        SoundFile(tmp_path / "bad.wav").read()
