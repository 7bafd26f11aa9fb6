"""Networks that need no weights, for tests of what is done with them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from offline.separate.protocol import Separator, SongInMemory
from offline.separate.roles import TASKS, Roles
from offline.separate.windowed import Windowed
from stream.audio import Audio

VOCALS = TASKS["vocals"]


@dataclass(frozen=True)
class Same:
    """Every stem is what it hears, times its gain; at the edges of a window it gives nonsense."""

    stems: tuple[str, ...] = ("vocals",)
    gains: tuple[float, ...] = (1.0,)
    window: int = 4096
    edge: int = 100
    rate: int = 44_100

    def __call__(self, x: Audio) -> Audio:
        """[window, channels] -> [stems, window, channels]."""
        out = np.stack([x * np.float32(gain) for gain in self.gains])
        if self.edge:
            out[:, : self.edge] = 7.0
            out[:, -self.edge :] = np.nan
        return out


@dataclass(frozen=True)
class Middle:
    """The voice is what both channels have in common; only where a window is loud enough."""

    stems: tuple[str, ...] = ("vocals",)
    window: int = 8192
    edge: int = 0
    rate: int = 44_100
    least: float = 0.05

    def __call__(self, x: Audio) -> Audio:
        """[window, 2] -> [1, window, 2]."""
        middle = x.mean(axis=1, keepdims=True).repeat(2, axis=1)
        return (middle * (np.abs(x).max() > self.least))[np.newaxis].astype(np.float32)


def noise(frames: int, channels: int = 2, peak: float = 0.5, seed: int = 0) -> Audio:
    """White noise [frames, channels] whose loudest sample is `peak`."""
    x = np.random.default_rng(seed).uniform(-1, 1, (frames, channels))
    return (x * peak / np.abs(x).max(initial=1e-9)).astype(np.float32)


def taken_apart(separator: Separator, x: Audio, rate: int = 44_100) -> dict[str, Audio]:
    """The stems of `x` [n, channels], each [n, 2]."""
    parts = list(separator.stream(SongInMemory(x, rate)))
    return dict(zip(separator.stems, np.concatenate(parts, axis=1), strict=True))


def scaled(gain: float, roles: Roles = VOCALS) -> Windowed:
    """A separator whose target is the song times `gain`."""
    return Windowed(Same((roles.target,), (gain,)), roles, f"gain {gain}")


def in_blocks(x: Audio, sizes: list[int]) -> Iterator[Audio]:
    """`x` cut into blocks of these sizes, and the rest."""
    at = 0
    for size in sizes:
        yield x[at : at + size]
        at += size
    yield x[at:]
