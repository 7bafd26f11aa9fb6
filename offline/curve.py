"""Pitch curves: detected, kept in files that people can edit, and read again."""

import json
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.audio import ANALYSIS_RATE, FRAME_HOP, Audio
from stream.errors import AudioError, ConfigError
from stream.models.f0 import F0Detector

Times = NDArray[np.float64]
Progress = Callable[[int, int], None]

FORMATS = (".csv", ".tsv", ".json")
GAP = 0.05  # s: points further apart are not joined
HIGHEST_HZ = 20_000.0  # what is above is no pitch but a mistake
PIECE_SECONDS, MARGIN_SECONDS = 60, 2  # detected at a time, and heard around it
TIME_NAMES = {"time", "times", "t", "seconds", "sec", "s", "start"}
PITCH_NAMES = {"hz", "f0", "frequency", "freq", "pitch", "value", "f0_hz"}
NO_PITCH = {"", "nan", "none", "null", "--undefined--", "-", "unvoiced"}


@dataclass(frozen=True)
class Curve:
    """The pitch of a recording over time.

    times [n]  seconds from the recording's start, rising
    hz [n]     float32, 0 where there is no voice

    Called with times it gives the pitch there. Laws: at its own times it gives its own pitches,
    bit for bit; between two voiced points it runs straight in the logarithm, if they are no
    further apart than `GAP`; elsewhere it is voiced exactly where a voiced point is the nearest
    one and at most half a `GAP` away.
    """

    times: Times
    hz: Audio

    def __call__(self, times: Times) -> Audio:
        """Hz [m] at `times` [m] s; 0 where there is no voice."""
        if not len(self.times):
            return np.zeros(len(times), np.float32)
        last = len(self.times) - 1
        after = np.minimum(np.searchsorted(self.times, times), last)
        before = np.maximum(after - 1, 0)
        apart = self.times[after] - self.times[before]
        since = times - self.times[before]
        nearest = np.where(since <= self.times[after] - times, before, after)
        near = np.abs(times - self.times[nearest]) <= GAP / 2
        alone = np.where(near, self.hz[nearest], np.float32(0.0))
        joined = (self.hz[before] > 0.0) & (self.hz[after] > 0.0) & (apart <= GAP)
        joined &= (since > 0.0) & (since < apart)
        share = np.where(joined, since / np.maximum(apart, 1e-9), 0.0)
        octaves = np.log2(np.maximum(self.hz.astype(np.float64), 1e-9))
        between = np.exp2(octaves[before] + share * (octaves[after] - octaves[before]))
        return np.where(joined, between, alone).astype(np.float32)

    @property
    def median_hz(self) -> float | None:
        """Of the voiced points; None where nothing is voiced."""
        voiced = self.hz[self.hz > 0.0]
        return float(np.exp(np.median(np.log(voiced)))) if len(voiced) else None


def frame_times(frames: int) -> Times:
    """The centres of frames of 10 ms, in seconds, [frames].

    >>> frame_times(3).tolist()
    [0.005, 0.015, 0.025]
    """
    return (np.arange(frames) + 0.5) * FRAME_HOP / ANALYSIS_RATE


