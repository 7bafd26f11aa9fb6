"""The starter's recipe: speech, targets, the student's training, and the figures."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from offline.train.starter import distil, speech, teacher  # noqa: E402
from offline.train.starter.distil import Settings, Speech, Training  # noqa: E402
from offline.train.student import BlockShape, LogMel, Student, StudentShape  # noqa: E402

torch.set_num_threads(1)  # the sums here are small: threads only wait for each other
SHAPE = StudentShape(
    width=16, hidden=24, blocks=(BlockShape(1, 1), BlockShape(2)), features=256, phones=4
)


def tone(seconds: float, level: float = 0.2) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
    t = np.arange(round(seconds * speech.RATE)) / speech.RATE
    return (level * np.sin(2 * np.pi * 220 * t)).astype(np.float32)


def stream(frames: int, seed: int = 0) -> Speech:
    chance = np.random.default_rng(seed)
    audio = (3_000 * chance.standard_normal(frames * 320)).astype(np.int16)
    return Speech(audio, chance.standard_normal((frames, 256)).astype(np.float16))


def test_a_clip_is_brought_to_one_level_and_loses_its_silent_ends() -> None:
    padded = np.concatenate([np.zeros(16_000), tone(1.0, 0.05), np.zeros(16_000)])
    clip = speech.normalise(padded.astype(np.float32))
    assert clip is not None
    assert len(clip) < 1.3 * speech.RATE
    loud = clip[np.abs(clip) > 400].astype(np.float64) / 32767
    assert np.sqrt(np.mean(loud**2)) == pytest.approx(speech.TARGET_RMS, rel=0.1)


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 1_599])
def test_what_is_too_short_is_no_clip(length: int) -> None:
    assert speech.normalise(np.ones(length, np.float32)) is None


def test_clips_are_joined_up_to_the_limit() -> None:
    joined = speech.join(iter([tone(1.0)] * 100), minutes=0.1)
    assert 6 <= len(joined) / speech.RATE <= 6 * 1.25 + 2.5


def test_whole_people_are_held_out() -> None:
    held = {s.name for s in speech.SOURCES if s.held_out}
    places = [p for s in speech.SOURCES if not s.held_out for p in s.places]
    assert held == {"allison", "rms"}
    assert not any("Allison" in p or p == "rms" for p in places)
    assert len({s.name for s in speech.SOURCES}) == len(speech.SOURCES)


def test_targets_do_not_depend_on_the_length_of_the_stream() -> None:
    chance = np.random.default_rng(0)
    features = chance.standard_normal((500, 384)).astype(np.float16)
    fitted = teacher.fit_space([features], dim=256)
    matrix = (0.05 * chance.standard_normal((5 * 256 + 1, 256))).astype(np.float32)
    space = teacher.TargetSpace(fitted.mean, fitted.spread, fitted.axes, fitted.scale, matrix)
    whole, part = space(features), space(features[:100])
    assert whole.shape == (500, 256)
    assert np.allclose(whole[:98], part[:98], atol=1e-2)


def test_stretching_by_one_changes_nothing_and_by_more_raises_the_pitch() -> None:
    magnitude = torch.zeros(257, 3)
    magnitude[100] = 1.0
    assert torch.equal(distil.stretch(magnitude, 1.0), magnitude)
    assert int(distil.stretch(magnitude, 1.1)[:, 0].argmax()) == 110


def test_an_item_of_silence_survives_augmentation() -> None:
    mel = distil.augment(torch.zeros(2, 320 * 10), LogMel())
    assert mel.shape == (2, 20, 80)
    assert bool(torch.isfinite(mel).all())


def test_training_goes_on_exactly_where_it_was_saved(tmp_path: Path) -> None:
    settings = Settings(batch=2)
    items = distil.Sampler({"a": stream(400)}, settings)()

    def fresh() -> Training:
        torch.manual_seed(1)
        return Training(Student(SHAPE), settings)

    through = fresh()
    for _ in range(2):
        torch.manual_seed(2)
        through.step(*items, progress=0.1)
    first = fresh()
    torch.manual_seed(2)
    first.step(*items, progress=0.1)
    first.save(tmp_path / "run.pt")
    resumed = fresh()
    resumed.resume(tmp_path / "run.pt")
    torch.manual_seed(2)
    resumed.step(*items, progress=0.1)
    expected, found = through.student.state_dict(), resumed.student.state_dict()
    assert all(torch.allclose(expected[k], found[k], atol=1e-6) for k in expected)


@pytest.mark.slow
def test_training_brings_the_student_nearer_to_its_targets() -> None:
    torch.manual_seed(0)
    settings = Settings(rate=5e-3, batch=2)
    training = Training(Student(SHAPE), settings)
    flat = Speech(stream(600).audio, np.ones((600, 256), np.float16))
    sampler = distil.Sampler({"a": flat}, settings)
    before = distil.judge(training.student, flat, training.phones)
    for _ in range(10):
        training.step(*sampler(), progress=0.1)
    after = distil.judge(training.student, flat, training.phones)
    assert after.squared < 0.95 * before.squared


def test_held_out_people_are_never_drawn() -> None:
    speeches = {"allison": stream(400, 1), "a": stream(400, 2)}
    sampler = distil.Sampler(speeches, Settings(batch=16))
    _, target = sampler()
    mine = torch.from_numpy(speeches["a"].target.astype(np.float32))
    rows = target.reshape(-1, 256)
    assert bool((torch.cdist(rows[::250], mine).amin(1) < 0.05).all())
