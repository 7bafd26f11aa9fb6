"""A real browser with a microphone that hears a file, and servers for it, for tests of the page."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import threading
import wave
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from calls import FakeConversion, FakeVoices
from playwright.sync_api import Browser, BrowserType, Page, sync_playwright

from server.app import Server
from server.config import ServerConfig
from stream.audio import Audio

ROOT = Path(__file__).parent.parent
SPEECH = ROOT / "tests" / "speech" / "sense-and-sensibility-0880.wav"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
MISSING = "Chromium is missing here: sudo apt-get install chromium"
RATE = 48_000
HOP = 240  # of the conversion that turns the sign: 5 ms
LOW = 250.0  # Hz
LONGEST = 0.8  # s of delay that is looked for
PATIENCE = 30.0  # s
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def tell(text: str) -> None:
    """Print a figure that was measured; pytest shows it with `-s`."""
    sys.stderr.write(f"{text}\n")


def noise_file(path: Path, seconds: float = 10.0) -> Path:
    """Write noise at -20 dBFS as a WAV file: no stretch of it is like another."""
    noise = np.random.default_rng(0).normal(0.0, 0.1, int(seconds * RATE))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((32767 * np.clip(noise, -1, 1)).astype("<i2").tobytes())
    return path


@contextmanager
def driving() -> Generator[BrowserType, None, None]:
    """What browsers are launched with: one at a time in a process."""
    with sync_playwright() as driver:
        yield driver.chromium


@contextmanager
def browser(
    kind: BrowserType, microphone: Path | None, env: dict[str, str] | None = None
) -> Generator[Browser, None, None]:
    """Chromium; its microphone hears the file again and again, or without one is a real device."""
    words = QUIET
    if microphone:
        fed = f"--use-file-for-fake-audio-capture={microphone}"
        words = [*QUIET, "--use-fake-device-for-media-stream", fed]
    chromium = kind.launch(
        executable_path=CHROMIUM,
        args=words,
        ignore_default_args=None if microphone else ["--mute-audio"],
        env={**os.environ, **(env or {})},
    )
    try:
        yield chromium
    finally:
        chromium.close()


@contextmanager
def visiting(
    chromium: Browser, url: str, allowed: bool = True, **options: Any
) -> Generator[Page, None, None]:
    """The page at `url`, in a window of its own; what the browser complains of fails the test."""
    context = chromium.new_context(**options)
    context.set_default_timeout(1000 * PATIENCE)
    # granting anything forbids all the rest
    context.grant_permissions(
        ["microphone"] if allowed else ["geolocation"], origin=url.split("/#")[0]
    )
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(url)
    try:
        yield page
        known = ("WebSocket connection", "Failed to load resource")  # a server that is away
        assert not [text for text in complaints if not any(word in text for word in known)]
    finally:
        context.close()


def begin(page: Page) -> None:
    """Press Start, and wait until it is live."""
    page.click("#start:not([disabled])")
    page.wait_for_selector("body[data-state=live]")


def app(page: Page, what: str) -> Any:
    """What the page's app knows, as an expression of `app`."""
    return page.evaluate(f"import('/web/main.js').then(({{ app }}) => {what})")


def record(page: Page, seconds: float) -> tuple[Audio, Audio]:
    """What the page's own recorder makes of the microphone and of the output, sample by sample."""
    page.select_option("#track", "both")
    done = page.locator("#recordings li").count()
    page.click("#record")
    page.wait_for_timeout(1000 * seconds)
    page.click("#record")
    page.locator("#recordings li").nth(done).wait_for()
    with page.expect_download() as download:
        page.click("#recordings li:first-child [title=Download]")
    with wave.open(str(download.value.path())) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, RATE, 2)
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    sound = pcm.astype(np.float32) / 32768.0
    assert len(sound) > 0.5 * seconds * RATE
    return sound[:, 0], sound[:, 1]


