"""`timbral train`: from recordings to a voice that speaks live, or a clear word."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner, Result

from offline.train import loop
from offline.train.journal import events
from offline.train.plan import folder_of, read_plan
from stream.device import CPU
from stream.engine import Conversion
from stream.errors import TimbralError
from stream.files import SoundFile
from stream.models.store import Store
from stream.profiles import STEADY
from timbral import app

torch.set_num_threads(1)
SENTENCES = (
    "The quick brown fox jumps over the lazy dog while the farmer watches from the gate.",
    "She sells sea shells by the sea shore, and the shells she sells are sea shells.",
    "Please call Stella and ask her to bring these things with her from the store.",
    "The birch canoe slid on the smooth planks and came to rest beside the blue boat.",
    "Rice is often served in round bowls together with fish and a little onion.",
    "The source of the huge river is the clear spring behind the northern village.",
    "A pot of tea helps to pass the evening when the rain falls on the roof.",
    "The boy was there when the sun rose and the birds began to sing.",
)
SMALL = ("--steps", "12", "--every", "6", "--save-every", "6", "--batch", "2", "--frames", "80",
         "--segment", "30", "--consent", "A synthetic voice.")  # fmt: skip


def train(home: Path, *words: str) -> Result:
    run = CliRunner().invoke(app, ["train", *words], env={"TIMBRAL_HOME": str(home)})
    if run.exception is not None and not isinstance(run.exception, SystemExit | TimbralError):
        raise run.exception
    return run


def said(run: Result) -> str:
    assert isinstance(run.exception, TimbralError), run.output
    return str(run.exception)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight sentences of a speech synthesizer, and a file that is none."""
    flite = shutil.which("flite")
    if flite is None:
        pytest.skip("flite is not installed: make system")
    folder = tmp_path_factory.mktemp("recordings")
    for number, text in enumerate(SENTENCES):
        path = folder / f"{number}.wav"
        subprocess.run([flite, "-voice", "slt", "-t", text, "-o", str(path)], check=True)
    (folder / "broken.wav").write_bytes(b"RIFF\x10\0\0\0WAVEnothing")
    return folder


def interrupt(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Press Ctrl-C in that step."""
    learn: Callable[..., None] = loop.Trainer._learn  # pyright: ignore[reportPrivateUsage]

    def learn_and_press(self: Any, batches: Any) -> None:
        learn(self, batches)
        if self.step == at:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(loop.Trainer, "_learn", learn_and_press)


@pytest.mark.slow
def test_recordings_become_a_voice_that_speaks_live(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted while learning, killed while the voice is made, and there in the end."""
    home, folder = tmp_path, folder_of(tmp_path, "ada")
    with monkeypatch.context() as patched:
        interrupt(patched, at=7)
        run = train(home, str(recordings), "--name", "ada", *SMALL)
    assert run.exit_code == 130, run.output
    assert "step 8 is kept" in run.output
    assert "timbral train --name ada --resume" in run.output
    with monkeypatch.context() as patched:
        patched.setattr("offline.train.result.finish", _killed)
        with pytest.raises(_Kill):
            train(home, "--name", "ada", "--resume")
    assert "ada" not in Store(home).names()
    run = train(home, "--name", "ada", "--resume")
    assert run.exit_code == 0, run.output
    assert [path for path, _ in map(tuple, _refused(folder))] == ["broken.wav"]
    told = [event for event in events(folder) if event["kind"] == "step"]
    assert told[-1]["step"] == 12
    assert told[-1]["nll"] < told[0]["nll"]
    assert "step 12" in (folder / "report.html").read_text("utf-8")
    card = Store(home).card("ada")
    assert card.consent == "A synthetic voice."
    assert card.f0_median_hz == pytest.approx(165, rel=0.25)  # slt's
    _speaks(home, recordings / "3.wav")
    assert "already" in said(train(home, str(recordings), "--name", "ada", *SMALL))


class _Kill(Exception):
    pass


def _killed(*given: object, **named: object) -> None:
    raise _Kill


def _refused(folder: Path) -> list[tuple[str, str]]:
    held = json.loads((folder / "dataset.json").read_text("utf-8"))
    return [(Path(each["file"]).name, each["why"]) for each in held["refused"]]


def _speaks(home: Path, path: Path) -> None:
    """Live in pieces of 7 ms, it says what it says in one piece, as long and about as loud."""
    voice = Store(home).load("ada", CPU)
    file = SoundFile(path)
    sound = file.read()[: 3 * file.rate]
    whole = Conversion(voice, file.rate, profile=STEADY["balanced"])
    one = np.concatenate([whole.step(sound), whole.flush()])
    cut = Conversion(voice, file.rate, profile=STEADY["balanced"])
    step = 7 * file.rate // 1000
    pieces = [cut.step(sound[at : at + step]) for at in range(0, len(sound), step)]
    np.testing.assert_array_equal(np.concatenate([*pieces, cut.flush()]), one)
    assert len(one) == len(sound)
    level = float(np.sqrt(np.mean(one**2)) / np.sqrt(np.mean(sound**2)))
    assert 0.2 < level < 5.0


def noise(path: Path, seconds: float, rate: int) -> Path:
    """A buzz that counts as a voice, to be refused for other reasons."""
    n = round(seconds * rate)
    phase = 2 * np.pi * np.cumsum(120 + 10 * np.sin(np.arange(n) / rate)) / rate
    buzz = sum(np.sin(k * phase) for k in range(1, int(0.45 * rate / 130))) / 20
    wave = 0.1 * buzz * (1 + np.sin(2 * np.pi * 3 * np.arange(n) / rate)) / 2
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave.astype(np.float32), rate)
    return path


