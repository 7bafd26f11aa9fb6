import re
from pathlib import Path
from typing import Any

import pytest

from clients.cables import find_cable, hears_itself, require_cable
from clients.devices import Device, Direction, behind_server, choose, from_portaudio, listing
from stream.errors import DeviceError

FOLDER = Path(__file__).parents[1] / "devices"
LINE = re.compile(r"^ *(\d+) (.+), ([^,]+) \((\d+) in, (\d+) out\)$")
SERVED = [
    Device(
        0, "Yeti X Analog Stereo", "PulseAudio", 2, 0, 48e3, True, False, None, "alsa_input.usb"
    ),
    Device(1, "Built-in Audio", "PulseAudio", 2, 0, 48e3, False, False, None, "alsa_input.pci"),
    Device(2, "Built-in Audio", "PulseAudio", 0, 2, 48e3, False, True, None, "alsa_output.pci"),
]


def recorded(name: str) -> list[Device]:
    """A device list as PortAudio printed it."""
    hosts: list[dict[str, Any]] = []
    devices: list[dict[str, Any]] = []
    for line in (FOLDER / f"{name}.txt").read_text("utf-8").splitlines():
        if line.startswith("host "):
            *words, first, second = line.split()[1:]
            hosts.append(
                {
                    "name": " ".join(words),
                    "default_input_device": int(first),
                    "default_output_device": int(second),
                }
            )
        elif found := LINE.match(line):
            devices.append(
                {
                    "name": found[2],
                    "hostapi": [host["name"] for host in hosts].index(found[3]),
                    "max_input_channels": int(found[4]),
                    "max_output_channels": int(found[5]),
                    "default_samplerate": 48_000.0,
                }
            )
            assert len(devices) - 1 == int(found[1])
    return from_portaudio(devices, hosts)


WINDOWS, MAC = recorded("windows"), recorded("macos")


@pytest.mark.parametrize(
    ("wanted", "direction", "number"),
    [
        (None, "input", 25),  # WASAPI's default, not MME's
        (None, "output", 22),
        ("hyperx", "input", 25),
        ("HyperX", "output", 23),
        ("cable output", "input", 24),
        ("Microphone (HyperX Cloud II Wireless)", "input", 25),
        ("Microphone (HyperX Cloud II Wire", "input", 25),
        ("mme:hyperx", "input", 1),
        ("directsound:cable input", "output", 19),
        ("wdm-ks:hyperx", "input", 27),
        ("asio4all", "input", 30),
        ("asio:focusrite", "output", 31),
        ("focusrite", "input", 16),  # ASIO must be asked for
        ("3", "input", 3),
        (" 31 ", "output", 31),
    ],
)
def test_a_device_is_found_on_windows(
    wanted: str | None, direction: Direction, number: int
) -> None:
    assert choose(WINDOWS, wanted, direction, "win32").number == number


@pytest.mark.parametrize(
    ("wanted", "direction", "number"),
    [
        (None, "input", 2),
        (None, "output", 3),
        ("airpods", "input", 1),
        ("airpods", "output", 5),
        ("blackhole", "output", 4),
        ("core audio:lg", "output", 0),
    ],
)
def test_a_device_is_found_on_a_mac(wanted: str | None, direction: Direction, number: int) -> None:
    assert choose(MAC, wanted, direction, "darwin").number == number


@pytest.mark.parametrize(
    ("wanted", "direction", "name", "host"),
    [
        (None, "input", "Yeti X Analog Stereo", "PulseAudio"),
        (None, "output", "Built-in Audio", "PulseAudio"),
        ("alsa_input.pci", "input", "Built-in Audio", "PulseAudio"),
        ("yeti", "input", "Yeti X Analog Stereo", "PulseAudio"),
        ("alsa:yeti", "input", "Yeti X: USB Audio (hw:1,0)", "ALSA"),
        ("Yeti X: USB", "input", "Yeti X: USB Audio (hw:1,0)", "ALSA"),  # a colon of its own
        ("hw:0,3", "output", "HDA Intel PCH: HDMI 0 (hw:0,3)", "ALSA"),
    ],
)
def test_a_device_is_found_behind_a_sound_server(
    wanted: str | None, direction: Direction, name: str, host: str
) -> None:
    devices = behind_server(SERVED, recorded("linux_alsa"))
    found = choose(devices, wanted, direction, "linux")
    assert (found.name, found.host) == (name, host)


def test_a_sound_servers_devices_stand_for_alsas_names_of_it() -> None:
    devices = behind_server(SERVED, recorded("linux_alsa"))
    assert [device.number for device in devices] == list(range(len(devices)))
    assert {device.name for device in devices}.isdisjoint({"pulse", "default", "pipewire"})


@pytest.mark.parametrize(
    ("wanted", "direction", "match"),
    [
        ("theremin", "input", "No input device 'theremin'.*HyperX"),
        ("99", "input", "No device 99"),
        ("23", "input", "has no input"),
        ("asio:cable", "input", "No input device"),
        ("wasapi:", "input", "No input device"),
        ("mme:cable in", "output", "any of these"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_there_is(
    wanted: str, direction: Direction, match: str
) -> None:
    with pytest.raises(DeviceError, match=f"(?s){match}"):
        choose(WINDOWS, wanted, direction, "win32")


def test_an_ambiguous_name_lists_what_it_may_be() -> None:
    with pytest.raises(DeviceError, match="any of these") as caught:
        choose(MAC, "o", "output", "darwin")
    assert "BlackHole 2ch" in str(caught.value)


def test_a_machine_without_devices_says_so() -> None:
    whats: dict[Direction, str] = {"input": "microphone", "output": "loudspeaker"}
    for direction, what in whats.items():
        with pytest.raises(DeviceError, match=what):
            choose([], None, direction, "linux")


def test_a_listing_has_every_device_with_its_host() -> None:
    lines = listing(WINDOWS).splitlines()
    assert len(lines) == len(WINDOWS)
    assert "WASAPI" in lines[25]
    assert "default" in lines[25]


@pytest.mark.parametrize(
    ("name", "system", "number", "microphone"),
    [
        ("windows", "win32", 21, "CABLE Output (VB-Audio Virtual Cable)"),
        ("windows_voicemeeter", "win32", 9, "Line 1 (Virtual Audio Cable)"),
        ("macos", "darwin", 4, "BlackHole 2ch"),
    ],
)
def test_a_cable_is_found_with_the_name_that_others_see(
    name: str, system: str, number: int, microphone: str
) -> None:
    found = find_cable(recorded(name), system)
    assert found
    assert (found.device.number, found.microphone) == (number, microphone)


def test_voicemeeter_is_found_with_its_own_output() -> None:
    devices = [d for d in recorded("windows_voicemeeter") if "Line 1" not in d.name]
    found = find_cable(devices, "win32")
    assert found
    assert found.microphone == "VoiceMeeter Output (VB-Audio VoiceMeeter VAIO)"


def test_a_cables_own_end_is_no_microphone_for_it() -> None:
    assert hears_itself(WINDOWS[24], WINDOWS[21])
    assert hears_itself(MAC[4], MAC[4])
    assert not hears_itself(WINDOWS[25], WINDOWS[21])
    assert not hears_itself(WINDOWS[24], WINDOWS[22])


@pytest.mark.parametrize(
    ("system", "advice"), [("win32", "VB-CABLE"), ("darwin", "brew install"), ("linux", "PipeWire")]
)
def test_no_cable_is_told_with_what_to_install(system: str, advice: str) -> None:
    with pytest.raises(DeviceError, match=advice):
        require_cable([d for d in WINDOWS if "CABLE" not in d.name], system)
