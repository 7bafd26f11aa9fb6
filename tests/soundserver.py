"""A private PulseAudio for tests: a microphone that is fed, and one bus that hears everything.

The stereo sink `bus` has one clock: left is what the fake microphone hears, right whatever a
virtual microphone is told (a loopback copies it there). So a recording of the bus has both, and
their distance is exact.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stream.audio import Audio

RATE = 48_000
NEEDED = ("pulseaudio", "pactl", "parec", "pacat")
HERE = all(shutil.which(program) for program in NEEDED)
PATIENCE = 20.0  # s
CONFIG = """default-sample-rate = 48000
alternate-sample-rate = 48000
default-sample-format = float32le
flat-volumes = no
realtime-scheduling = no
"""
_MONO = "channels=1 channel_map=mono remix=no"
MODULES = (
    "module-null-sink sink_name=bus norewinds=1 rate=48000 channels=2 format=float32le",
    f"module-remap-sink sink_name=fake_mic_feed master=bus master_channel_map=front-left {_MONO}",
    f"module-remap-source source_name=fake_mic master=bus.monitor "
    f"master_channel_map=front-left {_MONO} source_properties=device.description=FakeMic",
    f"module-remap-sink sink_name=virtual master=bus master_channel_map=front-right {_MONO}",
    f"module-remap-source source_name=virtual_mic master=bus.monitor "
    f"master_channel_map=front-right {_MONO}",
    "module-null-sink sink_name=headphones norewinds=1 rate=48000 channels=2",
)


@dataclass
class SoundServer:
    """A running sound server and how to reach it."""

    folder: Path
    environment: dict[str, str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        """Start it, with the modules above."""
        server = self.environment["PULSE_SERVER"].removeprefix("unix:")
        words = ["pulseaudio", "-n", "-F", os.devnull, "--daemonize=no", "--exit-idle-time=-1"]
        words += ["--use-pid-file=no", "--log-target=stderr", "--log-level=error"]
        words += ["-L", f"module-native-protocol-unix auth-anonymous=1 socket={server}"]
        for module in MODULES:
            words += ["-L", module]
        log = (self.folder / "log").open("ab")
        environment = {**os.environ, **self.environment}
        with log:
            self.processes.append(subprocess.Popen(words, env=environment, stderr=log))
        deadline = time.monotonic() + PATIENCE
        while self.control("info").returncode:
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.02)
        self.control("set-default-source", "fake_mic")
        self.control("set-default-sink", "headphones")

    def kill(self) -> None:
        """End it at once, as a crash does."""
        process = self.processes.pop()
        process.kill()
        process.wait(PATIENCE)

    def control(self, *words: str) -> subprocess.CompletedProcess[str]:
        """What `pactl` does and says."""
        environment = {**os.environ, **self.environment}
        return subprocess.run(
            ["pactl", *words], env=environment, capture_output=True, text=True, timeout=PATIENCE
        )

    @contextmanager
    def feeding(self, sound: Audio, sink: str = "fake_mic_feed") -> Generator[None, None, None]:
        """While this lasts the microphone hears `sound` [n] at 48 kHz, over and over."""
        path = self.folder / f"{sink}.raw"
        path.write_bytes(np.tile(sound, max(1, int(60 * RATE / len(sound)))).tobytes())
        words = ["pacat", "--playback", f"--device={sink}", *_FORMAT, "--channels=1"]
        with path.open("rb") as file, self._running(words, stdin=file):
            yield

    @contextmanager
    def recording(
        self, source: str = "bus.monitor", channels: int = 2
    ) -> Generator["Recording", None, None]:
        """Record `source`, by default both ends of the bus."""
        path = self.folder / f"{source}.{time.monotonic_ns()}.f32"
        words = ["parec", f"--device={source}", *_FORMAT, f"--channels={channels}"]
        with path.open("wb") as file, self._running(words, stdout=file):
            yield Recording(path, channels)

    @contextmanager
    def _running(self, words: list[str], **streams: object) -> Generator[None, None, None]:
        environment = {**os.environ, **self.environment}
        process = subprocess.Popen(
            words,
            env=environment,
            stderr=subprocess.DEVNULL,
            **streams,  # pyright: ignore[reportArgumentType, reportCallIssue]
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(PATIENCE)


_FORMAT = ("--raw", "--rate=48000", "--format=float32le", "--latency-msec=200")


@dataclass(frozen=True)
class Recording:
    """What was recorded so far."""

    path: Path
    channels: int

    def read(self) -> Audio:
        """[samples, channels]"""
        held = np.fromfile(self.path, "<f4")
        return held[: len(held) // self.channels * self.channels].reshape(-1, self.channels)


@contextmanager
def sound_server() -> Generator[SoundServer, None, None]:
    """A sound server of one's own, and everything it needs, in a folder that vanishes."""
    folder = Path(tempfile.mkdtemp(prefix="pa"))  # short: a socket's path has 107 characters
    (folder / "pulse").mkdir(mode=0o700)
    (folder / "daemon.conf").write_text(CONFIG)
    environment = {
        "XDG_RUNTIME_DIR": str(folder),
        "PULSE_RUNTIME_PATH": str(folder / "pulse"),
        "PULSE_STATE_PATH": str(folder / "state"),
        "PULSE_CONFIG": str(folder / "daemon.conf"),
        "PULSE_COOKIE": str(folder / "cookie"),
        "PULSE_SERVER": f"unix:{folder / 'socket'}",
    }
    server = SoundServer(folder, environment)
    try:
        server.start()
        yield server
    finally:
        while server.processes:
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Heard:
    """How the right channel of a recording follows the left, window by window."""

    delays: tuple[float, ...]  # ms, of the clean windows
    gains: tuple[float, ...]
    windows: int  # in which the left was not silent
    silent: float  # s of exact silence on the right, between its first and last sound

    @property
    def delay(self) -> float:
        """Median, ms."""
        return float(np.median(self.delays)) if self.delays else float("inf")