def test_what_cannot_be_trained_on_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    short = noise(tmp_path / "short" / "a.wav", 3.0, 24_000)
    telephone = noise(tmp_path / "telephone" / "a.wav", 12.0, 8_000)
    name = ("--name", "ada", *SMALL)
    for folder, words in (
        (tmp_path / "empty", ("empty",)),
        (short.parent, ("3", "10")),
        (telephone.parent, ("--telephone",)),
    ):
        text = said(train(tmp_path, str(folder), *name))
        assert all(word in text for word in words), text
    assert not folder_of(tmp_path, "ada").exists()  # the name is free again


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--name", "ada"), "Say what to train on"),
        (("x.wav", "--name", "Ada Lovelace"), "lower-case"),
        (("x.wav", "--name", "ada", "--consent", "me", "--lr", "7"), "--lr"),
        (("x.wav", "--name", "ada", "--consent", "me", "--segment", "300"), "shorter than frames"),
        (("x.wav", "--name", "ada"), "--consent"),
        (("--name", "ada", "--resume"), "no training 'ada'"),
        (("x.wav", "--name", "ada", "--resume"), "the name alone"),
        (("x.wav", "--name", "starter", "--consent", "me"), "already"),
        (("x.wav", "--name", "ada", "--consent", "me", "--precision", "fp16"), "CUDA only"),
        (("x.wav", "--name", "ada", "--consent", "me", "--rate", "44100"), "24000"),
        (("x.wav", "--name", "ada", "--consent", "me", "--family", "rvc-v2"), "base-v2-40k"),
        (("x.wav", "--name", "ada", "--consent", "me", "--base", "nobody"), "No voice 'nobody'"),
        (("export", "ada"), "no training 'ada'"),
    ],
    ids=lambda value: "-".join(value[-2:]) if isinstance(value, tuple) else "",
)
def test_wrong_words_are_answered_before_anything_is_done(
    words: tuple[str, ...], reason: str, tmp_path: Path
) -> None:
    noise(tmp_path / "x.wav", 0.5, 24_000)
    words = tuple(str(tmp_path / word) if word == "x.wav" else word for word in words)
    assert reason in said(train(tmp_path / "home", *words))
    assert not (tmp_path / "home" / "training").exists()


def test_a_check_writes_a_page_and_trains_nothing(tmp_path: Path) -> None:
    heard = noise(tmp_path / "a.wav", 3.0, 24_000)
    page = tmp_path / "page.html"
    run = train(tmp_path / "home", str(heard), "--check", "--report", str(page))
    assert run.exit_code == 1
    assert "0.0 minutes" in run.output or "0.1 minutes" in run.output
    assert "<html" in page.read_text("utf-8").lower()
    assert not (tmp_path / "home" / "training").exists()


def test_settings_come_back_as_they_were_asked_for(tmp_path: Path) -> None:
    from offline.train.asked import Asked
    from offline.train.plan import abandon, begin

    words = ((str(tmp_path),), "ada", "narrow", "cpu", "one", "mine", 3)
    plan = Asked(*words, {"batch": 5, "minutes": 2.0}, {"held_out": 0.1}).plan("me")  # type: ignore[arg-type]
    assert (plan.training.batch, plan.training.steps, plan.training.minutes) == (5, None, 2.0)
    assert (plan.dataset.held_out, plan.dataset.seed) == (0.1, 3)
    folder = folder_of(tmp_path, "ada")
    begin(plan, folder)
    assert read_plan(folder) == plan
    abandon(folder)
    assert not folder.exists()
