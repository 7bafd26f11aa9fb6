"""Tests of pitch curves, in memory and in files."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline import curve as curves
from offline.curve import Curve, detect, frame_times, read_curve, write_curve
from stream.audio import Audio
from stream.errors import ConfigError
from stream.files import SoundFile
from stream.models.f0 import Crepe
from stream.models.f0.detectors import ASSETS

SPEECH = Path(__file__).parents[1] / "speech" / "sense-and-sensibility-0880.wav"
HZ = np.array([0.0, 100.0, 200.0, 0.0, 0.0, 300.1234], np.float32)
CURVE = Curve(frame_times(6), HZ)


def test_a_curve_gives_its_own_pitches_at_its_own_times() -> None:
    np.testing.assert_array_equal(CURVE(CURVE.times), HZ)


def test_between_two_voiced_points_it_runs_straight_in_the_logarithm() -> None:
    assert CURVE(np.array([0.020]))[0] == pytest.approx(100.0 * 2**0.5)


def test_it_is_voiced_where_the_nearest_point_is() -> None:
    assert CURVE(np.array([0.009, 0.011, 0.029, 0.031])).tolist() == [0.0, 100.0, 200.0, 0.0]
    assert CURVE(np.array([-1.0, 0.0, 0.057, 9.0])).tolist() == [0.0, 0.0, HZ[-1], 0.0]


def test_points_far_apart_are_not_joined() -> None:
    sparse = Curve(np.array([1.0, 2.0]), np.array([100.0, 200.0], np.float32))
    assert sparse(np.array([0.99, 1.02, 1.5, 1.98])).tolist() == [100.0, 100.0, 0.0, 200.0]


def test_a_curve_without_points_is_silent() -> None:
    nothing = Curve(frame_times(0), np.zeros(0, np.float32))
    assert nothing(np.array([0.0, 1.0])).tolist() == [0.0, 0.0]
    assert nothing.median_hz is None


@settings(max_examples=30)
@given(
    hz=st.lists(st.just(0.0) | st.floats(50.0, 1100.0, width=32), min_size=1, max_size=20),
    suffix=st.sampled_from([".csv", ".tsv", ".json"]),
    begin=st.floats(0.0, 100.0, allow_subnormal=False),
)
def test_what_is_written_is_read_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, hz: list[float], suffix: str, begin: float
) -> None:
    path = tmp_path_factory.mktemp("curve") / f"f0{suffix}"
    times = begin + frame_times(len(hz))
    write_curve(path, Curve(times, np.array(hz, np.float32)))
    again = read_curve(path)
    np.testing.assert_array_equal(again.times, times)
    np.testing.assert_array_equal(again.hz, np.array(hz, np.float32))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


OTHERS = {
    "own.csv": "time,hz\n0.5,220\n0.6,0\n",
    "semicolon.csv": "0.5;220.0\n0.6;nan\n",
    "names.csv": "voiced,frequency,time\n1,220,0.5\n0,-220,0.6\n",
    "praat.tsv": "Time_s\tF0_Hz\n0.5\t220\n0.6\t--undefined--\n",
    "spaces.tsv": "# by hand\n0.5   220\n\n0.6   0\n",
    "excel.csv": "\ufefftime,hz\r\n0.5,220\r\n0.6,\r\n",
    "points.json": json.dumps({"points": [[0.5, 220], [0.6, 0]]}),
    "columns.json": json.dumps({"time": [0.5, 0.6], "f0": [220, None]}),
    "pairs.json": json.dumps([[0.5, 220.0], [0.6, 0.0]]),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_people_and_programs_write_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(OTHERS[name], "utf-8")
    curve = read_curve(tmp_path / name)
    assert (curve.times.tolist(), curve.hz.tolist()) == ([0.5, 0.6], [220.0, 0.0])


WRONG = {
    "order.csv": ("0.5,220\n0.5,230\n", r"line 2: time 0\.5 does not follow"),
    "word.csv": ("0.5,220\n0.6,high\n", r"line 2: '0\.6', 'high' is not time"),
    "one.csv": ("0.5,220\n0.6\n", r"line 2: '0\.6' is not time and Hz"),
    "negative.csv": ("-1,220\n", "is not time in s"),
    "much.csv": ("0.5,99999\n", "99999 Hz is no pitch"),
    "nothing.csv": ("time,hz\n", "holds no point"),
    "broken.json": ("{", "is no JSON"),
    "other.json": ('{"a": 1}', "must hold"),
    "odd.json": ("[[1]]", "point 1"),
    "f0.txt": ("0.5,220", "must end in one of"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_told_by_the_line(tmp_path: Path, name: str) -> None:
    text, why = WRONG[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=why):
        read_curve(tmp_path / name)


def test_a_missing_file_and_a_missing_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No file"):
        read_curve(tmp_path / "f0.csv")
    with pytest.raises(ConfigError, match="no folder"):
        write_curve(tmp_path / "none" / "f0.csv", CURVE)


def cut(x: Audio, size: int) -> Iterator[Audio]:
    return (x[i : i + size] for i in range(0, len(x), size))


@pytest.mark.parametrize("size", [1_000, 10**6])
def test_pieces_detected_one_by_one_are_what_the_whole_gives(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(curves, "PIECE_SECONDS", 1)
    monkeypatch.setattr(curves, "MARGIN_SECONDS", 1)
    x = SoundFile(SPEECH).read()[: 2 * 16_000 + 4_100]
    crepe = Crepe(ASSETS / "crepe-tiny.onnx")
    told: list[tuple[int, int]] = []
    found = detect(cut(x, size), crepe, len(x), lambda *done: told.append(done))
    np.testing.assert_array_equal(found.hz, crepe.detect_file(x))
    np.testing.assert_array_equal(found.times, frame_times(len(x) // 160))
    assert told[-1] == (len(x), len(x))


def test_too_little_sound_has_no_frame() -> None:
    crepe = Crepe(ASSETS / "crepe-tiny.onnx")
    assert len(detect(cut(np.zeros(100, np.float32), 50), crepe, 100).hz) == 0
