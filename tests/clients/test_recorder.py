from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from streaming import cuts_of, noise, pieces

from clients.recorder import LONGEST_S, Part, Recorder, recording
from stream.audio import Audio
from stream.errors import ConfigError

RATE = 1000


class Tape:
    def __init__(self) -> None:
        self.parts: list[Audio] = []

    def write(self, data: Audio, /) -> None:
        self.parts.append(data)

    @property
    def sound(self) -> Audio:
        return np.concatenate(self.parts)


@given(first=cuts_of(400), second=cuts_of(400), late=st.integers(0, 300))
def test_both_sides_lie_side_by_side_however_they_come(
    first: list[int], second: list[int], late: int
) -> None:
    said, tape = noise(400), Tape()
    recorder = Recorder(tape, RATE, "both")
    answers = pieces(-said, second)
    position = answered = 0
    for piece in pieces(said, first):
        recorder.said(position, piece)
        position += len(piece)
        while answers and answered + len(answers[0]) <= position - late:
            recorder.heard(answered, answers[0])
            answered += len(answers.pop(0))
    for answer in answers:
        recorder.heard(answered, answer)
        answered += len(answer)
    recorder.begin()
    assert np.array_equal(tape.sound, np.stack([said, -said], axis=1))
    assert recorder.samples == 400


def test_what_never_came_is_silence() -> None:
    tape, ones = Tape(), np.ones(100, np.float32)
    recorder = Recorder(tape, RATE, "both")
    for position in range(0, 300, 100):
        recorder.said(position, ones)
    recorder.heard(0, ones)
    recorder.heard(200, ones)
    recorder.begin()
    assert tape.sound[:, 1].tolist() == [1.0] * 100 + [0.0] * 100 + [1.0] * 100


def test_a_side_that_never_speaks_is_not_waited_for_for_ever() -> None:
    tape = Tape()
    recorder = Recorder(tape, RATE, "both")
    for position in range(0, 20_000, 100):
        recorder.said(position, np.ones(100, np.float32))
    assert recorder.samples == 20_000 - LONGEST_S * RATE
    recorder.heard(0, np.ones(20_000, np.float32))
    assert recorder.samples == 20_000
    assert tape.sound[:14_000, 1].any() == np.False_


def test_a_new_conversation_goes_on_where_the_last_ended() -> None:
    tape = Tape()
    recorder = Recorder(tape, RATE, "both")
    recorder.said(0, np.full(50, 1.0, np.float32))
    recorder.heard(0, np.full(20, 2.0, np.float32))
    recorder.begin()
    recorder.said(0, np.full(10, 3.0, np.float32))
    recorder.heard(0, np.full(10, 4.0, np.float32))
    assert tape.sound[:, 0].tolist() == [1.0] * 50 + [3.0] * 10
    assert tape.sound[:, 1].tolist() == [2.0] * 20 + [0.0] * 30 + [4.0] * 10


@pytest.mark.parametrize(("part", "channels"), [("in", 1), ("out", 1), ("both", 2)])
def test_a_file_has_what_was_asked_for(tmp_path: Path, part: Part, channels: int) -> None:
    path = tmp_path / "talk.wav"
    with recording(path, 48_000, part) as recorder:
        recorder.said(0, np.full(480, 0.25, np.float32))
        recorder.heard(0, np.full(480, 0.5, np.float32))
        assert not path.exists()
    data, rate = soundfile.read(path, dtype="float32", always_2d=True)
    expected = {"in": [0.25], "out": [0.5], "both": [0.25, 0.5]}[part]
    assert rate == 48_000
    assert data.shape == (480, channels)
    assert data[7].tolist() == pytest.approx(expected, abs=1e-3)


def test_a_place_that_cannot_be_is_refused_before_anything_is_said(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="no folder"),
        recording(tmp_path / "none" / "x.wav", 48_000, "in"),
    ):
        pass
    with pytest.raises(ConfigError, match="must end in"), recording(tmp_path / "x", 48_000, "in"):
        pass
