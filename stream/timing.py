"""How long the stages of a conversion take on this machine."""

import time
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from stream.audio import Audio
from stream.controls import Controls
from stream.engine import Conversion
from stream.models.voice import Voice
from stream.profiles import Profile

WARM_UP_HOPS = 10


@dataclass(frozen=True)
class Spread:
    """Percentiles of durations, in milliseconds."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, seconds: list[float]) -> "Spread":
        """The percentiles of `seconds`; all 0 when there are none."""
        p50, p95, p99 = np.percentile(1000.0 * np.array(seconds or [0.0]), [50, 95, 99])
        return cls(float(p50), float(p95), float(p99))


@dataclass(frozen=True)
class Report:
    """What one profile costs."""

    profile: Profile
    latency_ms: float  # algorithmic: hop, look-ahead, alignment, resampling
    stages: dict[str, Spread]
    whole: Spread
    rtf: float  # compute time / audio time

    @property
    def in_time(self) -> bool:
        """Whether 99 of 100 hops were done before the next one arrived."""
        return self.whole.p99 < self.profile.hop_ms


class Laps:
    """A `stream.line.Lap` that keeps what it measures, in seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def __call__(self, stage: str) -> Generator[None]:
        begin = time.perf_counter()
        yield
        self.seconds[stage].append(time.perf_counter() - begin)


def measure(
    voice: Voice,
    profile: Profile,
    seconds: float,
    *,
    controls: Controls,
    sample_rate: int = 48_000,
    least_hops: int = 10,
) -> Report:
    """Convert `seconds` of a made-up voice hop by hop, as fast as it goes."""
    laps = Laps()
    conversion = Conversion(voice, sample_rate, profile=profile, controls=controls, lap=laps)
    hops = max(least_hops, int(seconds * 1000 / profile.hop_ms))
    warm_up = min(WARM_UP_HOPS, least_hops)
    sound = hum((hops + warm_up) * conversion.hop, sample_rate)
    whole: list[float] = []
    for i, block in enumerate(sound.reshape(-1, conversion.hop)):
        if i == warm_up:
            laps.seconds.clear()
            whole.clear()
        begin = time.perf_counter()
        conversion.step(block)
        whole.append(time.perf_counter() - begin)
    return Report(
        profile=profile,
        latency_ms=1000.0 * conversion.latency / sample_rate,
        stages={stage: Spread.of(times) for stage, times in laps.seconds.items()},
        whole=Spread.of(whole),
        rtf=sum(whole) * 1000.0 / (hops * profile.hop_ms),
    )


def hum(n: int, sample_rate: int) -> Audio:
    """[n] samples of a buzz that glides between 100 and 200 Hz, with breath: keeps a gate open."""
    t = np.arange(n) / sample_rate
    phase = np.cumsum(150.0 + 50.0 * np.sin(2.0 * np.pi * 0.5 * t)) / sample_rate
    buzz = np.exp(-8.0 * (phase % 1.0))
    breath = np.random.default_rng(0).standard_normal(n)
    return (0.2 * (buzz - buzz.mean()) + 0.005 * breath).astype(np.float32)
