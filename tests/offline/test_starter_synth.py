"""The recipe's half that makes the synthesizer, on a minute of vowels."""

import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
soundfile = pytest.importorskip("soundfile")

from offline.train.starter import prior, target, voice  # noqa: E402
from offline.train.starter.adversary import Critics  # noqa: E402
from offline.train.starter.crops import SoundCrops, normal  # noqa: E402
from offline.train.starter.run import Run, weights_of  # noqa: E402
from offline.train.student import Student  # noqa: E402
from offline.train.warm import scale_in  # noqa: E402
from stream.excitation import Excitation  # noqa: E402
from stream.models.index import RetrievalIndex  # noqa: E402
from stream.models.store import STARTERS  # noqa: E402
from stream.models.voice import read_card, verify  # noqa: E402

torch.set_num_threads(1)  # the sums here are small: threads only wait for each other
RATE, HOP = target.RATE, target.HOP
NUMBERS = (0, 30, 31, 32)  # sentence 0 is held out
FRAMES = 140
SPOKEN = target.TARGETS[0]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder in which a target has spoken and the student is made."""
    root = tmp_path_factory.mktemp("starter")
    sentences = target.folder_of(root, SPOKEN.name) / target.SENTENCES
    sentences.mkdir(parents=True)
    for number in NUMBERS:
        f0 = np.where(np.arange(FRAMES) % 50 < 40, 120.0 + number, 0.0).astype(np.float32)
        sound = Excitation(RATE, HOP, seed=number).step(f0, 0)
        soundfile.write(sentences / f"{number:05d}.wav", 0.3 * sound, RATE)
        np.save(sentences / f"{number:05d}.f0.npy", f0)
    torch.manual_seed(0)
    torch.save(Student().state_dict(), root / "student.pt")
    return root


@pytest.fixture(scope="module")
def folder(work: Path) -> Path:
    return target.folder_of(work, SPOKEN.name)


def test_ipa_becomes_the_symbols_that_kokoro_reads() -> None:
    assert target.to_symbols("hˈe^ɪ d^ʒˈo^ʊ, bˈɜːd") == "hˈA ʤˈO, bˈɜɹd"


def test_trimming_leaves_whole_content_frames_of_speech() -> None:
    speech = 0.1 * np.ones(RATE, np.float32)
    quiet = np.zeros(RATE, np.float32)
    sound = target.trim(np.concatenate([quiet, speech, quiet]))
    assert len(sound) % (2 * HOP) == 0
    assert RATE < len(sound) < 1.4 * RATE
    assert len(target.trim(quiet)) == 0


def test_crops_keep_sound_and_pitch_together(folder: Path) -> None:
    crops = SoundCrops(target.load(folder), batch=6, frames=40, seed=0)()
    assert crops.sound.shape == (6, 40 * HOP)
    assert crops.source.shape == (6, 1, 40 * HOP)
    assert crops.pitch.shape == (6, 40)
    level = crops.sound.view(6, 40, HOP).std(2)
    voiced = crops.pitch > 1
    for row, heard in zip(level, voiced, strict=True):  # the noise between is weaker by 10 dB
        assert row[heard].median() > 2 * row[~heard].median()


def test_held_out_sentences_are_not_trained_on(folder: Path) -> None:
    assert [u.held_out for u in target.load(folder)] == [True, False, False, False]


def test_critics_prefer_a_decoder_that_copies() -> None:
    critics = Critics()
    real = torch.randn(2, 4_800)
    assert critics.judge(real, real)[1] == 0
    assert critics.judge(real, torch.zeros_like(real))[1] > 0
    assert all(p.requires_grad for p in critics.parameters())


@pytest.mark.slow
def test_a_voice_is_made_from_nothing_and_the_next_one_from_it(work: Path, tmp_path: Path) -> None:
    first, second = SPOKEN, target.TARGETS[1]
    heard = target.folder_of(work, first.name) / target.SENTENCES
    shutil.copytree(heard, target.folder_of(work, second.name) / target.SENTENCES)
    for path in (target.folder_of(work, second.name) / target.SENTENCES).glob("*.wav"):
        soundfile.write(path, 0.3 * soundfile.read(path)[0], RATE)  # statistics of its own
    voice.make(work, first, 0.01, "cpu", tmp_path / first.name)
    voice.make(work, second, 0.04, "cpu", tmp_path / second.name)
    folder = target.folder_of(work, second.name)
    features = prior.lessons(folder)[0].features[0].astype(np.float32)
    for spoken in (first, second):
        into = tmp_path / spoken.name
        card = read_card(into)
        verify(into, card.files, needed=("synth.onnx", "index.faiss", "preview.wav"))
        assert card.name == spoken.name
        assert card.f0_median_hz == pytest.approx(150.0, abs=12.0)
        assert (into / "synth.onnx").stat().st_size < 5e6
        index = RetrievalIndex(into / "index.faiss", features.shape[1])
        assert index.blend(features, 0.5).shape == features.shape
    one, other = (scale_in(tmp_path / s.name / "synth.onnx") for s in (first, second))
    assert one is not None
    assert other is not None
    np.testing.assert_array_equal(one, other)


def test_every_voice_of_the_package_is_a_blend_in_the_store() -> None:
    assert tuple(spoken.name for spoken in target.TARGETS) == STARTERS
    for spoken in target.TARGETS:
        assert len(spoken.blend) > 1
        assert sum(spoken.blend.values()) == pytest.approx(1.0)


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    def made() -> Run:
        net = torch.nn.Linear(2, 2)
        return Run(tmp_path / "x.pt", {"net": net}, {"net": 0.1}, 0.9)

    first = made()
    for _ in range(3):
        first.progress(1.0)
        first.step("net", first.modules["net"](torch.ones(1, 2)).sum(), 1.0)
        first.count()
    first.save()
    second = made()
    assert (second.steps, second.seconds > 0) == (3, True)
    torch.testing.assert_close(second.modules["net"].weight, first.modules["net"].weight)
    assert weights_of(tmp_path / "x.pt").keys() == first.average.keys()


def test_statistics_are_kept(folder: Path) -> None:
    first = normal(folder, target.load(folder))
    again = normal(folder, [])
    torch.testing.assert_close(again.mean, first.mean)
