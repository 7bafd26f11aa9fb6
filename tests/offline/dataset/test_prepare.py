import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from offline.cache import Cache
from offline.dataset import Clip, Dataset, DatasetSettings, prepare
from offline.dataset.clips import Example
from stream.audio import Audio, gain, rms_db
from stream.errors import AssetMissing, AudioError

ROOT = Path(__file__).parents[3]
SHORT = DatasetSettings(least_s=2.0)
Make = Callable[..., Dataset]


@pytest.fixture
def make(cache: Cache, home: Path) -> Make:
    """`prepare` with a cache and a home, for little speech."""

    def made(*files: Path, settings: DatasetSettings = SHORT, **options: object) -> Dataset:
        given = {"cache": cache, "home": home, **options}
        return prepare(files, settings=settings, **given)  # pyright: ignore[reportArgumentType]

    return made


def all_clips(data: Dataset) -> list[Clip]:
    return [*data.training, *data.held_out]


def entries(cache: Cache, step: str) -> int:
    return cache.info().by_step.get(step, (0, 0))[0]


def test_clips_lie_where_their_speech_was(make: Make, folder: Path, clips: list[Audio]) -> None:
    data = make(folder, settings=SHORT.model_copy(update={"high_pass_hz": 0.0}))
    sounds = {"one.wav": clips[0], "two.wav": clips[2], "three.wav": clips[3]}
    assert {clip.recording for clip in all_clips(data)} == set(sounds)
    for clip in all_clips(data):
        example = clip.load()
        begin = round(clip.start_s * 16_000)
        heard = sounds[clip.recording][begin : begin + round(clip.seconds * 16_000)]
        said = soxr.resample(example.audio, 24_000, 16_000)
        level = float(np.dot(said, heard) / np.dot(heard, heard))
        inner = slice(200, -200)
        assert np.linalg.norm((said - level * heard)[inner]) < 0.05 * np.linalg.norm(said)


def test_an_example_has_whole_frames_of_everything(make: Make, folder: Path) -> None:
    for clip in all_clips(make(folder)):
        example: Example = clip.load()
        frames = len(example.f0)
        assert frames == round(100 * clip.seconds)
        assert example.audio.shape == (240 * frames,)
        assert example.features.shape == (frames, 256)
        np.testing.assert_array_equal(example.features[::2], example.features[1::2])
        assert {x.dtype for x in (example.audio, example.features, example.f0)} == {
            np.dtype(np.float32)
        }
        assert 0.3 < np.mean(example.f0 > 0) < 0.95


