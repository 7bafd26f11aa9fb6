"""Figures: what a stream measures about itself, and plain instruments that anything can update.

No clock: durations are handed in. `Registry.text` writes what Prometheus reads.
"""

import math
import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from server.protocol import Percentiles, Stats

WINDOW_S = 10.0  # percentiles look back this far
LOADS = (0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 1.0, 1.5, 2.5)  # of computing to audio time
TIMES_S = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512)
QUANTILES = (0.5, 0.95, 0.99)
Labels = tuple[tuple[str, str], ...]


class Buckets:
    """Counts of values by size. `add` of two is what one would have counted alone."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value: in the first bucket whose bound it does not pass."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add(self, other: "Buckets") -> None:
        """Count all that another counted; the bounds must be the same."""
        if other.bounds != self.bounds:
            raise ValueError("buckets of other bounds")
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum


class StreamMetrics:
    """Durations of the last ten seconds' hops, and counters since the stream began.

    hop_s    seconds of audio a hop
    """

    def __init__(self, hop_s: float) -> None:
        self.change_hop(hop_s)
        self.deadline_misses = 0
        self.underruns = 0
        self.loads = Buckets(LOADS)
        self.waits = Buckets(TIMES_S)

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
        self.loads.observe(compute_s / self._hop_s)
        self.waits.observe(queue_s)
        self.deadline_misses += missed

    def stats(
        self, profile: str, latency_samples: int, dropped_frames: int, eased: str = ""
    ) -> Stats:
        """The figures as sent; zeros while nothing was converted.

        dropped_frames  converted, but not taken by the client in time
        eased           what the device gives up, see `stream.ladder`
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
            eased=eased,
        )


class Sample(NamedTuple):
    """One line: what is added to the metric's name, its labels, the value."""

    suffix: str
    labels: Labels
    value: float


class Gauge:
    """A number that goes up and down, by labels."""

    kind = "gauge"

    def __init__(self) -> None:
        self._values: dict[Labels, float] = {}

    def set(self, value: float, **labels: str) -> None:
        """It is so much now."""
        self._values[tuple(labels.items())] = value

    def clear(self) -> None:
        """Forget all labels, before they are told anew."""
        self._values = {}

    def samples(self) -> Iterator[Sample]:
        """What it is for each labels."""
        for labels, value in list(self._values.items()):
            yield Sample("", labels, value)


class Counter:
    """A number that only grows, by labels."""

    kind = "counter"

    def __init__(self) -> None:
        self._values: dict[Labels, float] = {}
        self._lock = threading.Lock()

    def add(self, count: float = 1.0, **labels: str) -> None:
        """It happened so often."""
        key = tuple(labels.items())
        with self._lock:
            self._values[key] = self._values.get(key, 0.0) + count

    def value(self, **labels: str) -> float:
        """How often it happened."""
        return self._values.get(tuple(labels.items()), 0.0)

    def samples(self) -> Iterator[Sample]:
        """What it is for each labels."""
        for labels, value in list(self._values.items()):
            yield Sample("", labels, value)


class Summary:
    """Percentiles of the last values, by labels, and the sum and number of all.

    window  values that the percentiles look back
    """

    kind = "summary"

    def __init__(self, window: int = 1024) -> None:
        self._window = window
        self._last: dict[Labels, deque[float]] = {}
        self._sums: dict[Labels, tuple[int, float]] = {}
        self._lock = threading.Lock()

    def observe(self, value: float, **labels: str) -> None:
        """Another value."""
        key = tuple(labels.items())
        with self._lock:
            if key not in self._last:
                self._last[key] = deque(maxlen=self._window)
            count, total = self._sums.get(key, (0, 0.0))
            self._last[key].append(value)
            self._sums[key] = count + 1, total + value

    def quantiles(self, **labels: str) -> tuple[float, ...]:
        """[p50, p95, p99] of the window; NaN without a value."""
        with self._lock:
            last = np.array(self._last.get(tuple(labels.items()), ()))
        if not len(last):
            return (math.nan,) * len(QUANTILES)
        return tuple(float(v) for v in np.quantile(last, QUANTILES))

    def samples(self) -> Iterator[Sample]:
        """A line for each quantile, and the sum and number."""
        with self._lock:
            sums = dict(self._sums)
        for labels, (count, total) in sums.items():
            values = self.quantiles(**dict(labels))
            for quantile, value in zip(QUANTILES, values, strict=True):
                yield Sample("", (*labels, ("quantile", f"{quantile:g}")), value)
            yield Sample("_sum", labels, total)
            yield Sample("_count", labels, count)


class Histogram:
    """`Buckets` by labels: those that ended streams leave, and those of live ones, told anew."""

    kind = "histogram"

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._ended: dict[Labels, Buckets] = {}
        self._live: dict[Labels, Buckets] = {}

    def keep(self, buckets: Buckets, **labels: str) -> None:
        """A stream ended with these counts."""
        self._ended.setdefault(tuple(labels.items()), Buckets(self._bounds)).add(buckets)

    def clear(self) -> None:
        """Forget the live streams, before they are told anew."""
        self._live = {}

    def show(self, buckets: Buckets, **labels: str) -> None:
        """A live stream has these counts now."""
        self._live.setdefault(tuple(labels.items()), Buckets(self._bounds)).add(buckets)

    def samples(self) -> Iterator[Sample]:
        """Cumulative counts, as Prometheus wants them."""
        for labels in {**self._ended, **self._live}:
            whole = Buckets(self._bounds)
            for part in (self._ended.get(labels), self._live.get(labels)):
                if part is not None:
                    whole.add(part)
            count = 0
            for bound, more in zip((*self._bounds, math.inf), whole.counts, strict=True):
                count += more
                yield Sample("_bucket", (*labels, ("le", _number(bound))), count)
            yield Sample("_sum", labels, whole.sum)
            yield Sample("_count", labels, count)


Instrument = Gauge | Counter | Summary | Histogram


class Registry:
    """Instruments by name. `text` is what Prometheus reads, version 0.0.4 of its text format."""

    CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        self._instruments: dict[str, tuple[Instrument, str]] = {}
        self._before: list[Callable[[], None]] = []

    def add(self, name: str, instrument: Instrument, text: str) -> None:
        """Show `instrument` under `name`; a counter's ends with `_total`."""
        if name in self._instruments:
            raise ValueError(f"there is a metric {name} already")
        if isinstance(instrument, Counter) != name.endswith("_total"):
            raise ValueError(f"{name}: a counter ends with _total, and nothing else does")
        self._instruments[name] = instrument, text

    def before(self, pull: Callable[[], None]) -> None:
        """Have `pull` called before each reading, to set what is not updated as it happens."""
        self._before.append(pull)

    def names(self) -> list[str]:
        """The metrics there are."""
        return list(self._instruments)

    def text(self) -> str:
        """All of them, as they are now."""
        for pull in self._before:
            pull()
        lines: list[str] = []
        for name, (instrument, text) in self._instruments.items():
            lines += [f"# HELP {name} {_escaped(text)}", f"# TYPE {name} {instrument.kind}"]
            for suffix, labels, value in instrument.samples():
                inner = ",".join(f'{key}="{_quoted(told)}"' for key, told in labels)
                braces = f"{{{inner}}}" if inner else ""
                lines.append(f"{name}{suffix}{braces} {_number(value)}")
        return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(int(value) if value == int(value) else value)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', r"\"")
