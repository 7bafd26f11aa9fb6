"""What training draws from a data set: crops, the same for the same seed and step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from stream.audio import Audio

T = TypeVar("T")

BUDGET = 3 << 30
"""Bytes of clips that are kept in memory."""


class Example(Protocol):
    """A clip's content: audio [T hop], features [T, dim] or [T/2, dim], f0 [T] in Hz."""

    @property
    def audio(self) -> Audio: ...
    @property
    def features(self) -> Audio: ...
    @property
    def f0(self) -> Audio: ...


class Clip(Protocol):
    """A stretch of somebody's speech."""

    @property
    def speaker(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    def load(self) -> Example: ...


@dataclass(frozen=True)
class Crop:
    """audio [T hop], phone [T, dim], f0 [T], speaker; the first `real` frames are speech."""

    audio: Audio
    phone: Audio
    f0: Audio
    speaker: int
    real: int


class Shelf:
    """Clips in memory, as many as fit into `BUDGET` bytes; the rest is read again."""

    def __init__(self, clips: Sequence[Clip], budget: int = BUDGET) -> None:
        self._clips, self._left = clips, budget
        self._held: dict[int, Example] = {}

    def __getitem__(self, index: int) -> Example:
        held = self._held.get(index)
        if held is None:
            held = self._clips[index].load()
            size = held.audio.nbytes + held.features.nbytes + held.f0.nbytes
            if size <= self._left:
                self._left -= size
                self._held[index] = held
        return held


@dataclass
class Crops:
    """Draws the crops of a step.

    A clip stands in the pack once for each `frames` frames that it has; the pack is shuffled anew
    each time it was dealt out, so that all speech is heard equally often, and the last cards of
    a round never come twice. Where a crop lies in its clip is drawn.

    Law: the crops of a step depend on the seed and the step alone; those of `world` ranks with
    `batch` each are together those of one rank with `world * batch`.
    """

    clips: Sequence[Clip]
    batch: int
    frames: int
    seed: int
    rank: int = 0
    world: int = 1
    _shelf: Shelf = field(init=False, repr=False)
    _pack: NDArray[np.int64] = field(init=False, repr=False)
    _rounds: dict[int, NDArray[np.int64]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._shelf = Shelf(self.clips)
        counts = [max(1, round(clip.seconds * 100 / self.frames)) for clip in self.clips]
        self._pack = np.repeat(np.arange(len(self.clips)), counts)
        self._rounds = {}

    def __len__(self) -> int:
        """Crops until all speech was heard once."""
        return len(self._pack)

    def _dealt(self, number: int) -> NDArray[np.int64]:
        """The pack as shuffled for that round; a step lies in two at most."""
        if number not in self._rounds:
            if len(self._rounds) > 1:
                self._rounds.clear()
            chance = np.random.default_rng((self.seed, 0, number))
            self._rounds[number] = chance.permutation(self._pack)
        return self._rounds[number]

    def __call__(self, step: int, part: int = 0, parts: int = 1) -> list[Crop]:
        """The crops of part `part` of `parts` of a step."""
        first = ((step * parts + part) * self.world + self.rank) * self.batch
        return [self._draw(place) for place in range(first, first + self.batch)]

    def _draw(self, place: int) -> Crop:
        number, card = divmod(place, len(self._pack))
        clip = int(self._dealt(number)[card])
        example = self._shelf[clip]
        chance = np.random.default_rng((self.seed, 1, place))
        total = len(example.f0) // 2 * 2
        start = int(chance.integers(0, max(0, total - self.frames) + 1)) // 2 * 2
        return crop(example, start, self.frames, self.clips[clip].speaker)


def crop(example: Example, start: int, frames: int, speaker: int = 0) -> Crop:
    """`frames` frames from `start` on, an even number; zeros where the clip has ended."""
    hop = len(example.audio) // len(example.f0)
    real = max(0, min(frames, len(example.f0) - start))
    end = start + real
    return Crop(
        _fit(example.audio[start * hop : end * hop], frames * hop),
        _fit(phones(example)[start:end], frames),
        _fit(example.f0[start:end], frames),
        speaker,
        real,
    )


def phones(example: Example) -> Audio:
    """The features at 100 frames/s, [T, dim]."""
    frames = len(example.f0)
    if len(example.features) >= frames:
        return example.features[:frames]
    doubled = np.repeat(example.features, 2, axis=0)[:frames]
    return np.pad(doubled, ((0, frames - len(doubled)), (0, 0)), "edge")


def _fit(x: Audio, length: int) -> Audio:
    missing = length - len(x)
    return np.pad(x, ((0, missing), *[(0, 0)] * (x.ndim - 1))).astype(np.float32)


class Ahead(Generic[T]):
    """Makes what the next steps need in one thread, `depth` steps ahead.

    Asked for anything but the next in order, it starts there anew. A thread and no processes:
    there is nothing to leak when training is killed.
    """

    def __init__(self, make: Callable[[int], T], depth: int = 2) -> None:
        self._make, self._depth = make, depth
        self._pool = ThreadPoolExecutor(1, "training data")
        self._queue: deque[tuple[int, Future[T]]] = deque()

    def __call__(self, step: int) -> T:
        if not self._queue or self._queue[0][0] != step:
            self._forget()
            self._order(step)
        _, wanted = self._queue.popleft()
        last = self._queue[-1][0] if self._queue else step
        while len(self._queue) < self._depth:
            last += 1
            self._order(last)
        return wanted.result()

    def _order(self, step: int) -> None:
        self._queue.append((step, self._pool.submit(self._make, step)))

    def _forget(self) -> None:
        for _, future in self._queue:
            future.cancel()
        self._queue.clear()

    def close(self) -> None:
        """Stop the thread; waits for what it is making."""
        self._forget()
        self._pool.shutdown(wait=True)