def test_every_recording_is_brought_to_one_level(
    make: Make, tmp_path: Path, clips: list[Audio]
) -> None:
    for name, clip, db in (("a", clips[0], -30.0), ("b", clips[2], 0.0), ("c", clips[3], 14.0)):
        soundfile.write(tmp_path / f"{name}.wav", clip * gain(db), 16_000, subtype="FLOAT")
    for clip in all_clips(make(tmp_path)):
        audio = clip.load().audio
        frames = np.array([rms_db(x) for x in np.split(audio[: len(audio) // 480 * 480], 480)])
        assert np.abs(audio).max() <= 1.0
        assert rms_db(audio) == pytest.approx(-23.0, abs=2.0), clip.recording
        assert frames.max() < -10.0


def test_far_too_loud_sound_is_no_crash(make: Make, tmp_path: Path, clips: list[Audio]) -> None:
    loud = clips[0] * np.float32(7.0 / np.abs(clips[0]).max())
    soundfile.write(tmp_path / "loud.wav", loud, 16_000, subtype="FLOAT")
    for loudness in ("recording", "off"):
        settings = SHORT.model_copy(update={"loudness": loudness})
        for clip in all_clips(make(tmp_path, settings=settings)):
            assert np.abs(clip.load().audio).max() <= 1.0


def test_a_damaged_file_among_good_ones_is_named_and_skipped(make: Make, folder: Path) -> None:
    good = make(folder)
    (folder / "noise.wav").write_bytes(bytes(range(256)) * 40)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.mp3").write_text("this is no sound")
    soundfile.write(folder / "cut.flac", np.random.default_rng(0).uniform(-1, 1, 90_000), 16_000)
    (folder / "cut.flac").write_bytes((folder / "cut.flac").read_bytes()[:90_000])
    soundfile.write(folder / "silent.wav", np.zeros(48_000), 16_000)
    soundfile.write(folder / "blip.wav", np.full(800, 0.1), 16_000)
    nan = np.full(32_000, np.nan, np.float32)
    soundfile.write(folder / "nan.wav", nan, 16_000, subtype="FLOAT")
    data = make(folder)
    refused = dict(data.refused)
    assert set(refused) == {
        *("noise.wav", "empty.wav", "text.mp3", "cut.flac", "silent.wav", "blip.wav", "nan.wav")
    }
    assert "silent" in refused["silent.wav"]
    assert "0.1 s long" in refused["blip.wav"]
    assert "0 bytes" in refused["empty.wav"]
    assert "is damaged" in refused["cut.flac"]
    assert data.key == good.key


def test_nothing_usable_says_why_of_each(make: Make, tmp_path: Path) -> None:
    (tmp_path / "noise.wav").write_bytes(bytes(range(256)) * 40)
    with pytest.raises(AudioError, match=r"None of the recordings can be used:\n  noise\.wav: "):
        make(tmp_path)


def test_three_seconds_are_too_little_and_the_message_says_so(
    make: Make, tmp_path: Path, clips: list[Audio]
) -> None:
    soundfile.write(tmp_path / "short.wav", clips[1], 16_000)
    with pytest.raises(AudioError, match=r"2\.\d s of speech .* at least 10 s are needed"):
        make(tmp_path, settings=DatasetSettings())


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_telephone_sound_is_refused_unless_it_is_wanted(
    make: Make, tmp_path: Path, speech: Audio, rate: int
) -> None:
    narrow = soxr.resample(speech[: 6 * 16_000], 16_000, 8_000)
    soundfile.write(tmp_path / "call.wav", soxr.resample(narrow, 8_000, rate), rate)
    with pytest.raises(AudioError, match="telephone"):
        make(tmp_path)
    if rate == 8_000:
        wanted = SHORT.model_copy(update={"telephone": True})
        assert make(tmp_path, settings=wanted).training


def test_the_name_does_not_matter_and_the_content_does(
    make: Make, folder: Path, tmp_path: Path, home: Path, clips: list[Audio]
) -> None:
    cache = Cache(tmp_path / "own")
    settings = DatasetSettings(least_s=1.0)
    (folder / "three.wav").unlink()
    first = make(folder, settings=settings, cache=cache)
    before = cache.info().entries
    (folder / "one.wav").rename(folder / "other.wav")
    assert make(folder, settings=settings, cache=cache).key == first.key
    assert cache.info().entries == before
    longer = settings.model_copy(update={"longest_s": 4.0})
    assert make(folder, settings=longer, cache=cache).key != first.key
    assert cache.info().entries == before  # cut elsewhere, heard as before
    soundfile.write(folder / "two.wav", clips[3], 16_000)
    changed = make(folder, settings=settings, cache=cache)
    assert changed.key != first.key
    assert entries(cache, "dataset-content") == 3
    assert {c.sha256 for c in all_clips(changed)} != {c.sha256 for c in all_clips(first)}


def test_copies_are_used_once_and_said(make: Make, folder: Path) -> None:
    once = make(folder)
    (folder / "z-copy.wav").write_bytes((folder / "one.wav").read_bytes())
    data = make(folder)
    assert data.key == once.key
    assert any("z-copy.wav is a copy of one.wav" in told for told in data.remarks)


def test_of_one_recording_the_end_is_kept_for_judging(
    make: Make, tmp_path: Path, speech: Audio
) -> None:
    told = np.concatenate([np.pad(part, (0, 12_000)) for part in np.split(speech[:192_000], 4)])
    soundfile.write(tmp_path / "all.wav", told, 16_000)
    data = make(tmp_path)
    assert data.held_out
    end = max(clip.start_s + clip.seconds for clip in data.training)
    assert min(clip.start_s for clip in data.held_out) >= end + 2.0
    assert any("the end of all.wav is kept" in told for told in data.remarks)
    assert data.facts()["held_out"] == ["all.wav"]


def test_progress_only_grows_and_ends(make: Make, folder: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    make(folder, cache=Cache(tmp_path / "own"), progress=lambda *at: seen.append(at))
    done, known = zip(*seen, strict=True)
    assert list(done) == list(range(1, len(seen) + 1))
    assert list(known) == sorted(known)
    assert done[-1] == known[-1]


def test_stopped_in_the_middle_nothing_runs_on(make: Make, folder: Path, tmp_path: Path) -> None:
    def stop(done: int, known: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(folder, cache=Cache(tmp_path / "own"), progress=stop)
    assert not [t for t in threading.enumerate() if t.name.startswith("dataset")]


def test_an_emptied_cache_is_said_and_filled_again(
    make: Make, folder: Path, tmp_path: Path
) -> None:
    cache = Cache(tmp_path / "own")
    data = make(folder / "one.wav", cache=cache)
    cache.prune(0)
    with pytest.raises(AudioError, match="no longer in the cache"):
        data.training[0].load()
    assert make(folder / "one.wav", cache=cache).key == data.key
    assert len(data.training[0].load().f0)


def test_a_missing_encoder_is_told_with_how_to_get_it(make: Make, folder: Path) -> None:
    wanted = SHORT.model_copy(update={"encoder": "contentvec-768"})
    with pytest.raises(AssetMissing, match=r"This data set needs .* timbral models pull"):
        make(folder, settings=wanted)


PREPARE = """
import sys
from pathlib import Path
from offline.cache import Cache
from offline.dataset import DatasetSettings, prepare

folder, cache, home = map(Path, sys.argv[1:])
settings = DatasetSettings(least_s=2.0)
prepare([folder], settings=settings, cache=Cache(cache), home=home)
"""


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_and_ends_the_same(
    make: Make, folder: Path, tmp_path: Path, home: Path
) -> None:
    cache = Cache(tmp_path / "own")
    whole = make(folder)
    kept: list[int] = []
    for entries_wanted in (1, 8):
        arguments = (folder, cache.folder, home)
        run = subprocess.Popen([sys.executable, "-c", PREPARE, *map(str, arguments)], cwd=ROOT)
        while run.poll() is None and cache.info().entries < entries_wanted:
            time.sleep(0.01)
        run.kill()
        assert run.wait() == -9
        kept.append(cache.info().entries)
    assert kept[0] >= 1
    assert kept[1] >= 8
    assert cache.verify() == ()
    data = make(folder, cache=cache)
    assert data.key == whole.key
    for one, two in zip(all_clips(data), all_clips(whole), strict=True):
        for x, y in zip(vars(one.load()).values(), vars(two.load()).values(), strict=True):
            np.testing.assert_array_equal(x, y)
