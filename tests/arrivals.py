"""Sound that arrives unevenly, for tests of the jitter buffer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from clients.jitter import JitterBuffer, JitterReport
from stream.audio import Audio

Event = tuple[int, int] | tuple[int]  # (position, samples) arrives, or (samples,) are read


@dataclass(frozen=True, kw_only=True)
class Course:
    """How packets arrive and blocks are read. Seconds on the reader's clock."""

    seconds: float = 10.0
    rate: int = 48_000
    packet: int = 240
    block: int = 240
    ppm: float = 0.0  # by which the packets' clock is slow
    first: float = 0.0  # nothing arrives before
    pause: tuple[float, float] = (0.0, 0.0)  # when the reader sleeps, and how long
    delay: Callable[[float], float] = field(default=lambda _second: 0.0)

    def __iter__(self) -> Iterator[Event]:
        """Writes and reads in order. As over TCP, nothing overtakes."""
        arrivals = self._arrivals()
        sent, slept = 0, 0.0
        for read in range(int(self.seconds * self.rate / self.block)):
            now = read * self.block / self.rate
            if self.pause[1] and now >= self.pause[0]:
                slept = self.pause[1]
            while sent < len(arrivals) and arrivals[sent] <= now + slept:
                yield sent * self.packet, self.packet
                sent += 1
            yield (self.block,)

    def _arrivals(self) -> list[float]:
        """Seconds at which the packets are there; not just when a block is read."""
        last, out = self.first, list[float]()
        period = self.packet / self.rate * (1.0 + self.ppm * 1e-6)
        for packet in range(int((self.seconds + self.pause[1]) * self.rate / self.packet)):
            second = (packet + 1) * period + 0.3 * self.block / self.rate
            last = max(last, second + self.delay(second))
            out.append(last)
        return out


def stall(begin: float, seconds: float) -> Callable[[float], float]:
    """What is due in the `seconds` after `begin` comes at their end."""
    return lambda second: max(0.0, begin + seconds - second) if second > begin else 0.0


def signal(first: int, n: int) -> Audio:
    """The stream's samples from `first` on, [n]: a triangle of 64 samples on stairs; exact.

    |p mod 64 - 32| / 64 + (p div 64 mod 64) / 256 - 0.375
    """
    p = np.arange(first, first + n)
    x = np.abs(p % 64 - 32) / 64.0 + (p // 64 % 64) / 256.0 - 0.375
    return x.astype(np.float32)


def play(
    buffer: JitterBuffer, events: Iterator[Event], make: Callable[[int, int], Audio] = signal
) -> Iterator[tuple[Audio, JitterReport]]:
    """Feed `buffer`; every block that is read, with the report after it."""
    for event in events:
        if len(event) == 2:
            buffer.write(event[0], make(*event))
        else:
            out = np.zeros(event[0], np.float32)
            buffer.read(out)
            yield out, buffer.report
