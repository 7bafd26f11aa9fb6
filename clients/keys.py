"""Keys pressed in a terminal, one by one."""

import asyncio
import sys
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager

ARROWS = {"A": "up", "B": "down", "C": "right", "D": "left"}
WINDOWS_ARROWS = {"H": "up", "P": "down", "M": "right", "K": "left"}
EVERY_S = 0.03  # that Windows is asked


def names(text: str) -> list[str]:
    """The keys in what a terminal sent: characters as they are, arrows by name.

    Other escape sequences are left out, whole.

    >>> names("m\\x1b[A\\x1b[15~ \\x1bOD")
    ['m', 'up', ' ', 'left']
    """
    found = list[str]()
    at = 0
    while at < len(text):
        if text[at] == "\x1b" and text[at + 1 : at + 2] in {"[", "O"}:
            end = at + 2
            while end < len(text) and not text[end].isalpha() and text[end] != "~":
                end += 1
            if text[end : end + 1] in ARROWS:
                found.append(ARROWS[text[end]])
            at = end + 1
        else:
            if text[at] != "\x1b":
                found.append(text[at])
            at += 1
    return found


@contextmanager
def single_keys() -> Generator[bool, None, None]:
    """While this lasts, keys come at once and are not shown. False where there is no terminal."""
    if not sys.stdin.isatty():
        yield False
    elif sys.platform == "win32":
        yield True
    else:
        import termios
        import tty

        number = sys.stdin.fileno()
        before = termios.tcgetattr(number)
        tty.setcbreak(number)
        try:
            yield True
        finally:
            termios.tcsetattr(number, termios.TCSADRAIN, before)


async def keys() -> AsyncIterator[str]:
    """Every key pressed, by the names of `names`; within `single_keys`."""
    if sys.platform == "win32":
        import msvcrt

        while True:
            while msvcrt.kbhit():
                char = msvcrt.getwch()
                if char in "\x00\xe0":
                    arrow = WINDOWS_ARROWS.get(msvcrt.getwch())
                    if arrow:
                        yield arrow
                else:
                    yield char
            await asyncio.sleep(EVERY_S)
    else:
        async for key in _read():
            yield key


async def _read() -> AsyncIterator[str]:
    import os

    loop = asyncio.get_running_loop()
    number = sys.stdin.fileno()
    waiting: asyncio.Queue[str] = asyncio.Queue()

    def take() -> None:
        data = os.read(number, 1024)
        if not data:  # the terminal is gone
            loop.remove_reader(number)
        for key in names(data.decode("utf-8", "ignore")):
            waiting.put_nowait(key)

    loop.add_reader(number, take)
    try:
        while True:
            yield await waiting.get()
    finally:
        loop.remove_reader(number)
