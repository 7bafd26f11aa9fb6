"""A recording of what is said, what comes of it, or both side by side."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from stream.audio import Audio
from stream.files import writing

Part = Literal["in", "out", "both"]
LONGEST_S = 5.0  # that one side may wait for the other


class Sink(Protocol):
    """An open sound file."""

    def write(self, data: Audio, /) -> None: ...


class Recorder:
    """Puts two sides of a conversation into one file: left what went in, right what came out.

    Law: with `both`, frame f holds the sample that was said and its own conversion, whatever the
    latency and however both were cut; what never came is silence. With `in` or `out` the file
    is mono.
    """

    def __init__(self, sink: Sink, rate: int, part: Part) -> None:
        self._sink, self._part = sink, part
        self._longest = int(LONGEST_S * rate)
        self._sides = (_Side(), _Side())
        self.samples = 0  # written

    def said(self, position: int, samples: Audio) -> None:
        """Samples [n] that went in, from stream position `position` on."""
        if self._part != "out":
            self._sides[0].put(position, samples)
            self._write()

    def heard(self, position: int, samples: Audio) -> None:
        """Samples [n] that came out."""
        if self._part != "in":
            self._sides[1].put(position, samples)
            self._write()

    def begin(self) -> None:
        """A new conversation: positions start anew. What waits is written."""
        self._write(everything=True)
        self._sides = (_Side(), _Side())

    def _write(self, *, everything: bool = False) -> None:
        used = [
            side
            for side, name in zip(self._sides, ("in", "out"), strict=True)
            if self._part in {name, "both"}
        ]
        known = [side.length for side in used]
        ready = max(known) if everything else max(min(known), max(known) - self._longest)
        if ready > 0:
            frames = np.stack([side.take(ready) for side in used], axis=1)
            self._sink.write(frames[:, 0] if len(used) == 1 else frames)
            self.samples += ready


class _Side:
    """Samples that wait, from one position on."""

    def __init__(self) -> None:
        self._start = 0  # position of the first sample that waits
        self._parts: list[Audio] = []
        self.length = 0

    def put(self, position: int, samples: Audio) -> None:
        end = self._start + self.length
        if position > end:
            self._add(np.zeros(position - end, np.float32))
        self._add(samples[max(0, end - position) :])

    def take(self, n: int) -> Audio:
        held = np.concatenate([np.zeros(0, np.float32), *self._parts])
        out = np.zeros(n, np.float32)
        out[: min(n, len(held))] = held[:n]
        rest = held[n:]
        self._parts, self.length = [rest], len(rest)
        self._start += n
        return out

    def _add(self, samples: Audio) -> None:
        self._parts.append(samples.copy())
        self.length += len(samples)


@contextmanager
def recording(path: Path, rate: int, part: Part) -> Generator[Recorder, None, None]:
    """A recorder to `path`, which appears at the end. Raises `ConfigError` and `AudioError`."""
    with writing(path, rate, channels=2 if part == "both" else 1) as file:
        recorder = Recorder(file, rate, part)
        try:
            yield recorder
        finally:
            recorder.begin()
