"""How long it takes from the mouth to another program's ear: bursts sent, and found again.

The bursts take the place of what the microphone hears, and another recording hears the virtual
microphone as Discord would. Bypass is on, which delays like the conversion but changes nothing,
so that cross-correlation finds a burst to the sample. What the microphone itself needs is its
driver's word; all else is measured.
"""

import asyncio
import time
from dataclasses import dataclass

import numpy as np

from clients.desk import Desk
from clients.devices import Device
from clients.mic import Microphone, MicSettings, quiet
from clients.portaudio import common_rate, open_input, open_output
from clients.rings import Ear
from clients.view import budget
from stream.audio import Audio
from stream.errors import DeviceError

BAND_HZ = (300.0, 1500.0)  # where speech is; low enough to be found at a speed of 1.02
BURST_S = 0.05
HUM = 0.004  # full scale, of the noise between bursts: -48 dBFS, so that the gate stays open
EVERY_S = 0.6  # longer than any delay that can be told apart
LEVEL = 0.25
LEAST = 0.5  # likeness of what is heard to the burst, below which it is not found
SETTLE_S = 3.0  # before the first burst: the jitter buffer finds its delay
LOOK_S = 0.05
BLOCK_S = 0.01  # of `play_through`


def burst(rate: int, seed: int = 1) -> Audio:
    """Band-limited noise that fades in and out, [n]; found by correlation to the sample."""
    n = round(BURST_S * rate)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(n))
    hertz = np.fft.rfftfreq(n, 1.0 / rate)
    spectrum[(hertz < BAND_HZ[0]) | (hertz > BAND_HZ[1])] = 0.0
    sound = np.fft.irfft(spectrum, n) * np.hanning(n)
    return (LEVEL * sound / np.max(np.abs(sound))).astype(np.float32)


@dataclass(frozen=True)
class Hit:
    """A burst that was found: where it begins, how like it is, and how loud against it."""

    start: int
    likeness: float  # 0 to 1
    gain: float


def find(sound: Audio, wanted: Audio) -> Hit | None:
    """Where `wanted` [m] begins in `sound` [n], of either sign; None where it is not."""
    m, n = len(wanted), len(sound)
    if n < m:
        return None
    size = 1 << (n + m - 1).bit_length()
    spectrum = np.conj(np.fft.rfft(wanted, size))
    product = np.fft.irfft(np.fft.rfft(sound, size) * spectrum, size)[: n - m + 1]
    squares = np.concatenate([[0.0], np.cumsum(np.square(sound, dtype=np.float64))])
    power = float(np.dot(wanted, wanted))
    energy = np.maximum(squares[m:] - squares[:-m], 1e-4 * power)
    likeness = np.abs(product) / np.sqrt(energy * power)
    at = int(np.argmax(likeness))
    if likeness[at] < LEAST:
        return None
    return Hit(at, min(1.0, float(likeness[at])), abs(float(product[at])) / power)


@dataclass(frozen=True)
class Measured:
    """What bursts told. Times are milliseconds."""

    delays: tuple[float, ...]  # from a burst's first sample to its being heard
    lost: int  # bursts that were not heard
    gain_db: float  # of what is heard against what was said

    @property
    def median(self) -> float:
        """The usual delay."""
        return float(np.median(self.delays))

    @property
    def spread(self) -> float:
        """95 % of the delays are within this."""
        return float(np.percentile(self.delays, 95))


