"""One conversation, live: what the microphone hears goes out, what comes back is played."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from clients.desk import Desk
from clients.jitter import JitterBuffer
from clients.link import Event
from clients.recorder import Recorder
from clients.rings import Ear, Mouth
from server.protocol import (
    AudioFrame,
    ClientMessage,
    ControlsNow,
    Encoding,
    Failure,
    Flag,
    Pong,
    Ready,
    SetVoice,
    Stats,
    VoiceNow,
)
from stream.audio import Audio, float_from_s16, s16_from_float
from stream.errors import LinkError

BACKLOG_S = 0.3  # of sound that could not be sent; what is older is dropped
FADE_S = 0.005  # when the microphone opens and closes
PING_S = 1.0
RESTART = "restart"  # the code of the LinkError by which a conversation asks for a new one
RISE = 0.01  # of the distance by which the best answer is forgotten, from frame to frame
FALL = 0.85  # of a level meter, from block to block of 20 ms


class Channel(Protocol):
    """What a conversation needs of `clients.link.VoiceLink`."""

    @property
    def ready(self) -> Ready: ...
    async def send(self, pcm: bytes | memoryview, position: int | None = None) -> None: ...
    async def tell(self, message: ClientMessage) -> None: ...
    async def ping(self) -> None: ...
    def events(self) -> AsyncIterator[Event]: ...


@dataclass
class Figures:
    """What a conversation tells of itself. Times are milliseconds, levels full scale 1."""

    ready: Ready | None = None
    stats: Stats | None = None
    round_trip: float = 0.0
    answer: float = 0.0  # from hearing a frame's first sample to the frame's arrival, at best
    level_in: float = 0.0
    level_out: float = 0.0
    silent: int = 0  # samples of exact silence from the microphone, since its last sound
    dropped: int = 0  # samples that were never sent
    concealed: int = 0  # samples for which the server sent silence
    buffers: list[JitterBuffer] = field(default_factory=list[JitterBuffer])


class Talk:
    """The two ways of one conversation, over any number of channels one after the other.

    wake  returns when the microphone has heard more

    Laws: what is sent has the position of its sample on the microphone's own count, so a drop is a
    gap and never a shift; so is a broken connection whose stream is resumed. While the microphone
    is closed silence is sent, so that nothing moves.
    """

    def __init__(
        self,
        ear: Ear,
        mouths: Sequence[Mouth],
        desk: Desk,
        wake: Callable[[], Awaitable[None]],
        block: int,
    ) -> None:
        self._ear, self._mouths, self._desk, self._wake = ear, mouths, desk, wake
        self._block = block
        self._open = 0.0  # gain of the last sample sent
        self._orders: asyncio.Queue[ClientMessage] = asyncio.Queue()
        self._origin = 0  # the microphone's count at position 0
        self._asked = False  # for another voice
        self._voice = ""  # that speaks now
        self.recorder: Recorder | None = None
        self.figures = Figures()

    def order(self, messages: Sequence[ClientMessage]) -> None:
        """Tell the server; forgotten when it is away, as every start names what is in force."""
        for message in messages:
            self._orders.put_nowait(message)

    async def run(self, channel: Channel) -> None:
        """Talk until the desk is over or an error ends it. Raises `LinkError`."""
        self._orders = asyncio.Queue()
        self._open, self._voice = 0.0, channel.ready.voice
        self._asked = channel.ready.resumed and self._voice != self._desk.voice
        self.figures.ready, self.figures.stats = channel.ready, None
        self.figures.buffers = [mouth.begin() for mouth in self._mouths]
        if not channel.ready.resumed:
            self._origin = self._ear.written
            if self.recorder:
                self.recorder.begin()
        begin = max(self._ear.written, self._origin + channel.ready.position)
        works = [self._speak(channel, begin), self._listen(channel), self._tell(channel)]
        tasks = [asyncio.create_task(work) for work in [*works, self._ping(channel)]]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.figures.ready, self.figures.level_out = None, 0.0

    async def _speak(self, channel: Channel, at: int) -> None:
        encoding = channel.ready.encoding
        most = int(BACKLOG_S * self._ear.rate)
        while not self._desk.over:
            await self._wake()
            late = self._ear.written - at
            if late > most:
                self.figures.dropped += late - self._block
                at += late - self._block
            while self._ear.written - at >= self._block:
                samples = self._through(self._ear.take(at, self._block))
                position = at - self._origin
                at += self._block
                if self.recorder:
                    self.recorder.said(position, samples)
                await channel.send(encoded(samples, encoding), position)

    def _through(self, samples: Audio) -> Audio:
        """What of the microphone's `samples` [n] is to be said."""
        peak = _peak(samples)
        self.figures.silent = self.figures.silent + len(samples) if peak == 0.0 else 0
        target = 1.0 if self._desk.open(time.monotonic()) else 0.0
        if self._open != target:
            step = 1.0 / (FADE_S * self._ear.rate)
            ramp = self._open + np.sign(target - self._open) * step * np.arange(1, len(samples) + 1)
            gain = np.clip(ramp, 0.0, 1.0).astype(np.float32)
            self._open = float(gain[-1])
            samples = samples * gain
        elif target == 0.0:
            samples, peak = np.zeros_like(samples), 0.0
        self.figures.level_in = self._meter(self.figures.level_in, peak, len(samples))
        return samples

    async def _listen(self, channel: Channel) -> None:
        async for event in channel.events():
            match event:
                case AudioFrame():
                    self._hear(event, channel.ready.encoding)
                case Stats():
                    self.figures.stats = event
                case Pong(t=t):
                    now = asyncio.get_running_loop().time()
                    self.figures.round_trip = 1000.0 * (now - t)
                case ControlsNow() | VoiceNow():
                    self._desk.heard(event)
                    if isinstance(event, VoiceNow):
                        self._voice, self._asked = event.voice, False
                case Failure():
                    self._refused(event)
                case _:
                    pass
        raise LinkError("The server ended the conversation.")

    def _hear(self, frame: AudioFrame, encoding: Encoding) -> None:
        samples = decoded(frame.pcm, encoding)
        for buffer in self.figures.buffers:
            buffer.write(frame.position, samples)
        if self.recorder:
            self.recorder.heard(frame.position, samples)
        if frame.flags & Flag.CONCEALED:
            self.figures.concealed += len(samples)
        self.figures.level_out = self._meter(self.figures.level_out, _peak(samples), len(samples))
        lag = 1000.0 * (time.perf_counter() - self._ear.heard_at(self._origin + frame.position))
        # what is later than the best waits less in the jitter buffer, which is counted apart
        rise = RISE * max(0.0, lag - self.figures.answer)
        self.figures.answer = min(lag, self.figures.answer + rise) if self.figures.answer else lag

    def _refused(self, failure: Failure) -> None:
        """A voice of another latency needs a new conversation."""
        if self._asked and failure.code == "unsupported":
            raise LinkError(failure.message, RESTART)
        if self._asked and failure.code == "voice_not_found":
            self._desk.voice, self._asked = self._voice, False
        self._desk.notice = failure.message

    async def _tell(self, channel: Channel) -> None:
        while True:
            message = await self._orders.get()
            self._asked = self._asked or isinstance(message, SetVoice)
            await channel.tell(message)

    async def _ping(self, channel: Channel) -> None:
        while True:
            await channel.ping()
            await asyncio.sleep(PING_S)

    def _meter(self, before: float, peak: float, n: int) -> float:
        return max(before * FALL ** (n / (0.02 * self._ear.rate)), peak)


def _peak(samples: Audio) -> float:
    return max(float(samples.max()), -float(samples.min())) if len(samples) else 0.0


def encoded(samples: Audio, encoding: Encoding) -> bytes:
    """Samples [n] as a frame carries them."""
    if encoding == "f32le":
        return samples.astype("<f4").tobytes()
    return s16_from_float(samples).astype("<i2").tobytes()


def decoded(pcm: bytes | memoryview, encoding: Encoding) -> Audio:
    """The samples [n] that a frame carries."""
    if encoding == "f32le":
        return np.frombuffer(pcm, "<f4")
    return float_from_s16(np.frombuffer(pcm, "<i2"))
