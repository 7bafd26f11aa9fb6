import os
import sys
import tracemalloc
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from clients import portaudio
from clients.devices import Device
from clients.portaudio import common_rate, list_devices, open_input, open_output
from clients.rings import Ear, Mouth
from stream.audio import Audio
from stream.errors import DeviceError

RATE, BLOCK = 48_000, 240
MIC = Device(0, "mic", "WASAPI", 2, 0, 48e3, portaudio=0)
CABLE = Device(1, "cable", "WASAPI", 0, 2, 48e3, portaudio=1)
SERVED = Device(2, "served", "PulseAudio", 1, 1, 48e3, pulse="the_source")


class FakeError(Exception):
    pass


class FakeStream:
    """A stream whose callback the test calls."""

    last: "FakeStream"
    latency, active = 0.01, True

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.seen = {name: os.environ.get(name) for name in ("PULSE_SOURCE", "PULSE_SINK")}
        self.closed = False
        type(self).last = self
        FakeStream.last = self

    def start(self) -> None:
        if self.settings["device"] == 99:
            raise FakeError("Device unavailable [PaErrorCode -9985]")

    def abort(self, *, ignore_errors: bool) -> None:
        pass

    def close(self, *, ignore_errors: bool) -> None:
        self.closed = True


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A sounddevice whose devices take stereo at 44.1 and 48 kHz only."""
    sd: Any = ModuleType("sounddevice")
    sd.PortAudioError = FakeError
    sd.RawInputStream = sd.RawOutputStream = FakeStream
    sd.rates, sd.least = {44_100, 48_000}, 2

    def check(device: int, channels: int, dtype: str, extra: Any, rate: int) -> None:
        if rate not in sd.rates:
            raise FakeError("Invalid sample rate [PaErrorCode -9997]")
        if channels < sd.least:
            raise FakeError("Invalid number of channels [PaErrorCode -9998]")

    sd.check_input_settings = sd.check_output_settings = check
    sd.WasapiSettings = lambda *, auto_convert: ("wasapi", auto_convert)
    sd.query_devices = lambda: [{"name": "hw"}, {"name": "x"}, {"name": "pulse"}]
    monkeypatch.setitem(sys.modules, "sounddevice", sd)
    return sd


def test_the_first_rate_that_all_take_is_used(fake: Any) -> None:
    both: list[Any] = [(MIC, "input"), (CABLE, "output")]
    assert common_rate(both) == 48_000
    fake.rates = {44_100, 32_000}
    assert common_rate(both) == 44_100
    fake.rates = {96_000}
    with pytest.raises(DeviceError, match=r"no sample rate in common.*9997"):
        common_rate(both)


@pytest.mark.usefixtures("fake")
def test_a_stereo_microphone_is_heard_from_its_first_channel() -> None:
    got: list[Audio] = []
    with open_input(MIC, RATE, BLOCK, lambda samples: got.append(samples.copy())) as stream:
        stereo = np.arange(2 * BLOCK, dtype=np.float32)
        FakeStream.last.settings["callback"](bytearray(stereo.tobytes()), BLOCK, None, None)
        assert stream.calls == 1
        assert stream.latency_ms == 10.0
        assert FakeStream.last.settings["extra_settings"] == ("wasapi", True)
    assert got[0].tolist() == stereo[::2].tolist()
    assert FakeStream.last.closed


@pytest.mark.usefixtures("fake")
def test_a_stereo_loudspeaker_says_the_same_on_both_channels() -> None:
    def fill(out: Audio) -> None:
        out[:] = np.arange(len(out))

    with open_output(CABLE, RATE, BLOCK, fill) as stream:
        data = bytearray(8 * BLOCK)
        FakeStream.last.settings["callback"](data, BLOCK, None, "output underflow")
        assert stream.faults == 1
    said = np.frombuffer(data, np.float32).reshape(-1, 2)
    assert said[:, 0].tolist() == said[:, 1].tolist() == list(range(BLOCK))


def test_a_served_device_is_named_only_while_it_opens(
    fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.least = 1
    monkeypatch.setenv("PULSE_SINK", "mine")
    with open_input(SERVED, RATE, BLOCK, lambda _samples: None):
        assert FakeStream.last.seen["PULSE_SOURCE"] == "the_source"
        assert FakeStream.last.settings["device"] == 2
        assert "PULSE_SOURCE" not in os.environ
    with open_output(SERVED, RATE, BLOCK, lambda _samples: None):
        assert FakeStream.last.seen["PULSE_SINK"] == "the_source"
        assert os.environ["PULSE_SINK"] == "mine"


def test_a_missing_plugin_is_named(fake: Any) -> None:
    fake.query_devices = list
    with (
        pytest.raises(DeviceError, match="libasound2-plugins"),
        open_input(SERVED, RATE, BLOCK, lambda _samples: None),
    ):
        pass


@pytest.mark.usefixtures("fake")
def test_a_device_that_does_not_open_says_why_and_what_to_do() -> None:
    taken = Device(9, "taken", "MME", 1, 0, 48e3, portaudio=99)
    with (
        pytest.raises(DeviceError, match=r"taken.*-9985.*timbral devices"),
        open_input(taken, RATE, BLOCK, lambda _samples: None),
    ):
        pass


@pytest.mark.parametrize(
    ("error", "match"),
    [(ImportError("no"), r"timbral\[mic\]"), (OSError("PortAudio library not found"), "PortAudio")],
)
def test_what_is_not_installed_is_said_with_the_command(
    monkeypatch: pytest.MonkeyPatch, error: Exception, match: str
) -> None:
    class Finder:
        def find_spec(self, name: str, *_: Any) -> None:
            if name == "sounddevice":
                raise error

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(DeviceError, match=match):
        list_devices()


@pytest.mark.usefixtures("fake")
def test_callbacks_keep_nothing() -> None:
    ear, mouth = Ear(RATE), Mouth(RATE)
    buffer = mouth.begin()
    data, out = bytearray(8 * BLOCK), bytearray(8 * BLOCK)
    with open_input(MIC, RATE, BLOCK, ear.put):
        hear = FakeStream.last.settings["callback"]
        with open_output(CABLE, RATE, BLOCK, mouth.read):
            say = FakeStream.last.settings["callback"]
            sound = np.zeros(BLOCK, np.float32)

            def blocks(first: int, last: int) -> None:
                for block in range(first, last):
                    buffer.write(block * BLOCK, sound)
                    hear(data, BLOCK, None, None)
                    say(out, BLOCK, None, None)

            blocks(0, 300)
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            blocks(300, 600)
            grown = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
    assert grown < 16_384


def test_only_this_module_knows_the_library() -> None:
    assert portaudio.__doc__
    assert "only user of sounddevice" in portaudio.__doc__
