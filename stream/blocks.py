"""Any cuts in, blocks of one size out."""

import numpy as np

from stream.audio import Audio


class Blocks:
    """Cuts a stream into blocks of exactly `size` samples.

    However the input is cut into pieces, the blocks that `step` returned, followed by what `flush`
    returns, are the input itself; also when `size` is set to another one on the way.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1 sample, got {size}")
        self.size = size
        self.reset()

    @property
    def pending(self) -> int:
        """Samples that wait for the rest of their block, fewer than it had at the last step."""
        return len(self._pending)

    def step(self, x: Audio) -> Audio:
        """The blocks that `x` completes, [n, size]; n may be 0."""
        joined = np.concatenate([self._pending, x])
        whole = len(joined) - len(joined) % self.size
        self._pending = joined[whole:].copy()  # a view would keep all of `joined` alive
        return joined[:whole].reshape(-1, self.size)

    def flush(self) -> Audio:
        """What is left of the last block, [pending]; leaves the stream as new."""
        rest = self._pending
        self.reset()
        return rest

    def reset(self) -> None:
        """Drop what is inside."""
        self._pending: Audio = np.zeros(0, np.float32)
