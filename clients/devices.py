"""Which microphone and which loudspeaker: what a machine offers, and what a user means. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from stream.errors import DeviceError

Direction = Literal["input", "output"]

HOSTS: dict[str, tuple[str, ...]] = {
    # the better first; ASIO and WDM-KS take a device for themselves, so they must be asked for
    "win32": ("WASAPI", "DirectSound", "MME", "ASIO", "WDM-KS"),
    "darwin": ("Core Audio",),
    "linux": ("PulseAudio", "JACK", "ALSA", "OSS"),
}
PLUGINS = frozenset({"pulse", "default", "pipewire", "sysdefault", "dmix"})
"""ALSA's names for the sound server, whose devices are listed one by one instead."""


@dataclass(frozen=True)
class Device:
    """One way to reach a microphone or a loudspeaker."""

    number: int  # as listed
    name: str
    host: str  # the programming interface behind it, as PortAudio names it, or PulseAudio
    inputs: int  # channels
    outputs: int
    rate: float  # Hz, its own
    default_input: bool = False  # of its host
    default_output: bool = False
    portaudio: int | None = None  # PortAudio's number, if that opens it
    pulse: str = ""  # the sound server's name for it

    def serves(self, direction: Direction) -> bool:
        """Whether sound goes in that direction."""
        return (self.inputs if direction == "input" else self.outputs) > 0

    def is_default(self, direction: Direction) -> bool:
        """Whether it is the one that its host takes when none is named."""
        return self.default_input if direction == "input" else self.default_output

    def __str__(self) -> str:
        return f"{self.name} ({self.host})"


def from_portaudio(
    devices: Sequence[Mapping[str, Any]], hosts: Sequence[Mapping[str, Any]]
) -> list[Device]:
    """What `sounddevice.query_devices()` and `query_hostapis()` tell."""
    return [
        Device(
            number=number,
            name=device["name"],
            host=hosts[device["hostapi"]]["name"].removeprefix("Windows "),
            inputs=device["max_input_channels"],
            outputs=device["max_output_channels"],
            rate=device["default_samplerate"],
            default_input=hosts[device["hostapi"]]["default_input_device"] == number,
            default_output=hosts[device["hostapi"]]["default_output_device"] == number,
            portaudio=number,
        )
        for number, device in enumerate(devices)
    ]


def behind_server(served: Sequence[Device], devices: Sequence[Device]) -> list[Device]:
    """A sound server's devices, then what PortAudio reaches without it; numbered anew."""
    direct = [d for d in devices if d.name not in PLUGINS]
    both = [*served, *direct]
    return [replace(device, number=number) for number, device in enumerate(both)]


def choose(
    devices: Sequence[Device], wanted: str | None, direction: Direction, system: str
) -> Device:
    """The device that `wanted` means: a number, a name or a part of one; nothing is the default.

    `wasapi:focusrite` looks among one host's devices only. Of a device that several hosts offer,
    the best host of `system` (`sys.platform`) is taken. Raises `DeviceError`.
    """
    usable = [device for device in devices if device.serves(direction)]
    if not usable:
        what = "microphone" if direction == "input" else "loudspeaker"
        raise DeviceError(
            f"No {what} was found. Plug one in, and see whether the system's settings show it."
        )
    if wanted is None:
        return _default(usable, direction, system)
    if wanted.strip().isdigit():
        return _numbered(devices, int(wanted), direction)
    host, _, name = wanted.rpartition(":")
    among = [d for d in usable if _is_host(d, host)] if host else usable
    if host and not among:  # the colon belongs to the name
        among, name = usable, wanted
    ranks = sorted({_rank(device, system) for device in among})
    each = (_named([d for d in among if _rank(d, system) == rank], name) for rank in ranks)
    found = next((devices for devices in each if devices), [])
    if not found:
        raise DeviceError(f"No {direction} device '{wanted}'. There are:\n{listing(usable)}")
    if len(found) > 1:
        raise DeviceError(
            f"'{wanted}' may be any of these; say more of the name, or the number:\n"
            + listing(found)
        )
    return found[0]


def listing(devices: Sequence[Device]) -> str:
    """Devices one a line, for people."""
    return "\n".join(
        f"  {d.number:3}  {d.name}  [{d.host}, {d.inputs} in, {d.outputs} out"
        + (", default]" if d.default_input or d.default_output else "]")
        for d in devices
    )


def _default(usable: Sequence[Device], direction: Direction, system: str) -> Device:
    ranked = sorted(usable, key=lambda d: (_rank(d, system), not d.is_default(direction)))
    return ranked[0]


def _numbered(devices: Sequence[Device], number: int, direction: Direction) -> Device:
    found = [device for device in devices if device.number == number]
    if not found:
        raise DeviceError(f"No device {number}. There are:\n{listing(devices)}")
    if not found[0].serves(direction):
        raise DeviceError(f"Device {number}, {found[0].name}, has no {direction}.")
    return found[0]


def _named(devices: Sequence[Device], text: str) -> list[Device]:
    """Those whose name is `text`, else begins with it, else holds it; case does not matter."""
    wanted = text.strip().casefold()
    names = [(device, device.name.casefold()) for device in devices]
    for fits in (
        [device for device, name in names if wanted in {name, device.pulse.casefold()}],
        [device for device, name in names if name.startswith(wanted)],
        [device for device, name in names if wanted in name],
    ):
        if fits and wanted:
            return fits
    return []


def _is_host(device: Device, host: str) -> bool:
    plain = host.strip().casefold().replace(" ", "")
    return bool(plain) and plain in device.host.casefold().replace(" ", "")


def _rank(device: Device, system: str) -> int:
    hosts = HOSTS.get(system, ())
    known = [rank for rank, host in enumerate(hosts) if host == device.host]
    return known[0] if known else len(hosts)
