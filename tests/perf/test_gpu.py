"""What only a machine with a GPU of NVIDIA can tell: its parity, its latency, its streams."""

import re
import subprocess
import sys

import pytest

from stream.device import Device
from stream.errors import DeviceUnavailable
from stream.models.session import available_devices
from stream.models.store import Store

pytestmark = [
    pytest.mark.perf,
    pytest.mark.skipif(
        "cuda" not in available_devices(),
        reason="needs onnxruntime-gpu: pip install 'timbral[gpu]'",
    ),
]

STREAMS = 64  # that a GPU bears at least


@pytest.fixture(scope="module", autouse=True)
def driver() -> None:
    try:
        Store().load("starter", Device("cuda"))
    except DeviceUnavailable as error:
        pytest.skip(f"onnxruntime-gpu is here, but no GPU that it can use: {error}")


def bench(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "timbral", "bench", "--device", "cuda", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_cuda_says_what_the_processor_says_and_in_time() -> None:
    done = bench("--parity", "--profile", "low", "--seconds", "5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "too far" not in done.stdout
    assert re.search(r"- synth: CUDA.*, states in tables in cuda memory", done.stdout)


def test_cuda_bears_many_streams() -> None:
    done = bench("--streams", str(STREAMS), "--no-easing")
    rows = re.findall(r"^\| (\d+) \|", done.stdout, re.MULTILINE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(rows[-1]) == STREAMS
