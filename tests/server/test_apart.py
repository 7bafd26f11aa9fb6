"""Work in a process of its own comes back, or is told why not."""

import errno
import os
import threading
import time

import pytest

from server.apart import apart
from stream.errors import ConfigError, TimbralError, VoiceNotFound

GO_ON = threading.Event()


def answer(number: int) -> tuple[int, int]:
    return 2 * number, os.getpid()


def refuse(kind: str) -> None:
    raise ConfigError("a wrong setting") if kind == "setting" else VoiceNotFound("eve", [])


def fill() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def die() -> None:
    os._exit(3)


def sleep() -> None:
    time.sleep(60.0)


@pytest.mark.slow
def test_work_is_done_elsewhere_and_its_errors_come_back() -> None:
    doubled, process = apart(answer, 21, most_s=60.0, give_up=GO_ON)
    assert (doubled, process != os.getpid()) == (42, True)
    with pytest.raises(ConfigError, match="a wrong setting"):
        apart(refuse, "setting", most_s=60.0, give_up=GO_ON)
    with pytest.raises(TimbralError, match="No voice 'eve'"):
        apart(refuse, "voice", most_s=60.0, give_up=GO_ON)
    with pytest.raises(TimbralError, match="No space left"):
        apart(fill, most_s=60.0, give_up=GO_ON)
    with pytest.raises(TimbralError, match="died"):
        apart(die, most_s=60.0, give_up=GO_ON)


def test_work_that_takes_too_long_or_is_given_up_is_ended() -> None:
    began = time.monotonic()
    with pytest.raises(TimbralError, match="more than 0 s"):
        apart(sleep, most_s=0.2, give_up=GO_ON)
    given_up = threading.Event()
    given_up.set()
    with pytest.raises(TimbralError, match="stopping"):
        apart(sleep, most_s=60.0, give_up=given_up)
    assert time.monotonic() - began < 30.0
