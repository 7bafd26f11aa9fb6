"""The tasks around one conversation: they move frames, run jobs in threads, and let time pass."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, cast

from aiohttp import WSMsgType, web

from server.call import Call
from server.failures import GOING_AWAY, OK
from server.line import Job, Outcome
from server.protocol import Start

log = logging.getLogger("timbral.server")

TICK_S = 0.25
TURN, BREATH_S = 16, 0.004  # messages read at most, then a pause: 4000 a second and client
PARTING_S = 1.0  # for a client to take its last messages, and again to close
LOST = frozenset({1006, 1011})  # no goodbye; and that of a client that heard nothing for a while


class Session:
    """Carries one `Call` over a WebSocket, and over another one when that breaks.

    loader   the thread that loads voices and opens streams; hops are converted where the stream
             has its place

    Law: at any time one socket at most is read and written, and `run` goes on without any.
    """

    def __init__(self, call: Call, loader: Executor) -> None:
        self._call = call
        self._loader = loader
        self._clock = asyncio.get_running_loop().time
        self._events = {name: asyncio.Event() for name in ("read", "hop", "load", "send")}
        self._carriers: list[asyncio.Task[Any]] = []  # of the present socket
        self._over = asyncio.Event()  # nothing more is to be said
        self._left = asyncio.Event()  # `run` has returned

    async def run(self, leave: Callable[[int], None]) -> None:
        """Convert until the client goes or the call is over; then `leave` with the closing code."""
        tasks = [
            asyncio.create_task(self._convert(), name="convert"),
            asyncio.create_task(self._load(), name="load"),
            asyncio.create_task(self._tick(), name="tick"),
            asyncio.create_task(self._end(), name="end"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._fail(done):
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._end(), PARTING_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._call.leave()
            self._over.set()
            try:
                leave(self._code)
            finally:
                self._left.set()

    async def carry(self, socket: web.WebSocketResponse, resumed: Start | None = None) -> int:
        """Talk over `socket` until it breaks, another takes over, or `run` is over.

        resumed  how the client begins, when it had another socket before

        Returns the code to close it with.
        """
        self._let_go()
        if resumed is not None:
            self._call.park(self._clock())
            self._call.resume(resumed, self._clock())
        read = asyncio.create_task(self._read(socket), name="read")
        send = asyncio.create_task(self._send(socket), name="send")
        carriers = self._carriers = [read, send]
        end = asyncio.create_task(self._end(), name="end")
        self._changed()
        try:
            await asyncio.wait([*carriers, end], return_when=asyncio.FIRST_COMPLETED)
            if carriers is self._carriers:
                await self._part(socket, read, send)
        except asyncio.CancelledError:
            self._over.set()
            raise
        finally:
            for task in (*carriers, end):
                task.cancel()
            await asyncio.gather(*carriers, end, return_exceptions=True)
        if not self._over.is_set():
            return GOING_AWAY
        await self._left.wait()
        return self._code

    def claim(self, start: Start) -> bool:
        """Leave the socket and wait for another one, whose client has said `start`."""
        if not self._call.fits(start) or not self._call.park(self._clock()):
            return False
        self._let_go()
        return True

    @property
    def name(self) -> str:
        """As in the log."""
        return self._call.session

    def drain(self) -> None:
        """The server will end: a client that is away stays away."""
        self._call.drain()
        self._changed()

    def hang_up(self) -> None:
        """The server ends."""
        self._call.hang_up(self._clock())
        self._changed()

    @property
    def _code(self) -> int:
        return OK if self._call.close is None else self._call.close

    def _let_go(self) -> None:
        """From here on the present socket is neither read nor written."""
        for task in self._carriers:
            task.cancel()
        self._carriers = []

    async def _part(
        self, socket: web.WebSocketResponse, read: "asyncio.Task[bool]", send: "asyncio.Task[None]"
    ) -> None:
        """A socket is at its end: wait for another one, or be over."""
        failed = self._fail({task for task in (read, send) if task.done()})
        lost = any(isinstance(_error(task), ConnectionError) for task in (read, send))
        lost = lost or (read.done() and _error(read) is None and read.result())
        self._let_go()
        if failed:
            with suppress(ConnectionError, asyncio.TimeoutError):
                await asyncio.wait_for(self._send(socket), PARTING_S)
        elif lost and not self._over.is_set() and self._call.park(self._clock()):
            log.info("a client was lost; its stream waits")
            self._changed()
            return
        self._over.set()

    async def _end(self) -> None:
        await self._over.wait()

    def _changed(self) -> None:
        """Wake who has something to do now: this happens with every message and every hop."""
        call, events = self._call, self._events
        events["hop"].set()
        events["read"].set()
        if call.to_load:
            events["load"].set()
        if call.outbox or call.close is not None:
            events["send"].set()

    async def _change(self, name: str) -> None:
        await self._events[name].wait()
        self._events[name].clear()

    async def _read(self, socket: web.WebSocketResponse) -> bool:
        """Until the client goes. Returns whether it was lost, rather than that it left."""
        turn = 0
        while True:
            while self._call.full and self._call.moved is None:
                await self._change("read")
            if self._call.moved is not None:
                return False
            message = await socket.receive()
            if message.type is WSMsgType.PING:
                await socket.pong(message.data)
            elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                self._call.receive(message.data, self._clock())
                self._changed()
            elif message.type is WSMsgType.CLOSE:
                return message.data in LOST
            elif message.type is not WSMsgType.PONG:
                return message.type is WSMsgType.CLOSED or socket.close_code in LOST
            turn += 1
            if turn % TURN == 0:
                await asyncio.sleep(BREATH_S)

    async def _convert(self) -> None:
        while True:
            await self._change("hop")
            while (job := self._call.next_hop(self._clock())) is not None:
                outcome = await asyncio.wrap_future(self._call.submit(job))
                self._call.settle_hop(job, outcome, self._clock())
                self._changed()

    async def _load(self) -> None:
        while True:
            await self._change("load")
            while (job := self._call.next_load()) is not None:
                outcome = await self._attempt(job)
                self._call.settle_load(job, outcome, self._clock())
                self._changed()

    async def _send(self, socket: web.WebSocketResponse) -> None:
        outbox = self._call.outbox
        while True:
            while outbox:
                frame = outbox.take(self._clock())
                if isinstance(frame, str):
                    await socket.send_str(frame)
                else:
                    await socket.send_bytes(cast(bytes, frame))  # it takes any buffer
                outbox.sent()
                self._events["hop"].set()
            if self._call.close is not None:
                return
            await self._change("send")

    async def _tick(self) -> None:
        while self._call.close is None:
            await asyncio.sleep(TICK_S)
            self._call.tick(self._clock())
            self._changed()
        if self._carriers:
            await asyncio.sleep(PARTING_S)

    async def _attempt(self, job: Job) -> Outcome:
        return await asyncio.get_running_loop().run_in_executor(self._loader, attempt, job.work)

    def _fail(self, done: set[asyncio.Task[Any]]) -> bool:
        """A task that failed is a fault of ours, unless the client is just gone."""
        errors = [error for task in done if (error := _error(task)) is not None]
        ours = [error for error in errors if not isinstance(error, ConnectionError)]
        for error in ours:
            self._call.fail(error, self._clock())
        self._changed()
        return bool(ours)


def _error(task: asyncio.Task[Any]) -> Exception | None:
    """What a task that is done failed of."""
    if not task.done() or task.cancelled():
        return None
    error = task.exception()
    return error if isinstance(error, Exception) else None


def attempt(work: Callable[[], Any]) -> Outcome:
    """Run `work` in this thread; every error becomes part of the outcome."""
    began = time.perf_counter()
    try:
        value = work()
    except Exception as error:
        return Outcome(None, error, time.perf_counter() - began)
    return Outcome(value, None, time.perf_counter() - began)
