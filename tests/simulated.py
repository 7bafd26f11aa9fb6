"""The real server around a conversion that costs simulated time, and clients of every temper."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import numpy as np
from aiohttp import WSMessage, WSMsgType, web
from arrivals import signal
from halver import GAINS, Halver, HalvingVoices
from virtual_time import Condition, Inline, Time

from server.app import Server
from server.config import ServerConfig
from server.figures import Figures, Live
from server.line import Opened
from server.protocol import (
    AudioFrame,
    Failure,
    Flag,
    Message,
    Ready,
    ServerMessage,
    SetVoice,
    Start,
    Stop,
    Stopped,
    server_message,
)
from server.reception import Reception
from server.room import Room, Rooms
from stream.audio import Audio
from stream.controls import Controls
from stream.ladder import STEPS, Step

RATE, FRAME = 8_000, 1_600  # Hz, samples: 0.2 s
HOP_S, LAG_S = 0.2, 0.04
COST_S = 0.02  # that a hop takes on a machine that has nothing else to do
MOST = 8
PIPE = 256 * 1024  # bytes on their way to one client
LOST = WSMessage(WSMsgType.CLOSED, None, None)


class Pressed(HalvingVoices):
    """Each hop takes `COST_S` times `pressure`."""

    def __init__(self, time: Time) -> None:
        super().__init__(hop_seconds=COST_S)
        self._time = time
        self.pressure = 1.0

    def open(self, start: Start, device: str, step: Step = STEPS[0]) -> Opened:
        del step  # its conversions take up what is given up with their first hop
        self.load(start.voice, device)
        controls = Controls(**start.controls.model_dump(exclude_none=True))
        return Opened(Slow(start.voice, controls, self._pass), "Numpy", "low", "", COST_S)

    def _pass(self) -> None:
        self._time.sleep(COST_S * self.pressure)


class Slow(Halver):
    """Halves, in simulated time, by hops of `HOP_S`."""

    def __init__(self, voice: str, controls: Controls, wait: Callable[[], None]) -> None:
        super().__init__(RATE, voice, controls, hop_s=HOP_S, lag_s=LAG_S)
        self._wait = wait

    def step(self, block: Audio) -> Audio:
        self._wait()
        return super().step(block)


class Seen(Reception):
    """Shows who is there."""

    @property
    def visits(self) -> int:
        """Conversations."""
        return len(self._visits)

    def lives(self) -> list[Live]:
        """Open streams."""
        return list(self._live())


class Watched(Room):
    """Shows what waits; its thread works by the clock of ours."""

    def __init__(self, moment: Time, figures: Figures) -> None:
        self._moment = moment
        moment.begin(1)
        threads = SimpleNamespace(Condition=lambda: Condition(moment), Thread=threading.Thread)
        with mock.patch("server.room.threading", threads):
            super().__init__("cpu", 1, figures, clock=moment)

    def _convert(self) -> None:
        try:
            super()._convert()
        finally:
            self._moment.end()

    @property
    def waiting(self) -> int:
        """Jobs."""
        return len(self._scheduler)

    @property
    def level(self) -> int:
        """Steps of the ladder."""
        return self._ladder.level


class Simulated(Server):
    """The server, without its port and its threads' time."""

    def __init__(self, time: Time, voices: Pressed) -> None:
        config = ServerConfig(port=0, voice="ada", max_streams=MOST, workers=1)
        super().__init__(config, lambda: voices)
        self._time = time
        self._loader = cast(Any, Inline())
        self._voices = voices
        self._provider = "Numpy"
        self._seen = Seen(self._gate, self._places, self.figures, self._audit, time)
        self._reception = self._seen
        self.room = Watched(time, self.figures)
        self._rooms = Rooms([self.room])

    async def connect(self, pipe: "Pipe") -> None:
        """What a connection gets, from its first message to its closing code."""
        visit = self._reception.arrive("192.0.2.1")
        pipe.code = await self._talk(cast(web.WebSocketResponse, pipe), visit)
        pipe.close()

    async def look_after(self) -> None:
        """As the server does all the time."""
        await self._watch()

    def check(self) -> None:
        """Nothing waits that should not, and nobody is counted twice."""
        lives = self._seen.lives()
        waits = max((x.line.intake.queued for x in lives), default=0) / RATE
        goes = max((x.outbox.audio for x in lives), default=0) / RATE
        ended = sum(sample.value for sample in self.figures.ended.samples())
        admitted, refused = self.figures.admitted.value(), self.figures.refused
        here = len(self._sessions)
        laws = {
            "places": self.streams <= MOST,
            "visits": self._seen.visits == here,
            "tickets": len(self._tickets) <= 2 * here,
            "jobs": self.room.waiting <= 2 * here,
            "audio to convert": waits <= 2.0,
            "audio to send": goes <= 1.0 + 4 * HOP_S,
            "counters": 0 <= ended + len(lives) - admitted <= refused.value(reason="overloaded"),
        }
        broken = [law for law, holds in laws.items() if not holds]
        if broken:
            raise Wrong(f"{broken}: {here} sessions, {lives}, {ended} ended, {admitted} admitted")

    @property
    def empty(self) -> bool:
        """Whether nobody is there, and nothing is left of those who were."""
        held = len(self._sessions) + len(self._tickets) + len(self._talks) + self._seen.visits
        return not held and not self.streams and not self.room.waiting


