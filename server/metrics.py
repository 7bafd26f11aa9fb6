"""What a stream measures about itself. No clock: durations are handed in."""

from collections import deque

import numpy as np

from server.protocol import Percentiles, Stats

WINDOW_S = 10.0  # percentiles look back this far


class StreamMetrics:
    """Durations of the last ten seconds' hops, and counters since the stream began.

    hop_s    seconds of audio a hop
    """

    def __init__(self, hop_s: float) -> None:
        self.change_hop(hop_s)
        self.deadline_misses = 0
        self.underruns = 0

    def change_hop(self, hop_s: float) -> None:
        """Begin anew to measure hops, of another length."""
        self._hop_s = hop_s
        hops = max(1, round(WINDOW_S / hop_s))
        self._compute: deque[float] = deque(maxlen=hops)
        self._queue: deque[float] = deque(maxlen=hops)

    def hop(self, compute_s: float, queue_s: float, *, missed: bool) -> None:
        """One hop was converted: how long that took, how long it had waited before."""
        self._compute.append(compute_s)
        self._queue.append(queue_s)
        self.deadline_misses += missed

    def stats(self, profile: str, latency_samples: int, dropped_frames: int) -> Stats:
        """The figures as sent; zeros while nothing was converted.

        dropped_frames  converted, but not taken by the client in time
        """
        compute = np.array(self._compute or [0.0])
        p50, p95, p99 = (round(float(v) * 1e3, 3) for v in np.percentile(compute, (50, 95, 99)))
        return Stats(
            profile=profile,
            compute_ms=Percentiles(p50=p50, p95=p95, p99=p99),
            queue_ms=round(float(np.median(self._queue or [0.0])) * 1e3, 3),
            deadline_misses=self.deadline_misses,
            underruns=self.underruns + dropped_frames,
            latency_samples=latency_samples,
            rtf=round(float(compute.mean()) / self._hop_s, 4),
        )
