"""`timbral bench --streams`: a real server and real clients, as a Markdown table."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.config import ServerConfig
from stream.errors import ConfigError

COLUMNS = (
    *("streams", "step p50 / p95 / p99 ms", "hop ms", "delay p50 / p99 ms", "late", "concealed"),
    *("eased", "cores: server, clients", "MB"),
)
HEAD = f"| {' | '.join(COLUMNS)} |\n|{'--:|' * len(COLUMNS)}"


@dataclass(frozen=True)
class Load:
    """What is asked of the server.

    streams   the most
    speech    what everybody says: a sound file
    settings  of the server, by their names in docs/configuration.md, as text
    """

    streams: int
    seconds: float
    voice: str
    profile: str
    speech: Path
    settings: dict[str, str]


def places(streams: int) -> dict[str, str]:
    """Settings of a server that takes so many streams from one machine, where the defaults don't.

    >>> places(100)
    {'max_streams': '100', 'limits_connections_an_address': '400', 'limits_connections': '1024'}
    """
    usual = ServerConfig()
    if streams <= usual.max_streams:
        return {}
    address = max(usual.limits.connections_an_address, 4 * streams)
    every = max(usual.limits.connections, 8 * streams)
    return {
        "max_streams": str(streams),
        "limits_connections_an_address": str(address),
        "limits_connections": str(every),
    }


def load(asked: Load) -> Iterator[tuple[str, bool]]:
    """Lines of the table as they are measured, each with whether all was in time.

    It ends with the first number of streams that is too many. Raises `ConfigError` when the server
    does not start.
    """
    with serving(asked) as (url, process), _crowd(url, asked) as lines:
        yield HEAD, True
        cpu, then = _figure(url, "process_cpu_seconds_total"), time.monotonic()
        base = _figure(url, "process_resident_memory_bytes")
        for line in lines:
            row: dict[str, Any] = json.loads(line)
            used, now = _figure(url, "process_cpu_seconds_total"), time.monotonic()
            memory = _figure(url, "process_resident_memory_bytes")
            yield _told(row, (used - cpu) / (now - then), base, memory), row["in_time"]
            cpu, then = used, now
            if not row["in_time"]:
                return
        if process.poll() is not None:
            raise ConfigError("The server ended while it was measured.")


@contextmanager
def serving(asked: Load) -> Generator[tuple[str, "subprocess.Popen[str]"], None, None]:
    """The address of `timbral serve` in a process of its own, and the process."""
    environment = {
        **os.environ,
        **{f"TIMBRAL_{name.upper()}": value for name, value in asked.settings.items()},
    }
    words = [sys.executable, "-m", "timbral", "serve", "--port", "0", "--voice", asked.voice]
    with subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        try:
            found = re.search(r"https?://\S+", process.stdout.readline())
            if found is None:
                raise ConfigError(f"The server did not start: {process.stderr.read().strip()}")
            yield found[0], process
        finally:
            process.terminate()


@contextmanager
def _crowd(url: str, asked: Load) -> Generator[Iterator[str], None, None]:
    words = [sys.executable, "-m", "clients.crowd", url, str(asked.speech)]
    words += ["--streams", str(asked.streams), "--seconds", str(asked.seconds)]
    words += ["--voice", asked.voice, "--profile", asked.profile]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield iter(process.stdout.readline, "")
        finally:
            process.terminate()


def _told(row: dict[str, Any], cores: float, base: float, memory: float) -> str:
    if row["refused"]:
        return f"\n{row['streams']} streams: {row['refused']}"
    step, delay = row["step_ms"], row["delay_ms"]
    return (
        f"| {row['streams']} | {step[0]:.1f} / {step[1]:.1f} / {step[2]:.1f} "
        f"| {row['hop_ms']:.0f} | {delay[0]:.0f} / {delay[2]:.0f} | {row['late']:.2%} "
        f"| {row['concealed']:.2%} | {row['eased'] or '-'} "
        f"| {cores:.2f}, {row['client_cpu']:.2f} "
        f"| {memory / 1e6:.0f} (+{(memory - base) / 1e6 / row['streams']:.1f} a stream) |"
    )


def _figure(url: str, name: str) -> float:
    """A figure of the server's `/metrics`."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0
