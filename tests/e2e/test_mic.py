"""`timbral mic` as a user runs it, on a sound server of the tests' own.

The delays that these tests print are exact: both ends are recorded on one clock. They are judged
loosely, as others use the machine.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from echo import echoing
from soundserver import HERE, RATE, Heard, SoundServer, compare, noise, sound_server

from clients.checkup import check_sound
from clients.pulse import SOURCE
from stream.audio import Audio
from stream.files import SoundFile

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not HERE, reason="needs PulseAudio: make system"),
]

ROOT = Path(__file__).parents[2]
SPEECH = ROOT / "tests" / "speech" / "sense-and-sensibility-0880.wav"
PATIENCE = 60.0  # s
USUAL_MS = 250.0  # a delay that no busy machine excuses


class Running:
    """A `timbral` in a process of its own, and what it says."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.strip())

    def says(self, text: str, after: int = 0) -> int:
        """Wait for a line with `text` past line number `after`; returns the next number."""
        wait_until(lambda: any(text in line for line in self.lines[after:]), str(self.lines))
        return next(n for n, line in enumerate(self.lines) if n >= after and text in line) + 1


def wait_until(condition: Callable[[], bool], what: object = "") -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@contextmanager
def timbral(server: SoundServer, *words: str) -> Generator[Running, None, None]:
    environment = {**os.environ, **server.environment, "COLUMNS": "200"}
    with subprocess.Popen(
        [sys.executable, "-m", "timbral", *words],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield Running(process)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) in {0, 1}


@pytest.fixture(scope="module")
def sounds() -> Generator[SoundServer, None, None]:
    with sound_server() as server:
        yield server


def mic(server: SoundServer, url: str, *more: str) -> AbstractContextManager[Running]:
    words = ("mic", "--server", url, "--input", "fake_mic", "--output", "virtual", *more)
    return timbral(server, *words)


def measured(server: SoundServer, clean: int, seconds: float = 2.0, tries: int = 8) -> Heard:
    """Record the bus until at least `clean` windows were clean."""
    seen = list[Heard]()
    for _ in range(tries):
        with server.recording() as recording:
            wait_until(lambda: len(recording.read()) > seconds * RATE)
            both = recording.read()
        seen.append(compare(both[:, 0], both[:, 1]))
        delays = tuple(delay for heard in seen for delay in heard.delays)
        if len(delays) >= clean:
            gains = tuple(gain for heard in seen for gain in heard.gains)
            return replace(seen[-1], delays=delays, gains=gains)
    raise AssertionError([(len(heard.delays), heard.windows) for heard in seen])


