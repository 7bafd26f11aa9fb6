"""Virtual cables: drivers by others whose loudspeaker is a microphone of other programs.

Windows and macOS let no program make a microphone without a driver; these are found by name. On
Linux `clients.virtual_mic` makes one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from clients.devices import HOSTS, Device
from stream.errors import DeviceError


@dataclass(frozen=True)
class Cable:
    """A driver, and how its two ends are named."""

    name: str
    play: str  # pattern of the loudspeaker's name
    swap: tuple[str, str] = ("", "")  # what is written otherwise in the microphone's name


CABLES = (
    Cable("VB-CABLE", r"^CABLE(-[A-D])? (Input|In \d+ch)", (r"Input|In \d+ch", "Output")),
    Cable("VB-Audio Hi-Fi Cable", r"^Hi-?Fi Cable Input", ("Input", "Output")),
    Cable("Virtual Audio Cable", r"^Line \d+ \(Virtual Audio Cable\)"),
    Cable("BlackHole", r"^BlackHole \d+ch"),
    Cable("VB-Cable", r"^VB-Cable"),
    Cable("Loopback", r"^Loopback Audio"),
    Cable("Soundflower", r"^Soundflower"),
    Cable("Voicemeeter", r"^Voicemeeter (Aux |VAIO3 )?(Input|In \d)", (r"Input|In \d", "Output")),
)
HOW_TO_GET = {
    "win32": (
        "Install VB-CABLE (donationware, from https://vb-audio.com/Cable, needs an administrator "
        "and a restart) and start again."
    ),
    "darwin": (
        "Install BlackHole (`brew install blackhole-2ch`, or https://existential.audio/blackhole) "
        "and start again."
    ),
    "linux": "Start PulseAudio or PipeWire: then a virtual microphone is made by itself.",
}


@dataclass(frozen=True)
class Found:
    """A cable that is there."""

    cable: Cable
    device: Device  # to play to
    microphone: str  # what other programs list


def find_cable(devices: Sequence[Device], system: str) -> Found | None:
    """The cable to play to: the best that is there, through the best host of `system`."""
    hosts = HOSTS.get(system, ())
    found = [
        (CABLES.index(cable), hosts.index(device.host) if device.host in hosts else 99, device)
        for device in devices
        if device.outputs and (cable := cable_of(device)) is not None
    ]
    if not found:
        return None
    order, _, device = min(found, key=lambda entry: (*entry[:2], len(entry[2].name)))
    return Found(CABLES[order], device, microphone_of(device))


def cable_of(device: Device) -> Cable | None:
    """The cable whose loudspeaker `device` is."""
    return next((c for c in CABLES if re.search(c.play, device.name, re.IGNORECASE)), None)


def microphone_of(device: Device) -> str:
    """What other programs call the microphone that hears `device`; "" for no cable."""
    cable = cable_of(device)
    if cable is None:
        return ""
    old, new = cable.swap
    return re.sub(old, new, device.name, count=1, flags=re.IGNORECASE) if old else device.name


def hears_itself(microphone: Device, loudspeaker: Device) -> bool:
    """Whether what is played to `loudspeaker` comes back from `microphone`, as from a cable."""
    heard = microphone_of(loudspeaker)
    return bool(heard) and microphone.name.casefold() == heard.casefold()


def require_cable(devices: Sequence[Device], system: str) -> Found:
    """`find_cable`; raises `DeviceError` that says what to install when there is none."""
    found = find_cable(devices, system)
    if found is None:
        how = HOW_TO_GET.get(system, "Install a virtual audio cable.")
        raise DeviceError(
            f"Other programs need a virtual microphone, and none is here. {how} "
            "Or only listen: `--output NAME` plays to a loudspeaker."
        )
    return found
