"""Works for jobs that are quick, wait to be told, fail, or die; each in its process."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from offline.jobs.job import Order, Told
from stream.errors import AudioError

MOST_SECONDS = 60.0


def labour(order: Order, told: Told) -> float:
    """Do what the song says in words, and write down that it was begun.

    quick   two steps, and the target is written
    wait    until a file `go` lies beside the song, with progress
    deaf    the same, without any
    bad     an error of ours;  die   without a word;  dies once   the same, the first time only
    """
    words = order.source.read_text("utf-8")
    with (order.home / "begun").open("a") as file:
        file.write(f"{os.getpid()} {words}\n")
    told("read", 1, 1)
    if words == "bad":
        raise AudioError(f"{order.source} holds no sound.")
    if words == "die" or (words == "dies once" and not (order.home / "died").exists()):
        (order.home / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    until = time.monotonic() + MOST_SECONDS
    while words in {"wait", "deaf"} and not (order.home / "go").exists():
        assert time.monotonic() < until
        if words == "wait":
            told("work", 1, 2)
        time.sleep(0.02)
    told("work", 1, 1)
    order.target.write_text(words, "utf-8")
    return 60.0


def begun(home: Path) -> list[tuple[int, str]]:
    """Process and words of all that was begun in `home`."""
    with suppress(FileNotFoundError):
        lines = (home / "begun").read_text("utf-8").splitlines()
        return [(int(line.split(" ", 1)[0]), line.split(" ", 1)[1]) for line in lines]
    return []