@dataclass
class Pipe:
    """A WebSocket between `Session` and a client in the same process."""

    up: "asyncio.Queue[WSMessage]" = field(default_factory=lambda: asyncio.Queue(64))
    down: "asyncio.Queue[str | bytes]" = field(default_factory=lambda: asyncio.Queue[Any]())
    close_code: int | None = None
    code: int = 0  # with which the server closed
    closed: bool = False
    flows: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0  # bytes on the way down

    async def receive(self) -> WSMessage:
        """The next message from the client."""
        return LOST if self.closed and self.up.empty() else await self.up.get()

    async def pong(self, _data: bytes) -> None:
        """Nobody asks."""

    async def send_str(self, text: str) -> None:
        """To the client."""
        await self._send(text)

    async def send_bytes(self, data: bytes) -> None:
        """To the client; waits while it does not read."""
        await self._send(bytes(data))

    def close(self) -> None:
        """Either side is gone."""
        if not self.closed:
            self.closed, self.close_code = True, self.close_code or 1006
            self.flows.set()
            self.down.put_nowait("")
            if not self.up.full():
                self.up.put_nowait(LOST)

    async def _send(self, data: str | bytes) -> None:
        while self.waiting > PIPE and not self.closed:
            self.flows.clear()
            await self.flows.wait()
        if self.closed:
            raise ConnectionResetError("the client is gone")
        self.waiting += len(data)
        self.down.put_nowait(data)

    def took(self, data: str | bytes) -> None:
        """The client has read this."""
        self.waiting -= len(data)
        self.flows.set()


class Wrong(AssertionError):
    """The server broke its word."""


@dataclass
class Client:
    """One who talks, stalls, changes voices, is lost, comes back, leaves: again and again."""

    server: Simulated
    chance: random.Random
    tally: "Counter[str]"

    async def live(self, until: float) -> None:
        """Talk now and then, until it is this late."""
        while (pause := self.chance.expovariate(1 / 240.0)) < until - self._now:
            await asyncio.sleep(pause)
            await self.talk()

    async def talk(self) -> None:
        """A conversation, over as many connections as it takes."""
        secret, next_ = "", None
        until = self._now + self.chance.uniform(20.0, 400.0)
        while self._now < until:
            call = Conversation(self.server, self.chance, self.tally, next_)
            end, secret = await call.run(secret, until)
            next_ = call.next_ if secret else None
            self.tally[end] += 1
            if end != "lost":
                return
            await asyncio.sleep(self.chance.uniform(0.0, 13.0))

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()


