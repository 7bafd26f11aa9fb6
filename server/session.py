"""The tasks around one socket: they move frames, run jobs in threads, and let time pass."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, cast

from aiohttp import WSMsgType, web

from server.call import Call
from server.failures import OK
from server.line import Job, Outcome

log = logging.getLogger("timbral.server")

TICK_S = 0.25
TURN, BREATH_S = 16, 0.004  # messages read at most, then a pause: 4000 a second and client
PARTING_S = 1.0  # for a client to take its last messages, and again to close


class Session:
    """Carries one `Call` over one WebSocket. `run` returns when both are over.

    loader   the thread that loads voices and opens streams; hops are converted where the stream
             has its place
    """

    def __init__(self, socket: web.WebSocketResponse, call: Call, loader: Executor) -> None:
        self._socket = socket
        self._call = call
        self._loader = loader
        self._clock = asyncio.get_running_loop().time
        self._events = {name: asyncio.Event() for name in ("read", "hop", "load", "send")}

    async def run(self) -> int:
        """Talk until the client goes, or the call is over; returns the closing code."""
        tasks = [
            asyncio.create_task(self._read(), name="read"),
            asyncio.create_task(self._convert(), name="convert"),
            asyncio.create_task(self._load(), name="load"),
            asyncio.create_task(self._send(), name="send"),
            asyncio.create_task(self._tick(), name="tick"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await self._tell_of_failures(done)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return OK if self._call.close is None else self._call.close

    def hang_up(self) -> None:
        """The server ends."""
        self._call.hang_up(self._clock())
        self._changed()

    def _changed(self) -> None:
        for event in self._events.values():
            event.set()

    async def _change(self, name: str) -> None:
        await self._events[name].wait()
        self._events[name].clear()

    async def _read(self) -> None:
        turn = 0
        while True:
            while self._call.full:
                await self._change("read")
            message = await self._socket.receive()
            if message.type is WSMsgType.PING:
                await self._socket.pong(message.data)
            elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                self._call.receive(message.data, self._clock())
                self._changed()
            elif message.type is not WSMsgType.PONG:
                return
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

    async def _send(self) -> None:
        outbox = self._call.outbox
        while True:
            while outbox:
                frame = outbox.take(self._clock())
                if isinstance(frame, str):
                    await self._socket.send_str(frame)
                else:
                    await self._socket.send_bytes(cast(bytes, frame))  # it takes any buffer
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
        await asyncio.sleep(PARTING_S)

    async def _attempt(self, job: Job) -> Outcome:
        return await asyncio.get_running_loop().run_in_executor(self._loader, attempt, job.work)

    async def _tell_of_failures(self, done: set[asyncio.Task[None]]) -> None:
        """A task that failed is a fault of ours, unless the client is just gone."""
        for task in done:
            error = task.exception()
            if isinstance(error, ConnectionError):
                log.info("the client went away")
            elif isinstance(error, Exception):
                self._call.fail(error, self._clock())
                with suppress(ConnectionError, asyncio.TimeoutError):
                    await asyncio.wait_for(self._send(), PARTING_S)


def attempt(work: Callable[[], Any]) -> Outcome:
    """Run `work` in this thread; every error becomes part of the outcome."""
    began = time.perf_counter()
    try:
        value = work()
    except Exception as error:
        return Outcome(None, error, time.perf_counter() - began)
    return Outcome(value, None, time.perf_counter() - began)
