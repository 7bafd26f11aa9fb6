"""`timbral bench --streams`: the real command, server and clients."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SPEECH = min((ROOT / "tests" / "speech").glob("*.wav"))


def bench(*words: str) -> "subprocess.CompletedProcess[str]":
    """What the command says."""
    asked = [sys.executable, "-m", "timbral", "bench", "--speech", str(SPEECH), *words]
    environment = {**os.environ, "TIMBRAL_MAX_STREAMS": "1"}
    return subprocess.run(
        asked, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )


def test_streams_are_added_until_the_server_takes_no_more() -> None:
    """A busy machine may already fail at the first: then its row is the last, and is there."""
    done = bench("--streams", "3", "--seconds", "2", "--profile", "relaxed", "--no-easing")
    rows = [line for line in done.stdout.splitlines() if re.match(r"\| \d+ \|", line)]
    assert rows, done.stderr
    cells = [cell.strip() for cell in rows[0].strip("|").split("|")]
    assert cells[0] == "1"
    assert float(cells[1].split("/")[0]) > 0.0
    assert float(cells[2]) == 200.0  # ms, the hop of `relaxed`
    in_time = float(cells[4].rstrip("%")) < 1.0 and float(cells[5].rstrip("%")) == 0.0
    if in_time:
        assert "All 1 streams of this server are in use" in done.stdout
    assert done.returncode == 1