def detect(
    pieces: Iterator[Audio], detector: F0Detector, length: int, progress: Progress | None = None
) -> Curve:
    """The curve of a recording, heard in pieces of any size, [n] each, at 16 kHz.

    length  samples to expect, for `progress`, which is told samples done and their number

    Memory does not grow with the recording: `PIECE_SECONDS` are detected at a time, with
    `MARGIN_SECONDS` heard on both sides. A detector that hears no further gives what it gives for
    the whole recording.
    """
    size, margin = PIECE_SECONDS * ANALYSIS_RATE, MARGIN_SECONDS * ANALYSIS_RATE
    found: list[Audio] = []
    heard = np.zeros(0, np.float32)  # begins `lead` samples before what is to be detected
    lead = done = 0
    for piece in pieces:
        heard = np.concatenate([heard, piece])
        while len(heard) >= lead + size + margin:
            f0 = detector.detect_file(heard[: lead + size + margin])
            found.append(f0[lead // FRAME_HOP : (lead + size) // FRAME_HOP])
            heard = heard[lead + size - margin :]
            lead = margin
            done += size
            if progress:
                progress(done, max(done, length))
    rest = len(heard) - lead
    if rest >= FRAME_HOP:
        found.append(detector.detect_file(heard)[lead // FRAME_HOP :])
    if progress:
        progress(max(done + rest, length), max(done + rest, length))
    hz = np.concatenate([np.zeros(0, np.float32), *found])
    return Curve(frame_times(len(hz)), hz)


def write_curve(path: Path, curve: Curve) -> None:
    """Write time in s and Hz, a line each, as CSV, TSV or JSON after the suffix.

    What `read_curve` reads of it is the same, bit for bit. It appears whole or not at all. Raises
    `ConfigError` and `AudioError`.
    """
    check_target(path)
    rows = zip(curve.times.tolist(), curve.hz, strict=True)
    if path.suffix.lower() == ".json":
        body = ",\n".join(f"[{time!r}, {_plain(hz)}]" for time, hz in rows)
        text = f'{{"columns": ["time", "hz"], "points": [\n{body}\n]}}\n'
    else:
        comma = "," if path.suffix.lower() == ".csv" else "\t"
        lines = [f"time{comma}hz", *(f"{time!r}{comma}{_plain(hz)}" for time, hz in rows)]
        text = "\n".join(lines) + "\n"
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(text, "utf-8")
        os.replace(beside, path)
    except OSError as error:
        raise AudioError(f"{path} cannot be written: {error}.") from error
    finally:
        beside.unlink(missing_ok=True)


def check_target(path: Path) -> None:
    """Raise `ConfigError` unless `path` is a place and a format for a curve."""
    _check_suffix(path)
    if not path.parent.is_dir():
        raise ConfigError(f"There is no folder {path.parent} to write {path.name} to.")


def _check_suffix(path: Path) -> None:
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"{path} must end in one of {', '.join(FORMATS)}.")


def read_curve(path: Path) -> Curve:
    """The curve in a file: its own, an edited one, or what another program wrote.

    CSV and TSV may be separated by commas, semicolons, tabs or spaces, with or without a line of
    names; the columns are those called time and hz (or f0, frequency ..), else the first two.
    JSON is `{"points": [[time, hz], ..]}`, `{"time": [..], "hz": [..]}` or a list of pairs. No
    number, 0 and less are unvoiced. Points may have any distance, their times must rise.

    Raises `ConfigError` that names the line.
    """
    _check_suffix(path)
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"No file {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from error
    points = list(_from_json(path, text) if path.suffix.lower() == ".json" else _lines(path, text))
    if not points:
        raise ConfigError(f"{path} holds no point. Lines are: time in seconds, pitch in Hz.")
    for (_, time, _), (where, later, _) in pairwise(points):
        if later <= time:
            raise ConfigError(f"{path}, {where}: time {later:g} does not follow {time:g}.")
    return Curve(
        np.array([time for _, time, _ in points], np.float64),
        np.array([hz for _, _, hz in points], np.float32),
    )


def _plain(hz: Any) -> str:
    """The shortest text that is read as the same float32."""
    return np.format_float_positional(np.float32(hz), trim="0")


def _lines(path: Path, text: str) -> Iterator[tuple[str, float, float]]:
    columns = (0, 1)
    begun = False
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        cells = _cells(line)
        if not begun and not _is_number(cells[0]):
            columns, begun = _columns(cells), True
            continue
        begun = True
        if len(cells) <= max(columns):
            raise ConfigError(f"{path}, line {number}: {line.strip()!r} is not time and Hz.")
        yield _point(path, f"line {number}", cells[columns[0]], cells[columns[1]])


def _cells(line: str) -> list[str]:
    for separator in ("\t", ";", ","):
        if separator in line:
            return [cell.strip().strip('"') for cell in line.split(separator)]
    return re.split(r"\s+", line.strip())


def _columns(names: Sequence[str]) -> tuple[int, int]:
    lower = [name.lower() for name in names]
    time = next((i for i, name in enumerate(lower) if name in TIME_NAMES), 0)
    pitch = next((i for i, name in enumerate(lower) if name in PITCH_NAMES), 1)
    return time, pitch


def _from_json(path: Path, text: str) -> Iterator[tuple[str, float, float]]:
    said: Any
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no JSON: {error}.") from error
    if isinstance(said, dict):
        lower = {str(key).lower(): value for key, value in said.items()}
        time = next((lower[name] for name in sorted(TIME_NAMES & lower.keys())), None)
        hz = next((lower[name] for name in sorted(PITCH_NAMES & lower.keys())), None)
        if isinstance(time, list) and isinstance(hz, list) and len(time) == len(hz):
            said = [list(pair) for pair in zip(time, hz, strict=True)]
        else:
            said = lower.get("points")
    if not isinstance(said, list):
        raise ConfigError(f'{path} must hold {{"points": [[time, hz], ..]}}.')
    points: list[Any] = said
    for number, pair in enumerate(points, 1):
        if not isinstance(pair, list) or len(cells := [str(cell) for cell in pair]) < 2:
            raise ConfigError(f"{path}, point {number}: {pair!r} is not time and Hz.")
        yield _point(path, f"point {number}", *cells[:2])


def _point(path: Path, where: str, time: str, hz: str) -> tuple[str, float, float]:
    pitch = 0.0 if hz.lower() in NO_PITCH else _number(hz)
    second = _number(time)
    if second is None or pitch is None or not math.isfinite(second) or second < 0.0:
        raise ConfigError(f"{path}, {where}: {time!r}, {hz!r} is not time in s and pitch in Hz.")
    if pitch > HIGHEST_HZ:
        raise ConfigError(f"{path}, {where}: {pitch:g} Hz is no pitch.")
    return where, second, pitch if pitch > 0.0 else 0.0  # also what is no number, as -nan


def _is_number(cell: str) -> bool:
    return _number(cell) is not None


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
