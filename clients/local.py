"""The converter inside the client: a channel without a server, for `timbral mic --local`."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from clients.link import Event
from clients.talk import decoded, encoded
from server.protocol import (
    AudioFrame,
    Bypass,
    ClientMessage,
    ControlsNow,
    Failure,
    Flag,
    Percentiles,
    Pong,
    Ready,
    SetControls,
    SetVoice,
    Start,
    Stats,
    VoiceNow,
)
from stream.audio import Audio
from stream.controls import Controls
from stream.errors import ConfigError, LinkError, TimbralError
from stream.ladder import STEPS, Ladder, eased

LATE_S = 0.3  # of sound that waits beyond a hop; then all of it is dropped
FAILED_HOPS = 3  # in a row, after which the conversation ends
WARM_HOPS = 3
HOPS = 500  # whose times are remembered


class Converter(Protocol):
    """What is needed of `stream.engine.Conversion`; see there for the laws."""

    controls: Controls
    bypass: bool

    @property
    def hop(self) -> int: ...
    @property
    def latency(self) -> int: ...
    @property
    def profile(self) -> Any: ...
    @property
    def profiles(self) -> Any: ...
    def step(self, block: Audio, /) -> Audio: ...
    def reset(self) -> None: ...
    def change_voice(self, voice: Any, /) -> None: ...
    def change_profile(self, profile: Any, /) -> None: ...


class Studio(Protocol):
    """Where voices and conversions come from. Everything here may take long."""

    def open(self, start: Start) -> tuple[Converter, str, str, str]:
        """A warm conversion, its provider, its profile, and why that was chosen."""
        ...

    def load(self, voice: str) -> Any: ...
    def names(self) -> list[str]: ...


class StoreStudio:
    """The voices of this machine's store."""

    def __init__(self, device: str = "auto") -> None:
        from stream.device import Device
        from stream.models.store import Store

        self._store = Store()
        self._device = Device.parse(device)

    def open(self, start: Start) -> tuple[Converter, str, str, str]:
        """A conversion that has run before, so that its first hop is no slower than others."""
        from stream.engine import Conversion
        from stream.tune import choose

        voice = self.load(start.voice)
        why = ""
        if start.profile == "auto":
            choice = choose(voice)
            profile, why = choice.profile, choice.why
        else:
            profile = voice.profiles[start.profile]
        controls = Controls(**start.controls.model_dump(exclude_none=True))
        conversion = Conversion(voice, start.sample_rate, profile=profile, controls=controls)
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, WARM_HOPS * conversion.hop)
        conversion.step(noise.astype(np.float32))
        conversion.reset()
        return conversion, voice.provider, profile.name, why

    def load(self, voice: str) -> Any:
        """The voice of that name."""
        return self._store.load(voice, self._device)

    def names(self) -> list[str]:
        """All voices."""
        return list(self._store.names())


@asynccontextmanager
async def open_local(start: Start, studio: Studio) -> AsyncGenerator["LocalChannel", None]:
    """A conversation with a converter in this process, on a thread of its own.

    Raises `TimbralError` when the voice cannot be loaded.
    """
    with ThreadPoolExecutor(1, "timbral-convert") as worker:
        loop = asyncio.get_running_loop()
        opened = await loop.run_in_executor(worker, studio.open, start)
        channel = LocalChannel(start, opened, studio, worker)
        working = asyncio.create_task(channel.work())
        try:
            yield channel
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)


