"""One voice out of several channels, and back to where it stood."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from stream.audio import Audio


@dataclass(frozen=True)
class Place:
    """Where a voice stands: how loud, and with which sign, it is in each channel.

    gains [channels]  of a voice whose own level is 1; the square root of their number, squared
    and summed: (1, 1) is the middle of stereo, (1.41, 0) the left

    Law: a voice that stands there and nowhere else comes back unchanged from `taken` and `put`.
    """

    gains: Audio

    def taken(self, x: Audio) -> Audio:
        """The voice [n] out of `x` [n, channels]; from the middle, the channels' mean."""
        return (x @ (self.gains / len(self.gains))).astype(np.float32)

    def put(self, voice: Audio) -> Audio:
        """`voice` [n] where it stood, [n, channels]."""
        return voice[:, np.newaxis] * self.gains


def middle(channels: int) -> Place:
    """The same in every channel."""
    return Place(np.ones(channels, np.float32))


def find(pieces: Iterable[Audio], channels: int) -> Place:
    """Where the loudest voice in a recording stands, of pieces [n, channels].

    The first principal component of the channels: it neither cancels what is in opposite phase,
    as a mean would, nor halves what is in one channel only. Silence stands in the middle.
    """
    power = np.zeros((channels, channels))
    for piece in pieces:
        x = piece.astype(np.float64)
        power += x.T @ x
    if channels == 1 or not power.any():
        return middle(channels)
    values, vectors = np.linalg.eigh(power)
    if values[-1] - values[-2] <= 1e-9 * values[-1]:  # nowhere in particular
        return middle(channels)
    main = vectors[:, -1] * np.sqrt(channels)
    main = main if main.sum() >= 0.0 else -main
    return Place(main.astype(np.float32))
