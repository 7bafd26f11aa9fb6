"""What a run tells: TensorBoard's file, and the report in words."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline.dataset import DatasetSettings
from offline.judge.scores import Scores
from offline.train.exam import HeldOut
from offline.train.journal import Journal, events
from offline.train.loop import Outcome
from offline.train.plan import Plan, begin
from offline.train.report import verdict, write_report
from offline.train.settings import TrainSettings, defaults
from offline.train.tensorboard import crc32c


def records(data: bytes) -> Iterator[bytes]:
    """The records of a TensorBoard file, by its own rules: length, checksum, content, checksum."""
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        content = data[at + 12 : at + 12 + length]
        for begin_, end in ((at, at + 8), (at + 12, at + 12 + length)):
            (found,) = struct.unpack_from("<I", data, end)
            crc = crc32c(data[begin_:end])
            assert found == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
        yield content
        at += 16 + length


@settings(max_examples=20, deadline=None)
@given(step=st.integers(0, 1 << 40), value=st.floats(-1e6, 1e6, width=32, allow_subnormal=False))
def test_figures_are_written_as_tensorboard_reads_them(
    step: int, value: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from google.protobuf.internal.decoder import _DecodeVarint  # type: ignore[attr-defined]  # pyright: ignore

    folder = tmp_path_factory.mktemp("run")
    journal = Journal(folder)
    journal.tell(step, 1.0, {"nll": value})
    journal.close()
    (file,) = (folder / "tensorboard").iterdir()
    first, seconds, nll = records(file.read_bytes())
    assert b"brain.Event:2" in first
    assert b"train/seconds" in seconds
    found, _ = _DecodeVarint(nll, 10)
    assert (nll[0], nll[9], found) == (0x09, 0x10, step)
    assert b"train/nll" in nll
    assert struct.unpack("<f", nll[-4:])[0] == value


def test_checksums_are_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720
    assert crc32c(bytes(32)) == 0x8A9136AA


def scores(mel_db: float) -> Scores:
    return Scores(
        clips=3, seconds=9.0, mel_db=mel_db, mcd_db=2.0, f0_correlation=0.99, f0_cents=5.0,
        voicing_error=0.02,
    )  # fmt: skip


def planned(folder: Path) -> Plan:
    training = TrainSettings.model_validate({**defaults("narrow"), "patience": 2})
    plan = Plan(name="ada", files=("a.wav",), training=training, dataset=DatasetSettings(),
                consent="<b>me</b>")  # fmt: skip
    begin(plan, folder)
    return plan


def test_the_report_says_how_it_went_and_why_it_ended(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    journal = Journal(tmp_path)
    for step in range(10, 510, 10):
        journal.tell(step, step * 0.5, {"nll": 2.0 - step / 500, "mel": 0.5})
    journal.close()
    history = {200: scores(4.0), 300: scores(4.4), 400: scores(4.6)}
    text = " ".join(t for t, _ in verdict(plan, events(tmp_path), history, None))
    assert "goes on; step 500" in text
    ended = verdict(plan, events(tmp_path), history, Outcome("no gain", 400, 200))
    text = " ".join(t for t, _ in ended)
    assert "Stopped at step 400" in text
    assert "not said better than at step 200 in the 2 examinations" in text
    better = {200: scores(4.4), 300: scores(4.2), 400: scores(4.0)}
    text = " ".join(t for t, _ in verdict(plan, [], better, Outcome("done", 400, 400)))
    assert "train longer" in text
    page = write_report(tmp_path, Outcome("stopped", 500, 200)).read_text("utf-8")
    assert "timbral train --name ada --resume" in page
    assert page.count("<svg") >= 2
    assert "&lt;b&gt;me" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_an_exam_forgets_what_came_after_the_step_it_goes_on_from(tmp_path: Path) -> None:
    from hummed import clips

    training = TrainSettings.model_validate(defaults("narrow"))
    exam = HeldOut(tmp_path, clips(1), training, judges=None)  # type: ignore[arg-type]
    exam.history = {10: scores(5.0), 20: scores(4.0), 30: scores(4.5)}
    assert (exam.best, exam.without_gain) == (20, 1)
    exam.back_to(20)
    again = HeldOut(tmp_path, clips(1), training, judges=None)  # type: ignore[arg-type]
    assert again.history == {10: scores(5.0), 20: scores(4.0)}
    assert again.taken(20)
    assert not again.taken(30)
    assert (again.best, again.without_gain) == (20, 0)
