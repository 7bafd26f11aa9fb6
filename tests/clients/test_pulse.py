import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import pytest
from soundserver import HERE, PATIENCE, SoundServer, compare, noise, sound_server

from clients.devices import choose
from clients.pulse import SINK, SOURCE, make_virtual_mic, served_devices, virtual_mic
from stream.errors import DeviceError

ROOT = Path(__file__).parents[2]
needs_server = pytest.mark.skipif(not HERE, reason="needs PulseAudio: make system")


@pytest.fixture(scope="module")
def shared() -> Generator[SoundServer, None, None]:
    with sound_server() as server:
        yield server


@pytest.fixture
def server(shared: SoundServer, monkeypatch: pytest.MonkeyPatch) -> SoundServer:
    for name, value in shared.environment.items():
        monkeypatch.setenv(name, value)
    return shared


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def names(server: SoundServer, kind: str) -> set[str]:
    return {
        line.split("\t")[1] for line in server.control("list", "short", kind).stdout.splitlines()
    }


@needs_server
def test_the_servers_devices_are_listed_without_monitors(server: SoundServer) -> None:
    devices = served_devices()
    assert {d.pulse for d in devices if d.inputs} == {"fake_mic", "virtual_mic"}
    assert {d.pulse for d in devices if d.outputs} == {
        "bus",
        "fake_mic_feed",
        "virtual",
        "headphones",
    }
    assert choose(devices, None, "input", "linux").pulse == "fake_mic"
    assert choose(devices, None, "output", "linux").pulse == "headphones"
    assert choose(devices, "fakemic", "input", "linux").pulse == "fake_mic"


@needs_server
def test_a_virtual_microphone_comes_and_goes(server: SoundServer) -> None:
    before = names(server, "modules"), names(server, "sources")
    with virtual_mic() as mic:
        assert (mic.sink, mic.source) == (SINK, SOURCE)
        assert SOURCE in names(server, "sources")
        listed = server.control("list", "sources").stdout
        assert "Description: Timbral Microphone\n" in listed
        assert SOURCE not in {device.pulse for device in served_devices()}
        assert server.control("get-default-source").stdout.strip() == "fake_mic"
    assert (names(server, "modules"), names(server, "sources")) == before


@needs_server
@pytest.mark.slow
def test_what_is_played_to_it_is_heard_from_it(server: SoundServer) -> None:
    sound = noise(0.5)
    with virtual_mic() as mic, server.recording(mic.source, 1) as recording:
        with server.feeding(sound, mic.sink):
            wait_until(lambda: len(recording.read()) > 96_000)
        heard = recording.read()[-72_000:, 0]
    found = compare(np.tile(sound, 3), heard, longest=0.55)
    assert found.delays
    assert found.gains[0] == pytest.approx(1.0, abs=0.01)


@needs_server
def test_one_left_behind_is_used_again(server: SoundServer) -> None:
    left = make_virtual_mic()
    index = server.control("list", "short", "sources").stdout
    with virtual_mic() as mic:
        assert mic == left
        assert server.control("list", "short", "sources").stdout == index
    assert SINK not in names(server, "sinks")


@needs_server
def test_half_of_one_is_made_whole(server: SoundServer) -> None:
    make_virtual_mic()
    modules = server.control("list", "short", "modules").stdout.splitlines()
    source = next(line.split("\t")[0] for line in modules if f"source_name={SOURCE}" in line)
    server.control("unload-module", source)
    with virtual_mic() as mic:
        assert mic.source in names(server, "sources")
        assert list(names(server, "sinks")).count(SINK) == 1
    assert SINK not in names(server, "sinks")


@needs_server
@pytest.mark.slow
def test_one_in_use_is_left_alone_and_another_made(server: SoundServer) -> None:
    with virtual_mic() as first, server.feeding(noise(0.1), first.sink):
        wait_until(lambda: bool(server.control("list", "short", "sink-inputs").stdout))
        with virtual_mic() as second:
            assert second.source == SOURCE + "2"
            assert {first.source, second.source} <= names(server, "sources")
        assert first.source in names(server, "sources")
        assert second.source not in names(server, "sources")


@needs_server
def test_one_may_stay(server: SoundServer) -> None:
    with virtual_mic(keep=True) as mic:
        pass
    assert mic.source in names(server, "sources")
    with virtual_mic():
        pass
    assert mic.source not in names(server, "sources")


@needs_server
@pytest.mark.slow
def test_a_killed_program_leaves_nothing_that_stays_in_the_way(server: SoundServer) -> None:
    code = "import os, clients.pulse as p; p.make_virtual_mic(); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**os.environ}, check=False)
    assert SINK in names(server, "sinks")
    with virtual_mic() as mic:
        assert mic.sink == SINK
    assert SINK not in names(server, "sinks")


def test_no_server_is_said_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULSE_SERVER", "unix:/nowhere/socket")
    assert served_devices() == []
    with pytest.raises(DeviceError, match="PipeWire"):
        make_virtual_mic()


def test_another_system_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    assert served_devices() == []
    with pytest.raises(DeviceError, match="no PulseAudio"):
        make_virtual_mic()


@needs_server
@pytest.mark.slow
def test_a_server_that_dies_takes_its_microphones_along(monkeypatch: pytest.MonkeyPatch) -> None:
    with sound_server() as other:
        for name, value in other.environment.items():
            monkeypatch.setenv(name, value)
        with virtual_mic():
            other.kill()
        other.start()
        with virtual_mic() as mic:
            assert mic.source in names(other, "sources")
