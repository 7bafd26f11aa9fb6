"""The one loop that shows a song to a network window by window and joins what comes out."""

from collections.abc import Iterable, Iterator

import numpy as np

from offline.separate.protocol import Net
from stream.audio import Audio

OVERLAP = 0.25  # of what a window may use is faded from one window into the next


def overlap_add(blocks: Iterable[Audio], net: Net, *, hop: int = 0) -> Iterator[Audio]:
    """The stems [stems, n, channels] of a song that comes in blocks [n, channels].

    Law: a network that returns what it hears gives the song back to -90 dB, whatever the window,
    the edge, the hop, the length and the blocks; and the blocks never change a bit. The parts of
    two windows are weighted with the rising and falling side of a trapezoid, whose sum they are
    divided by. Beyond the ends of the song there is silence. Memory holds a window of each stem.

    hop  frames from a window to the next, at most those that a window may use; 0 takes three
         quarters of them
    """
    usable = net.window - 2 * net.edge
    hop = hop or max(1, round(usable * (1 - OVERLAP)))
    if not 0 < hop <= usable:
        raise ValueError(f"a hop of {hop} frames leaves holes between windows of {usable}")
    weights = _trapezoid(usable, usable - hop)
    out: Audio | None = None
    total = np.zeros(usable, np.float32)
    for x, ready in _windows(blocks, net.window, hop, net.edge):
        stems = net(x)[:, net.edge : net.edge + usable] * weights[:, None]
        out = stems if out is None else out + stems
        total += weights
        yield out[:, :ready] / total[:ready, None]
        out = np.concatenate([out[:, hop:], np.zeros_like(out[:, :hop])], axis=1)
        total = np.concatenate([total[hop:], np.zeros(hop, np.float32)])


def _trapezoid(size: int, fade: int) -> Audio:
    """[size], never 0, which rises over `fade` and falls likewise; the sides may cross."""
    place = np.arange(size, dtype=np.float32)
    side = (np.minimum(place, place[::-1]) + 0.5) / max(fade, 1)
    return np.minimum(side, 1.0).astype(np.float32)


def _windows(
    blocks: Iterable[Audio], window: int, hop: int, edge: int
) -> Iterator[tuple[Audio, int]]:
    """Windows [window, channels], `hop` apart, and how many frames of song are finished with each.

    The usable part of the first begins with the song; that of the last holds its end.
    """
    source = iter(blocks)
    first = next(source, None)
    if first is None:
        return
    held = np.concatenate([np.zeros((edge, first.shape[1]), np.float32), first])
    ended = False
    while True:
        parts, have = [held], len(held)
        while have <= window and not ended:
            block = next(source, None)
            ended = block is None
            if block is not None:
                parts.append(block)
                have += len(block)
        held = np.concatenate(parts)
        if have == edge:
            return
        left = have - edge  # frames of song from the usable part's beginning on
        last = ended and left <= window - 2 * edge
        x = held[:window]
        yield np.pad(x, ((0, window - len(x)), (0, 0))), left if last else hop
        if last:
            return
        held = held[hop:]