class Bursts:
    """Says a burst when asked to, else silence; notes when it began.

    `next` is for a device's callback, the rest for another thread.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.sound = burst(rate)
        self.due = False
        self.began: list[float] = []  # seconds of time.perf_counter
        self._said = len(self.sound)  # samples of the burst that were said

    def next(self, out: Audio, ago: float) -> None:
        """Fill `out` [n], whose first sample is `ago` seconds old."""
        if self.due:
            self.due, self._said = False, 0
            self.began.append(time.perf_counter() - ago)
        n = min(len(out), len(self.sound) - self._said)
        out[:n] = self.sound[self._said : self._said + n]
        out[n:] = 0.0
        self._said += n

    def found_in(self, heard: Ear) -> Measured:
        """Look for every burst in what was heard since. Raises `DeviceError` when none is there."""
        delays, gains = list[float](), list[float]()
        for moment in self.began:
            start = heard.written - round((heard.heard_at(heard.written) - moment) * heard.rate)
            n = min(round(EVERY_S * heard.rate), heard.written - start)
            if start < max(0, heard.written - heard.capacity) or n <= 0:
                continue
            hit = find(heard.take(start, n), self.sound)
            if hit:
                delays.append(1000.0 * hit.start / heard.rate)
                gains.append(hit.gain)
        if not delays:
            raise DeviceError(
                "None of the bursts was heard at the virtual microphone. Is it muted in the "
                "system's settings, or does a program change what it says?"
            )
        level = 20.0 * float(np.log10(np.median(gains) + 1e-9))
        return Measured(tuple(delays), len(self.began) - len(delays), level)


class Injector(Ear):
    """An ear that hears bursts in the microphone's place, at the microphone's pace.

    Between them there is a little noise, as silence costs the converter nothing.
    """

    def __init__(self, rate: int) -> None:
        super().__init__(rate)
        self.bursts = Bursts(rate)
        self._part: Audio = np.zeros(rate, np.float32)
        hum = np.random.default_rng(0).standard_normal(2 * rate)
        self._hum: Audio = (HUM * hum).astype(np.float32)

    def put(self, samples: Audio) -> None:
        """Keep as many samples of bursts instead."""
        part = self._part[: len(samples)]
        self.bursts.next(part, len(part) / self.rate)
        at = self.written % self.rate
        np.add(part, self._hum[at : at + len(part)], out=part)
        super().put(part)


def play_through(output: Device, hearing: Device, seconds: float = 2.5) -> Measured:
    """Play bursts to `output` and hear them from `hearing`: what a virtual microphone adds.

    Raises `DeviceError` when a device does not work or nothing is heard.
    """
    rate = common_rate([(hearing, "input"), (output, "output")])
    block = round(BLOCK_S * rate)
    bursts, heard = Bursts(rate), Ear(rate, seconds + 4.0)

    def say(out: Audio) -> None:
        bursts.next(out, 0.0)

    with (
        open_output(output, rate, block, say),
        open_input(hearing, rate, block, heard.put),
    ):
        time.sleep(EVERY_S)
        for _ in range(max(1, int(seconds / EVERY_S))):
            bursts.due = True
            time.sleep(EVERY_S)
    return bursts.found_in(heard)


@dataclass(frozen=True)
class Budget:
    """Mouth to ear, and its parts."""

    measured: Measured
    parts: tuple[tuple[str, float, str], ...]  # (stage, milliseconds, what it is)

    @property
    def whole(self) -> float:
        """All parts together, ms."""
        return sum(ms for _, ms, _ in self.parts)

    def table(self) -> str:
        """As Markdown."""
        told = self.measured
        within = told.spread - told.median
        last = f"{len(told.delays)} bursts, 95 % within {within:.1f} ms more, {told.lost} lost"
        rows = [*self.parts, ("mouth to ear", self.whole, last)]
        lines = [f"| {name:18} | {ms:6.1f} | {what} |" for name, ms, what in rows]
        return "\n".join([f"| {'stage':18} | {'ms':>6} | what it is |", "|---|--:|---|", *lines])


async def measure(settings: MicSettings, desk: Desk, seconds: float = 9.0) -> Budget:
    """Run `timbral mic` for a while with bursts in place of a voice. Raises `TimbralError`."""
    runner = Microphone(settings, desk, quiet, typing=False, make_ear=Injector)
    running = asyncio.create_task(runner.run())
    probing = asyncio.create_task(_probe(runner, seconds))
    try:
        done, _ = await asyncio.wait({running, probing}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        return await probing
    finally:
        desk.over = True
        probing.cancel()
        await asyncio.gather(running, probing, return_exceptions=True)


async def _probe(runner: Microphone, seconds: float) -> Budget:
    scene = runner.scene
    while scene.away or scene.sound is None or scene.talk is None:
        await asyncio.sleep(LOOK_S)
    sound = scene.sound
    if sound.hearing is None or not isinstance(sound.ear, Injector):
        raise DeviceError("Only a virtual microphone can be heard: leave --output out.")
    scene.talk.order(scene.desk.press("b", 0.0))
    heard = Ear(sound.rate, seconds + 4.0)
    await asyncio.sleep(SETTLE_S)
    with open_input(sound.hearing, sound.rate, sound.block, heard.put) as listening:
        await asyncio.sleep(EVERY_S)
        seen = list[list[tuple[str, float, str]]]()
        for _ in range(max(1, int(seconds / EVERY_S))):
            sound.ear.bursts.due = True
            await asyncio.sleep(EVERY_S)
            seen.append(budget(scene))
        measured = sound.ear.bursts.found_in(heard)
        return Budget(measured, _parts(seen, measured.median - listening.latency_ms))


def _parts(
    seen: list[list[tuple[str, float, str]]], measured: float
) -> tuple[tuple[str, float, str], ...]:
    """Medians of the stages that are known by themselves; the rest is the way to the others."""
    stages = [rows for rows in seen if rows]
    if not stages:
        raise DeviceError("The talk broke off. Measure again.")
    usual = [
        (name, float(np.median([rows[at][1] for rows in stages])), what)
        for at, (name, _, what) in enumerate(stages[-1])
    ]
    microphone, *known, _ = usual
    rest = measured - sum(ms for _, ms, _ in known)
    return (
        microphone,
        *known,
        ("virtual microphone", rest, "what is left of the measured: output and its driver"),
    )
