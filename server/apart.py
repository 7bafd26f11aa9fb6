"""Run something long in a process of its own, so that live streams do not notice."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from stream.errors import ConfigError, TimbralError

LOOK_S = 0.1  # between two looks at whether to give up
LESS_URGENT = 10  # steps of the system's priority


def apart(work: Callable[..., Any], *args: Any, most_s: float, give_up: threading.Event) -> Any:
    """What `work(*args)` returns, computed in a fresh process of low priority.

    work     a function of a module, with arguments and a result that can be pickled
    most_s   after so many seconds the process is ended
    give_up  ends it at once

    Python's own lock is what this is for: whoever holds it for a second, as the writing of a
    large graph does, silences every stream of the process. Raises `ConfigError` for one that
    `work` raised, `TimbralError` for any other of ours, for what the system refused, for a process
    that died, took too long or was given up. Blocks; call it from a thread.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(there, work, args), daemon=True)
    process.start()
    there.close()
    until = time.monotonic() + most_s
    try:
        while not here.poll(LOOK_S):
            if give_up.is_set():
                raise TimbralError("The server is stopping; try again later.")
            if time.monotonic() > until:
                raise TimbralError(f"This took more than {most_s:.0f} s and was given up.")
        kind, value = here.recv()
    except EOFError:
        raise TimbralError(
            "The process that did this died. Is there enough memory? The server's log tells more."
        ) from None
    finally:
        here.close()
        process.kill()
        process.join()
    if kind == "done":
        return value
    raise ConfigError(value) if kind == "config" else TimbralError(value)


def _work(answer: Connection, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if hasattr(os, "nice"):
        with suppress(OSError):
            os.nice(LESS_URGENT)
    try:
        said = "done", work(*args)
    except ConfigError as error:
        said = "config", str(error)
    except TimbralError as error:
        said = "refused", str(error)
    except OSError as error:  # a full disk, say
        said = "refused", f"The server's machine cannot do this: {error.strerror or error}."
    answer.send(said)