class Conversation:
    """One connection of a client.

    next_  where the audio goes on that the client has heard so far; None at the beginning
    """

    def __init__(
        self, server: Simulated, chance: random.Random, tally: "Counter[str]", next_: int | None
    ) -> None:
        self._server, self._chance, self._tally = server, chance, tally
        self._pipe = Pipe()
        self._position, self._sent = 0, 0
        self.next_ = next_
        self._said: ServerMessage | None = None
        self._secret = ""
        self._reads = asyncio.Event()
        self._reads.set()

    async def run(self, secret: str, until: float) -> tuple[str, str]:
        """How it ended, and the secret to come back with."""
        loop = asyncio.get_running_loop()
        serving = asyncio.create_task(self._server.connect(self._pipe))
        start = Start(
            voice="ada", sample_rate=RATE, encoding="f32le", resume=secret or None, profile="low"
        )
        self._tell(start)
        ready = server_message.validate_json(await self._pipe.down.get())
        if not isinstance(ready, Ready):
            await serving
            return "refused", ""
        self._pipe.took("")
        self._tally["resumed" if ready.resumed else "began"] += 1
        self._secret, self._position = ready.resume, ready.position
        if not ready.resumed:
            self.next_ = None
        hearing = asyncio.create_task(self._hear())
        try:
            end = await self._speak(loop, until)
        finally:
            if not serving.done() or self._pipe.closed:
                self._pipe.close()
            await serving
            self._reads.set()
            await hearing
        return end, self._secret if end == "lost" else ""

    async def _speak(self, loop: asyncio.AbstractEventLoop, until: float) -> str:
        begun = loop.time() - self._position / RATE
        while loop.time() < until:
            due = begun + (self._position + FRAME) / RATE
            await asyncio.sleep(max(0.0, due - loop.time()))
            if self._pipe.closed:
                return "ended by the server"
            await self._say()
            mood = self._chance.random()
            if mood < 0.004:
                self._tell(SetVoice(voice=self._chance.choice(["ada", "ben"])))
            elif mood < 0.006:  # it stalls, and leaves out what it missed
                await asyncio.sleep(self._chance.uniform(0.5, 5.0))
                self._position = round((loop.time() - begun) * RATE / FRAME) * FRAME
            elif mood < 0.008:  # it reads nothing for a while, perhaps for too long
                self._reads.clear()
                loop.call_later(self._chance.uniform(1.0, 30.0), self._reads.set)
            elif mood < 0.0095:
                return "lost"
            elif mood < 0.010:  # a cable is cut: neither side is told
                await asyncio.sleep(self._chance.uniform(5.0, 90.0))
                return "lost"
        self._tell(Stop())
        for _ in range(100):
            if isinstance(self._said, Stopped) or self._pipe.closed:
                return "stopped"
            await asyncio.sleep(0.2)
        raise Wrong("`stop` was never answered")

    async def _say(self) -> None:
        pcm = signal(self._position, FRAME).astype("<f4").tobytes()
        data = AudioFrame(self._sent, self._position, pcm).pack()
        self._position, self._sent = self._position + FRAME, self._sent + 1
        await self._put(WSMessage(WSMsgType.BINARY, data, None))

    def _tell(self, message: Message) -> None:
        text = message.model_dump_json(exclude_none=True)
        if not self._pipe.up.full():
            self._pipe.up.put_nowait(WSMessage(WSMsgType.TEXT, text, None))

    async def _put(self, message: WSMessage) -> None:
        while self._pipe.up.full() and not self._pipe.closed:
            await asyncio.sleep(0.05)
        if not self._pipe.closed:
            self._pipe.up.put_nowait(message)

    async def _hear(self) -> None:
        while True:
            await self._reads.wait()
            data = await self._pipe.down.get()
            self._pipe.took(data)
            if isinstance(data, bytes):
                self._check(AudioFrame.unpack(data))
            elif not data:
                return
            else:
                self._said = server_message.validate_json(data)
                if isinstance(self._said, Failure):
                    self._tally[self._said.code] += 1

    def _check(self, frame: AudioFrame) -> None:
        heard = np.frombuffer(frame.pcm, "<f4")
        due = frame.position if self.next_ is None else self.next_
        if frame.position < due or (frame.position > due and Flag.GAP not in frame.flags):
            raise Wrong(f"{frame.position} came where {due} was due")
        self.next_ = frame.position + len(heard)
        self._tally["samples heard"] += len(heard)
        if Flag.CONCEALED in frame.flags:
            self._tally["samples concealed"] += len(heard)
            return
        said, first = signal(frame.position, len(heard)), round(0.005 * RATE)
        gains = [np.float32(GAINS[voice]) for voice in ("ada", "ben")]
        fits = (heard == gains[0] * said) | (heard == gains[1] * said)
        if not fits[first:].all():
            raise Wrong(f"at {frame.position} is what nobody converted")