def heard_delays(page: Page, enough: int = 3, tries: int = 5) -> tuple[list[float], list[float]]:
    """`delays` of recordings, until there are enough windows: a busy machine makes few clean."""
    late: list[float] = []
    alike: list[float] = []
    for _ in range(tries):
        for found, new in zip((late, alike), delays(*record(page, 2.2)), strict=True):
            found += new
        if len(late) >= enough:
            return late, alike
    raise AssertionError(f"{len(late)} clean windows in {tries} recordings")


def low(sound: Audio) -> Any:
    """The part of `sound` below `LOW`."""
    spectrum = np.fft.rfft(sound)
    spectrum[int(LOW * len(sound) / RATE) :] = 0.0
    return np.fft.irfft(spectrum, len(sound))


def delays(spoken: Audio, heard: Audio, window: float = 0.1) -> tuple[list[float], list[float]]:
    """For each clean window of `heard`, in seconds: how late it is, and how alike (-1..1).

    Clean is a window without a hole that is nearly a copy, upright or upside down. Only what
    lies below `LOW` is looked at: there a buffer that plays 2 % faster changes little in a window.
    """
    n, most = int(window * RATE), int(LONGEST * RATE)
    silent = np.abs(heard) < 1e-5
    spoken, heard = low(spoken), low(heard)
    late: list[float] = []
    alike: list[float] = []
    for start in range(most, len(heard) - n, n):
        y = heard[start : start + n]
        x = spoken[start - most : start + n]
        size = 1 << (len(x) + n - 1).bit_length()
        product = np.fft.irfft(np.fft.rfft(x, size) * np.conj(np.fft.rfft(y, size)), size)
        product = product[: most + 1]
        power = np.concatenate([[0.0], np.cumsum(x**2, dtype=np.float64)])
        likeness = product / (np.sqrt((power[n:] - power[:-n]) * np.sum(y**2)) + 1e-9)
        best = int(np.argmax(np.abs(likeness)))
        whole = np.mean(silent[start : start + n]) < 0.05 and np.sqrt(np.mean(y**2)) > 0.001
        if whole and abs(likeness[best]) > 0.95:
            late.append((most - best) / RATE)
            alike.append(float(likeness[best]))
    return late, alike


class Background:
    """A server in a thread: its voices turn the sign of every sample."""

    def __init__(self, voices: FakeVoices | None, **settings: Any) -> None:
        self._voices = voices or FakeVoices(lambda: FakeConversion(hop=HOP, lag=0))
        self._settings: dict[str, Any] = {
            "port": 0,
            "voice": "ada",
            "max_streams": 8,
            "easing": False,
        }
        self._settings |= settings
        self._end: Callable[[], object] = lambda: None
        self.url = ""
        self.start()

    def start(self) -> None:
        """Serve; again on the port that it had."""
        up = threading.Event()

        async def serve() -> None:
            loop, end = asyncio.get_running_loop(), asyncio.Event()
            self._end = lambda: loop.call_soon_threadsafe(end.set)
            server = Server(ServerConfig(**self._settings), lambda: self._voices)
            await server.start()
            await server.warm()
            self.url = server.url
            self._settings["port"] = int(server.url.rsplit(":", 1)[1])
            up.set()
            await end.wait()
            await server.stop()

        self._thread = threading.Thread(target=asyncio.run, args=[serve()])
        self._thread.start()
        assert up.wait(PATIENCE)

    def stop(self) -> None:
        """Close all streams and the port."""
        if self._thread.is_alive():
            self._end()
            self._thread.join(PATIENCE)


@contextmanager
def background(
    voices: FakeVoices | None = None, **settings: Any
) -> Generator[Background, None, None]:
    """A server in a thread, until it is left."""
    server = Background(voices, **settings)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def starter(*options: str) -> Generator[str, None, None]:
    """The address of `timbral serve`, in a process of its own, with the starter voice."""
    words = [sys.executable, "-m", "timbral", "serve", "--port", "0", *options]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found
        try:
            yield found[0]
        finally:
            process.terminate()
            assert process.wait(PATIENCE) == 0
