"""What a busy converter gave up, in words. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from server.protocol import Ready, Stats

GIVEN_UP: Final[Mapping[str, str]] = MappingProxyType(
    {
        "light pitch": "the pitch is found the light way",
        "less context": (
            "the pitch is found the light way, and voices of full size hear less of the past"
        ),
        "longer hops": "longer pieces are converted at once",
        "longest hops": "the longest pieces are converted at once",
    }
)
"""By the names that `stats` has for it; each goes on top of those before."""


def pressure(ready: Ready, stats: Stats, who: str = "The server") -> str:
    """What `who` gives up for now and what that means for the latency; "" for nothing.

    >>> ready = Ready(session="s", voice="ada", sample_rate=48_000, encoding="s16le",
    ...     hop_samples=960, latency_samples=3000, provider="CPU", profile="low", why="")
    >>> told = {"compute_ms": {"p50": 9, "p95": 9, "p99": 9}, "queue_ms": 0, "deadline_misses": 0,
    ...     "underruns": 0, "rtf": 0.4, "profile": "balanced", "eased": "longer hops"}
    >>> pressure(ready, Stats.model_validate({**told, "latency_samples": 3960}))
    'The server is busy: longer pieces are converted at once, latency is 20 ms more.'
    """
    if not stats.eased:
        return ""
    more = 1000.0 * (stats.latency_samples - ready.latency_samples) / ready.sample_rate
    latency = f"{more:.0f} ms more" if more >= 1.0 else "as before"
    what = GIVEN_UP.get(stats.eased, stats.eased)
    return f"{who} is busy: {what}, latency is {latency}."
