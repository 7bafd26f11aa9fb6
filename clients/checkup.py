"""What `timbral doctor` says of sound: devices, and a test burst through the virtual microphone."""

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

from clients.cables import require_cable
from clients.devices import Device, choose
from clients.measure import play_through
from clients.portaudio import list_devices
from clients.pulse import HOST, virtual_mic
from stream.errors import DeviceError

LEAST_DB = -12.0  # that a virtual microphone may take away


class Checked(NamedTuple):
    """One thing looked at, as `server.doctor.Finding` has it."""

    verdict: Literal["ok", "note", "FIX"]
    about: str
    found: str
    advice: str = ""


def check_sound() -> Iterator[Checked]:
    """Look at microphones and the virtual one. Nothing here keeps a server from working."""
    try:
        devices = list_devices()
    except DeviceError as error:
        found, _, advice = str(error).partition(". ")
        yield Checked("note", "sound", f"{found}: for `timbral mic`", advice)
        return
    system = "linux" if sys.platform.startswith("linux") else sys.platform
    yield _microphone(devices, system)
    yield _virtual(devices, system)


def _microphone(devices: list[Device], system: str) -> Checked:
    try:
        return Checked("ok", "microphone", str(choose(devices, None, "input", system)))
    except DeviceError as error:
        return Checked("note", "microphone", "none", str(error))


def _virtual(devices: list[Device], system: str) -> Checked:
    """Play a burst through the virtual microphone, and hear it as others would."""
    try:
        with _ends(devices, system) as (output, hearing):
            told = play_through(output, hearing)
    except DeviceError as error:
        return Checked("note", "virtual mic", "does not work", str(error))
    found = f"{hearing.name}: heard after {told.median:.0f} ms at {told.gain_db:+.1f} dB"
    if told.gain_db < LEAST_DB:
        advice = "Turn its volume up in the system's sound settings."
        return Checked("note", "virtual mic", found, advice)
    return Checked("ok", "virtual mic", found)


@contextmanager
def _ends(devices: list[Device], system: str) -> Generator[tuple[Device, Device], None, None]:
    """What to play to and what hears it, while this lasts."""
    if system == "linux" and any(device.host == HOST for device in devices):
        with virtual_mic() as made:
            yield made.device, made.microphone
    else:
        found = require_cable(devices, system)
        yield found.device, choose(devices, found.microphone, "input", system)
