"""Builds the OBS filter and runs it inside libobs, for tests: see obs_plugin/tests/harness.c."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.audio import Audio

ROOT = Path(__file__).parent.parent
PLUGIN = ROOT / "obs_plugin"
PATIENCE = 60.0  # seconds; machines are slow under sanitizers and with neighbours
TAIL_S = 0.3  # of sound that is compared
SANITIZERS = {"plain": "", "asan": "address,undefined", "tsan": "thread"}
TOOLS = {
    "cmake": "cmake",
    "cc": "gcc",
    "Xvfb": "xvfb",
    "obs": "obs-studio",
    "readelf": "binutils",
    "pkg-config": "pkg-config",
    "x86_64-w64-mingw32-gcc": "gcc-mingw-w64-x86-64-posix",
}


def require(*tools: str) -> None:
    """Skip the test, and say what to install, unless all `tools` are here."""
    missing = [TOOLS[tool] for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"missing: run `make system`, or: sudo apt-get install {' '.join(missing)}")


def require_libobs() -> None:
    """Skip the test unless libobs and its headers are here."""
    require("cmake", "cc", "pkg-config", "Xvfb")
    if subprocess.run(["pkg-config", "--exists", "libobs"]).returncode:
        pytest.skip("missing: run `make system`, or: sudo apt-get install libobs-dev")


def build(kind: str, *options: str) -> Path:
    """The folder of a build that is up to date, with the plugin if libobs is here."""
    has_obs = subprocess.run(["pkg-config", "--exists", "libobs"]).returncode == 0
    folder = PLUGIN / "build" / kind
    with_obs = f"-DWITH_OBS={'ON' if has_obs else 'OFF'}"
    sanitize = f"-DSANITIZE={SANITIZERS.get(kind, '')}"
    configure = ["cmake", "-S", str(PLUGIN), "-B", str(folder), with_obs, sanitize, *options]
    compile_all = ["cmake", "--build", str(folder), "--parallel", "2"]
    if kind == "tsan":  # only what has threads
        compile_all += ["--target", "test_ring", "test_link", *(["harness", "timbral"] * has_obs)]
    for command in (configure, compile_all):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def tell(line: str) -> None:
    """Show a figure that was measured: pytest -s."""
    sys.stdout.write(f"\n{line}")


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def display(size: str = "640x480") -> Generator[tuple[str, Path], None, None]:
    """A display of our own: its name, and the file that mirrors what it shows."""
    require("Xvfb")
    reading, writing = os.pipe()
    folder = Path(f"/tmp/timbral-display-{os.getpid()}-{reading}")
    folder.mkdir()
    screen = ["-screen", "0", f"{size}x24", "-nolisten", "tcp", "-fbdir", str(folder)]
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), *screen],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    try:
        os.close(writing)
        yield f":{os.read(reading, 20).decode().strip()}", folder / "Xvfb_screen0"
    finally:
        os.close(reading)
        server.terminate()
        server.wait()
        shutil.rmtree(folder)


class Server:
    """`halver.py`, or the real server, on a port that stays the same."""

    def __init__(self, *command: str) -> None:
        self.port = free_port()
        self.url = f"ws://127.0.0.1:{self.port}"
        self._command = command or (str(ROOT / "tests" / "halver.py"),)
        self._process: subprocess.Popen[str] | None = None

    def start(self, *more: str) -> None:
        """Start, and wait until it is ready."""
        paths = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
        command = [word.replace("{port}", str(self.port)) for word in self._command]
        if self._command[0].endswith("halver.py"):
            command += [str(self.port), *more]
        self._process = subprocess.Popen(
            [sys.executable, *command], env={**os.environ, **paths}, stdout=-1, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "the server did not start"

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it without a word."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


class Harness:
    """The plugin inside libobs, fed with noise. A source is named by its number."""

    def __init__(
        self,
        folder: Path,
        screen: str,
        sources: list[dict[str, Any]],
        *,
        kind: str = "plain",
        rate: int = 48_000,
        speakers: int = 2,
        frames: int = 1024,
        sound: Audio | None = None,
        low_latency: bool = False,
    ) -> None:
        self.rate = rate
        self.channels = {1: 1, 2: 2, 6: 6}[speakers]
        self.folder = folder
        noise = 0.1 * np.random.default_rng(0).standard_normal(60 * rate)
        self.sound = noise.astype("<f4") if sound is None else sound.astype("<f4")
        self.sound.tofile(folder / "sound.f32")
        built = PLUGIN / "build" / kind
        words = [built / "tests/harness", built / "timbral.so", PLUGIN / "data", rate, speakers]
        words += [folder / "sound.f32", folder, frames]
        environment = {**os.environ, "DISPLAY": screen}
        environment["ASAN_OPTIONS"] = "detect_leaks=0"  # libobs counts its own; X keeps some
        if low_latency:
            environment["LOW_LATENCY"] = "1"
        self._log = (folder / "log").open("w")
        self._process = subprocess.Popen(
            [*map(str, words), *map(json.dumps, sources)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def begin(self) -> None:
        """Wait until sound flows."""
        self._line("ready")

    def ask(self, word: str, source: int, rest: str = "") -> dict[str, Any]:
        """Give a command, return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word} {source} {rest}\n")
        self._process.stdin.flush()
        return json.loads(self._line("{"))

    def set(self, source: int, **settings: Any) -> dict[str, Any]:
        """Change settings."""
        return self.ask("set", source, json.dumps(settings))

    def stats(self, source: int) -> dict[str, Any]:
        """What the filter says of itself."""
        return self.ask("stats", source)

    def wait(self, source: int, **wanted: Any) -> dict[str, Any]:
        """Wait until the stats are as wanted."""
        end = time.monotonic() + PATIENCE
        while True:
            stats = self.stats(source)
            if all(stats[key] == value for key, value in wanted.items()):
                return stats
            assert time.monotonic() < end, f"not {wanted} but {stats}"
            time.sleep(0.05)

    def wait_for(self, source: int, name: str, words: str, but: str = "\n") -> None:
        """Wait until a text of the stats has these words, `but` not those."""
        end = time.monotonic() + PATIENCE
        while words not in (text := self.stats(source)[name]) or but in text:
            assert time.monotonic() < end, f"not {words!r} but {text!r}"
            time.sleep(0.05)

    def tail(self, source: int, seconds: float = TAIL_S) -> tuple[int, Audio]:
        """What came out last: the number of its first sample, and [n, channels]."""
        path = self.folder / f"{source}.f32"
        width = 4 * self.channels
        end = path.stat().st_size // width
        count = min(end, round(seconds * self.rate))
        with path.open("rb") as file:
            file.seek((end - count) * width)
            out = np.frombuffer(file.read(count * width), "<f4")
        return end - count, out.reshape(-1, self.channels)

    def error_db(self, source: int, gain: float, delay_ms: float) -> float:
        """How far what came out last is from `gain` times the sound, `delay_ms` later."""
        start, out = self.tail(source)
        if len(out) < TAIL_S * self.rate * 0.9:
            return 0.0  # not yet
        at = np.arange(start, start + len(out)) - round(delay_ms * self.rate / 1000)
        wanted = gain * self.sound[at % len(self.sound)]
        error = np.sqrt(np.mean((out[:, 0] - wanted) ** 2) / np.mean(self.sound**2))
        return 20 * float(np.log10(max(error, 1e-12)))

    def settle(self, source: int, gain: float, delay_ms: float) -> float:
        """Wait until what comes out is exactly that; returns the error in dB."""
        end = time.monotonic() + PATIENCE
        while (error := self.error_db(source, gain, delay_ms)) > -80:
            assert time.monotonic() < end, f"{error:.0f} dB; {self.stats(source)}"
            time.sleep(0.05)
        return error

    def pass_time(self, ms: float) -> None:
        """Wait until so much sound went through."""
        until = self.stats(0)["at"] + ms * self.rate / 1000
        while self.stats(0)["at"] < until:
            time.sleep(0.02)

    def shift_ns(self, source: int) -> int:
        """The last packet's timestamp in, less the one out."""
        lines = (self.folder / f"{source}.packets").read_text().splitlines()
        before, after, _ = map(int, lines[-2].split())
        return before - after

    def quit(self) -> dict[str, Any]:
        """Take all down; returns libobs' count of leaks."""
        assert self._process.stdin is not None
        self._process.stdin.write("quit 0\n")
        self._process.stdin.flush()
        end = json.loads(self._line("{"))
        assert self._process.wait(PATIENCE) == 0, (self.folder / "log").read_text()[-4000:]
        self._log.close()
        return end

    def kill(self) -> None:
        """For a test that failed."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None:
                pipe.close()

    def _line(self, start: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(start):
                return line
        self._process.wait()
        raise AssertionError((self.folder / "log").read_text()[-4000:])


@contextmanager
def inside_obs(
    folder: Path, screen: str, *sources: dict[str, Any], **options: Any
) -> Generator[Harness, None, None]:
    """A harness that is gone at the end, whatever happened."""
    harness = Harness(folder, screen, list(sources), **options)
    try:
        harness.begin()
        yield harness
    finally:
        harness.kill()
