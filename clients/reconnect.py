"""A conversation that outlives its connection."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from clients.link import VoiceLink, clock, open_link, stream_url
from server.protocol import ErrorCode, Start
from stream.errors import LinkError

Result = TypeVar("Result")
FINAL: tuple[ErrorCode, ...] = ("unauthorized", "voice_not_found", "unsupported", "bad_message")
"""What the next attempt would be told as well."""


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """How long to wait before the next attempt. Seconds."""

    first: float = 0.25
    factor: float = 2.0
    most: float = 8.0
    spread: float = 0.5  # part of the wait that is left to chance: clients shall not come at once
    later: float = 0.2  # part that chance adds to the wait that a server asks for
    settled: float = 5.0  # a connection that held so long ends a row of failures

    def wait(self, failures: int, chance: float) -> float:
        """Seconds before the attempt that follows `failures` (1 or more) in a row.

        chance  0 to 1; the larger, the shorter

        >>> [Backoff().wait(n, 0.0) for n in (1, 2, 3, 9)]
        [0.25, 0.5, 1.0, 8.0]
        """
        full = min(self.most, self.first * self.factor ** min(failures - 1, 60))
        return full * (1.0 - self.spread * chance)


def _forget(_error: LinkError, _seconds: float) -> None:
    """Nobody wants to know."""


async def stay_linked(
    url: str,
    start: Callable[[], Start],
    talk: Callable[[VoiceLink], Awaitable[Result]],
    *,
    away: Callable[[LinkError, float], None] = _forget,
    backoff: Backoff | None = None,
    chance: Callable[[], float] = random.random,
) -> Result:
    """Run `talk` with an open link; when the link breaks, with a new one. Returns what it returns.

    The new link resumes the stream where the server allows that: then its `ready.resumed` is true.
    `start` is asked before each attempt, so that it can name the voice and the controls of the
    moment. `away` is told what broke, and how many seconds pass until the next attempt: as long as
    the server asks for, if it does. Raises `LinkError` when the first attempt finds no server, and
    when the server refuses for a reason that stays (`FINAL`); one that is full is tried again.
    """
    stream_url(url)
    pace = backoff or Backoff()
    failures, reached = 0, False
    secret = ""  # by which the stream of the last link is resumed
    while True:
        opened, linked = clock(), False
        try:
            begin = start().model_copy(update={"resume": secret} if secret else {})
            async with open_link(url, begin) as link:
                opened, reached, linked, secret = clock(), True, True, link.ready.resume
                return await talk(link)
        except LinkError as error:
            reached = reached or error.code == "overloaded"
            if error.code in FINAL or not reached:
                raise
            if linked and error.code:
                secret = ""  # what ended for a reason is not taken up again
            failures = 1 if clock() - opened >= pace.settled else failures + 1
            luck = chance()
            seconds = max(pace.wait(failures, luck), error.retry_s * (1.0 + pace.later * luck))
            away(error, seconds)
        await asyncio.sleep(seconds)