def compare(
    said: Audio, heard: Audio, rate: int = RATE, longest: float = 0.4, least: float = 0.8
) -> Heard:
    """Where in `heard` [n] the windows of `said` [n] are found, by cross-correlation.

    A window of 0.05 s is clean when the correlation is at least `least` in size. Playback at a
    speed of 1.005 is clean still, for sound below 2 kHz.
    """
    width, reach = rate // 20, int(longest * rate)
    delays, gains, windows = list[float](), list[float](), 0
    for start in range(0, len(said) - width - reach + 1, width):
        x, y = said[start : start + width], heard[start : start + width + reach]
        power = float(np.dot(x, x))
        if power / width < 1e-6:
            continue
        windows += 1
        size = 1 << (len(y) + width - 1).bit_length()
        product = np.fft.irfft(np.fft.rfft(y, size) * np.conj(np.fft.rfft(x, size)), size)
        at = int(np.argmax(np.abs(product[: len(y) - width + 1])))
        found = heard[start + at : start + at + width]
        likeness = product[at] / np.sqrt(power * float(np.dot(found, found)) + 1e-20)
        if abs(likeness) >= least:
            delays.append(1000.0 * at / rate)
            gains.append(float(product[at]) / power)
    sounding = np.flatnonzero(heard)
    inside = heard[sounding[0] : sounding[-1]] if len(sounding) else heard[:0]
    silent = float(np.count_nonzero(inside == 0.0)) / rate
    return Heard(tuple(delays), tuple(gains), windows, silent)


def noise(seconds: float = 2.0, seed: int = 0, lowest: float = 200.0) -> Audio:
    """Noise from `lowest` to 1500 Hz at -20 dBFS, [n] at 48 kHz."""
    n = int(seconds * RATE)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(n))
    hertz = np.fft.rfftfreq(n, 1.0 / RATE)
    spectrum[(hertz < lowest) | (hertz > 1500.0)] = 0.0
    sound = np.fft.irfft(spectrum, n)
    return (0.1 * sound / np.std(sound)).astype(np.float32)
