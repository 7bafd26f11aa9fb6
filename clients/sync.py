"""The client's side of the protocol for programs without asyncio.

from clients.sync import open_link
from server.protocol import AudioFrame, Start

start = Start(voice="starter", sample_rate=16_000)
with open_link("ws://127.0.0.1:8765", start) as link:
    link.send(bytes(2 * 16_000))  # a second of s16le
    link.stop()
    frames = [event for event in link.events() if isinstance(event, AudioFrame)]
spoken = b"".join(frame.pcm for frame in frames)
"""

import asyncio
import threading
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from clients.link import Event, VoiceLink
from clients.link import open_link as open_async
from server.protocol import ClientMessage, Ready, SetControls, Start

Result = TypeVar("Result")


class SyncLink:
    """`clients.link.VoiceLink` with methods that block. Get one from `open_link`.

    One thread may send while another goes through `events`.
    """

    def __init__(self, link: VoiceLink, loop: asyncio.AbstractEventLoop) -> None:
        self._link, self._loop = link, loop

    @property
    def ready(self) -> Ready:
        """What the server said at the beginning."""
        return self._link.ready

    @property
    def position(self) -> int:
        """Where the next sample goes."""
        return self._link.position

    def send(self, pcm: bytes | memoryview, position: int | None = None) -> None:
        """Send mono samples in the encoding agreed; `position` leaves out what lies before it."""
        self._wait(self._link.send(pcm, position))

    def tell(self, message: ClientMessage) -> None:
        """Send any message of the protocol."""
        self._wait(self._link.tell(message))

    def set_controls(self, controls: SetControls) -> None:
        """Change controls; the server answers with `ControlsNow`."""
        self._wait(self._link.set_controls(controls))

    def change_voice(self, voice: str) -> None:
        """Go on in another voice; the server answers with `VoiceNow`."""
        self._wait(self._link.change_voice(voice))

    def bypass(self, on: bool) -> None:
        """Ask for the raw voice, or for the converted one again."""
        self._wait(self._link.bypass(on))

    def ping(self) -> None:
        """Ask for a `Pong`; its `t` is `loop_time` at this moment."""
        self._wait(self._link.ping())

    def stop(self) -> None:
        """No more audio. The rest follows among the `events`, which end with `Stopped`."""
        self._wait(self._link.stop())

    def events(self) -> Iterator[Event]:
        """All that the server sends, up to `Stopped`. Raises as `VoiceLink.events` does."""
        events = self._link.events()
        while (event := self._wait(_next(events))) is not None:
            yield event

    @property
    def loop_time(self) -> float:
        """Seconds on the clock that `ping` sends."""
        return self._loop.time()

    def _wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        return _run(self._loop, work)


@contextmanager
def open_link(url: str, start: Start) -> Generator[SyncLink, None, None]:
    """Connect, say `start`, wait for `ready`; on leaving, close. Raises `LinkError`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="timbral-link", daemon=True)
    thread.start()
    opening = open_async(url, start)
    try:
        link = _run(loop, opening.__aenter__())
        try:
            yield SyncLink(link, loop)
        finally:
            _run(loop, _leave(opening.__aexit__(None, None, None)))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _run(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Result]) -> Result:
    """Run `work` on the other thread's loop; an interrupt here ends it there."""
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


async def _next(events: Any) -> Event | None:
    return await anext(events, None)


async def _leave(leaving: Any) -> None:
    await leaving
