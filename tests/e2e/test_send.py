"""What a newcomer does: `timbral serve` in one terminal, `timbral send` in another."""

import re
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest

from stream.audio import Audio
from stream.files import SoundFile

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SPEECH = ROOT / "tests" / "speech" / "sense-and-sensibility-0880.wav"
TIMBRAL = [sys.executable, "-m", "timbral"]
PATIENCE = 60.0  # s


@pytest.fixture(scope="module")
def server() -> Generator[str, None, None]:
    """The address of a server in a process of its own."""
    serve = [*TIMBRAL, "serve", "--port", "0"]
    with subprocess.Popen(serve, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, f"the server said {line!r}"
        try:
            yield found[0]
        finally:
            process.terminate()
            assert process.wait(PATIENCE) == 0


def send(server: str, out: Path, *options: str) -> str:
    words = [*TIMBRAL, "send", str(SPEECH), str(out), "--server", server, *options]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


def likeness(x: Audio, y: Audio) -> float:
    """The highest correlation of `x` and `y` at any shift up to a tenth of a second: 1 if equal."""
    spectrum = np.fft.rfft(x, 2 * len(x)) * np.conj(np.fft.rfft(y, 2 * len(y)))
    correlation = np.fft.irfft(spectrum) / np.sqrt(np.sum(x**2) * np.sum(y**2))
    near = np.concatenate([correlation[:1600], correlation[-1600:]])
    return float(np.max(np.abs(near)))


def test_likeness_tells_a_copy_from_something_else() -> None:
    x = SoundFile(SPEECH).read()
    assert likeness(x, x) == pytest.approx(1.0, abs=1e-3)
    assert likeness(x, np.roll(x, 700)) > 0.9
    assert likeness(x, np.random.default_rng(0).standard_normal(len(x)).astype(np.float32)) < 0.2


def test_speech_comes_back_as_long_in_another_voice(server: str, tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    printed = send(server, out, "--faster-than-realtime", "--profile", "low")
    raw, spoken = SoundFile(SPEECH).read(), SoundFile(out).read()
    assert len(spoken) == len(raw)
    level, raw_level = (np.sqrt(np.mean(x**2)) for x in (spoken, raw))
    assert 0.1 * raw_level < level < 10 * raw_level
    assert likeness(spoken, raw) < 0.6
    assert "lost 0.00 s" in printed
    assert "silenced 0.00 s" in printed


def test_the_loud_parts_of_speech_stay_where_they_were(server: str, tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    send(server, out, "--faster-than-realtime", "--profile", "low")
    envelopes = [
        np.sqrt(np.mean(x[: len(x) // 800 * 800].reshape(-1, 800) ** 2, axis=1))
        for x in (SoundFile(SPEECH).read(), SoundFile(out).read())
    ]
    assert np.corrcoef(*envelopes)[0, 1] > 0.6


def test_live_it_takes_as_long_as_the_speech_and_the_budget_is_printed(
    server: str, tmp_path: Path
) -> None:
    begun = time.monotonic()
    printed = send(server, tmp_path / "out.flac", "--profile", "quality")
    assert time.monotonic() - begun >= SoundFile(SPEECH).length / SoundFile(SPEECH).rate
    for word in ["algorithmic", "compute p50", "queue", "network", "end to end p50", "misses"]:
        assert word in printed


def test_the_server_answers_on_http_beside_it(server: str) -> None:
    with urlopen(f"{server}/readyz", timeout=PATIENCE) as answer:
        assert answer.status == 200
