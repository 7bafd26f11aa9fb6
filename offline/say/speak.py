"""Speaks lines one after the other, or each at its time, into a file."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from offline.say.engines import Speaks
from offline.say.text import Line
from offline.sound import writing
from stream.errors import AudioError

PAUSE = 0.4  # s after a line
MOST_LETTERS = 400  # said at a time: a longer line is cut where a sentence ends
LONGEST_GAP = 6 * 3600.0  # s: a subtitle that comes later is a mistake

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Said:
    """What was spoken: how long it is, and how many lines came later than they should."""

    seconds: float
    lines: int
    late: int


def speak(
    lines: Sequence[Line], engine: Speaks, target: Path, progress: Progress | None = None
) -> Said:
    """Write `lines`, spoken by `engine`, to `target`; `progress` is told lines.

    Laws: a line with a time starts at it, to the sample, unless the one before is not over: then
    right after it, and it counts as late; nothing is cut off. Raises `AudioError`.
    """
    rate, at, late = engine.rate, 0, 0
    with writing(target, rate, 1) as out:
        for number, line in enumerate(lines):
            if line.start is None:
                gap = round(PAUSE * rate) if number else 0
            else:
                gap = round(line.start * rate) - at
                late += gap < 0
            if gap > LONGEST_GAP * rate:
                raise AudioError(f"'{line.text[:60]}' comes hours after the line before it.")
            for silence in _silence(max(0, gap), rate):
                out.write(silence)
            at += max(0, gap)
            for part in parts(line.text):
                said = engine.say(part)
                out.write(said)
                at += len(said)
            if progress:
                progress(number + 1, len(lines))
    if not at:
        raise AudioError("Nothing was said: the text holds no words that this language knows.")
    return Said(at / rate, len(lines), late)


def parts(text: str, most: int = MOST_LETTERS) -> Iterator[str]:
    """`text` in parts of at most `most` letters, cut after sentences, else after words.

    Law: joined by spaces, they are the text.
    """
    held = ""
    for sentence in re.split(r"(?<=[.!?…;:])\s+", text):
        for word in [sentence] if len(sentence) <= most else sentence.split():
            for piece in (word[i : i + most] for i in range(0, max(1, len(word)), most)):
                if held and len(held) + 1 + len(piece) > most:
                    yield held
                    held = piece
                else:
                    held = f"{held} {piece}" if held else piece
    if held:
        yield held


def _silence(frames: int, rate: int) -> Iterator[np.ndarray]:
    for begin in range(0, frames, rate):
        yield np.zeros(min(rate, frames - begin), np.float32)