class LocalChannel:
    """What `clients.link.VoiceLink` is to a server, to a converter. Get one from `open_local`.

    Laws: the output sample at position p is the conversion of the input sample at p. What could not
    be converted in time, or at all, is missing from the output: the listener gets silence. A
    machine under pressure gives up what `stream.ladder` says, and takes it back.
    """

    def __init__(
        self,
        start: Start,
        opened: tuple[Converter, str, str, str],
        studio: Studio,
        worker: ThreadPoolExecutor,
    ) -> None:
        self._converter, provider, profile, why = opened
        self._studio, self._worker = studio, worker
        self._rate = start.sample_rate
        self._waiting: deque[Audio] = deque()
        self._first = 0  # position of the first sample that waits
        self._length = 0  # samples that wait
        self._out = 0  # position of the next sample that comes out
        self._gap = Flag(0)
        self._more = asyncio.Event()
        self._events: asyncio.Queue[Event | LinkError] = asyncio.Queue()
        self._changes: deque[ClientMessage] = deque()
        self._took: deque[float] = deque(maxlen=HOPS)  # ms, of hops as long as the next one
        self._ladder = Ladder()
        self._given, self._step = profile, STEPS[0]  # what is given up, of the profile given
        self._profiles = self._converter.profiles
        self._failures = self._misses = self._lost = self._starts = 0
        self.ready = Ready(
            session="local",
            voice=start.voice,
            sample_rate=start.sample_rate,
            encoding=start.encoding,
            hop_samples=self._converter.hop,
            latency_samples=self._converter.latency,
            provider=provider,
            profile=profile,
            why=why,
        )

    async def send(self, pcm: bytes | memoryview, position: int | None = None) -> None:
        """Take samples; a jump of `position` starts the converter anew."""
        samples = decoded(pcm, self.ready.encoding)
        end = self._first + self._length
        if position is not None and position != end:
            self._drop(position)
        self._waiting.append(samples)
        self._length += len(samples)
        if self._length > self._converter.hop + LATE_S * self._rate:
            self._lost += self._length // self._converter.hop
            self._drop(self._first + self._length)
        self._more.set()

    async def tell(self, message: ClientMessage) -> None:
        """Controls, voice and bypass change before the next hop."""
        self._changes.append(message)
        self._more.set()

    async def ping(self) -> None:
        """Answered at once; brings the figures along."""
        self._events.put_nowait(Pong(t=asyncio.get_running_loop().time()))
        self._events.put_nowait(self._stats())

    async def events(self) -> AsyncIterator[Event]:
        """All that comes out. Raises `LinkError` when the converter fails again and again."""
        while True:
            event = await self._events.get()
            if isinstance(event, LinkError):
                raise event
            yield event

    async def work(self) -> None:
        """Convert what waits, for ever."""
        while True:
            await self._more.wait()
            self._more.clear()
            while self._changes or self._length >= self._converter.hop:
                if self._changes:
                    await self._change(self._changes.popleft())
                else:
                    await self._convert()

    async def _convert(self) -> None:
        hop = self._converter.hop
        held = np.concatenate(list(self._waiting))
        part, rest = held[:hop], held[hop:]
        self._waiting = deque([rest])
        self._first, self._length = self._first + hop, len(rest)
        began, start = time.perf_counter(), self._starts
        try:
            spoken = await self._run(self._converter.step, part)
        except Exception as error:  # the edge of a task: whatever it is, the talk goes on
            self._failed(error)
            return
        if start != self._starts:  # dropped meanwhile
            return
        self._failures = 0
        self._done(1000.0 * (time.perf_counter() - began), hop)
        if len(spoken):
            pcm = encoded(spoken, self.ready.encoding)
            self._events.put_nowait(AudioFrame(0, self._out, pcm, self._gap))
            self._out, self._gap = self._out + len(spoken), Flag(0)

    def _done(self, took: float, hop: int) -> None:
        """Tell the ladder of a hop that took so many ms, and do as it says before the next."""
        now, hop_ms = asyncio.get_running_loop().time(), 1000.0 * hop / self._rate
        late = took > hop_ms
        self._misses += late
        self._took.append(took)
        lately = round(1000.0 * Ladder.BUSY_S / hop_ms)
        self._ladder.hop(late, now)
        self._ladder.look(sum(list(self._took)[-lately:]) / (lately * hop_ms), now)
        converter, step = self._converter, self._ladder.step
        if converter.hop != hop:
            self._took.clear()
        if step is not self._step or converter.profiles is not self._profiles:
            self._step, self._profiles = step, converter.profiles
            given = self._profiles[self._given]
            converter.change_profile(eased(given, self._profiles, step))

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._lost += 1
        if self._failures >= FAILED_HOPS:
            self._events.put_nowait(LinkError(f"The conversion failed: {error}", "internal"))
        else:
            text = f"A part was lost: {error}"
            self._events.put_nowait(Failure(code="internal", message=text, fatal=False))
        self._drop(self._first + self._length)

    def _drop(self, position: int) -> None:
        """Forget what waits and what is inside; go on at `position`."""
        self._starts += 1
        self._waiting.clear()
        self._first, self._length = position, 0
        self._out, self._gap = position, Flag.GAP
        self._changes.append(_RESET)

    async def _change(self, message: ClientMessage) -> None:
        converter = self._converter
        try:
            match message:
                case SetControls():
                    values = message.model_dump(exclude_none=True, exclude={"type"})
                    converter.controls = replace(converter.controls, **values)
                    self._events.put_nowait(ControlsNow(**vars(converter.controls)))
                case SetVoice(voice=name):
                    converter.change_voice(await self._run(self._studio.load, name))
                    self._events.put_nowait(VoiceNow(voice=name))
                case Bypass(on=on):
                    converter.bypass = on
                case _:
                    await self._run(converter.reset)
        except TimbralError as error:
            code = "unsupported" if isinstance(error, ConfigError) else "voice_not_found"
            self._events.put_nowait(Failure(code=code, message=str(error), fatal=False))

    async def _run(self, work: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work, *arguments)

    def _stats(self) -> Stats:
        took = np.array(self._took if self._took else [0.0])
        p50, p95, p99 = (float(x) for x in np.percentile(took, [50, 95, 99]))
        return Stats(
            compute_ms=Percentiles(p50=p50, p95=p95, p99=p99),
            queue_ms=0.0,
            deadline_misses=self._misses,
            underruns=self._lost,
            latency_samples=self._converter.latency,
            profile=self._converter.profile.name,
            eased=self._step.name,
            rtf=float(took.mean()) * self._rate / (1000.0 * self._converter.hop),
        )


class _Reset:
    """Stands among the changes for a start of the converter anew."""


_RESET: Any = _Reset()