def silent(server: SoundServer) -> bool:
    """Whether the virtual microphone says nothing for a quarter of a second."""
    with server.recording() as recording:
        wait_until(lambda: len(recording.read()) > RATE // 2)
        return not recording.read()[-RATE // 4 :, 1].any()


@pytest.mark.parametrize("block", ["5", "10"])
def test_what_the_microphone_hears_comes_out_changed_and_soon(
    sounds: SoundServer, block: str
) -> None:
    with (
        echoing() as (url, _),
        sounds.feeding(noise()),
        mic(sounds, url, "--block-ms", block) as it,
    ):
        it.says("on air")
        time.sleep(2.0)
        heard = measured(sounds, clean=5)
        sys.stderr.write(f"blocks of {block} ms: {heard.delay:.1f} ms from ear to ear\n")
        assert heard.delay < USUAL_MS
        assert np.median(heard.gains) == pytest.approx(-1.0, abs=0.3), "the raw voice, or a leak"


def test_a_server_that_dies_is_silence_and_comes_back(sounds: SoundServer) -> None:
    with sounds.feeding(noise()), echoing() as (url, server):
        port = url.rsplit(":", 1)[1]
        with mic(sounds, url, "--block-ms", "10") as it:
            seen = it.says("on air")
            measured(sounds, clean=3)
            server.kill()
            server.wait()
            seen = it.says("Trying again", seen)
            wait_until(lambda: silent(sounds))
            with echoing(int(port)):
                it.says("on air", seen)
                heard = measured(sounds, clean=3)
                assert np.median(heard.gains) == pytest.approx(-1.0, abs=0.3)


def test_a_sound_server_that_dies_is_waited_for() -> None:
    with sound_server() as server, echoing() as (url, _), mic(server, url) as it:
        seen = it.says("on air")
        server.kill()
        seen = it.says("Looking again", seen)
        server.start()
        it.says("on air", seen)
        with server.feeding(noise()):
            heard = measured(server, clean=3)
            assert np.median(heard.gains) == pytest.approx(-1.0, abs=0.3)


def loop_of_speech() -> Audio:
    file = SoundFile(SPEECH, RATE)
    return file.read()


def envelope(sound: Audio) -> Audio:
    return np.sqrt(np.mean(sound[: len(sound) // 960 * 960].reshape(-1, 960) ** 2, axis=1))


def alike(said: Audio, spoken: Audio) -> float:
    """How well the loudness of both goes together, where anything is spoken.

    A machine that is too busy drops what is late; that is silence.
    """
    x, y = envelope(said), envelope(spoken)
    there = y > 0.0
    assert np.count_nonzero(there) > 25, "next to nothing was spoken"
    return float(np.corrcoef(x[there], y[there])[0, 1])


@contextmanager
def starter(server: SoundServer, local: bool) -> Generator[tuple[str, ...], None, None]:
    if local:
        yield ("--local", "--profile", "relaxed")
        return
    with timbral(server, "serve", "--port", "0") as serving:
        serving.says("timbral listens")
        found = re.search(r"http://\S+", serving.lines[0])
        assert found
        yield ("--server", found[0], "--profile", "relaxed")


@pytest.mark.parametrize("local", [False, True], ids=["served", "local"])
def test_other_programs_hear_the_starter_voice_from_the_virtual_microphone(
    sounds: SoundServer, tmp_path: Path, local: bool
) -> None:
    path = tmp_path / "talk.wav"
    words = ("mic", "--input", "fake_mic", "--record", str(path))
    with (
        sounds.feeding(loop_of_speech()),
        starter(sounds, local) as where,
        timbral(sounds, *words, *where) as it,
    ):
        it.says("on air")
        with sounds.recording(SOURCE, 1) as recording:
            wait_until(lambda: len(recording.read()) > 5 * RATE)
            heard = recording.read()[:, 0]
    assert SOURCE not in sounds.control("list", "short", "sources").stdout
    assert heard.any()
    both, rate = soundfile.read(path)
    assert rate == RATE
    said, spoken = (side.astype(np.float32) for side in both.T)
    assert alike(said, spoken) > 0.3, "it does not follow the speech"
    raw = compare(said[RATE:], spoken[RATE:], least=0.9)
    assert len(raw.delays) < 0.2 * raw.windows, "the raw voice was heard"
    loud = np.sqrt(np.mean(heard**2))
    assert 0.1 < loud / np.sqrt(np.mean(said**2)) < 10.0


def test_the_latency_is_measured_with_its_parts(sounds: SoundServer) -> None:
    words = ("mic", "--input", "fake_mic", "--measure", "--seconds", "3")
    with echoing() as (url, _), timbral(sounds, *words, "--server", url) as it:
        it.process.wait(PATIENCE)
        wait_until(lambda: any("mouth to ear" in line for line in it.lines), it.lines)
    table = {line.split("|")[1].strip(): line.split("|")[2] for line in it.lines if "|" in line}
    whole = float(table["mouth to ear"])
    parts = [float(ms) for name, ms in table.items() if name not in {"stage", "---"}][:-1]
    assert sum(parts) == pytest.approx(whole, abs=0.5)
    assert 0.0 < whole < USUAL_MS


def test_the_doctor_plays_through_the_virtual_microphone(
    sounds: SoundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in sounds.environment.items():
        monkeypatch.setenv(name, value)
    microphone, virtual = check_sound()
    assert (microphone.verdict, microphone.found) == ("ok", "FakeMic (PulseAudio)")
    assert virtual.verdict == "ok", virtual
    assert "heard after" in virtual.found
    assert SOURCE not in sounds.control("list", "short", "sources").stdout
