"""PulseAudio, and PipeWire's stand-in for it: their devices, and a virtual microphone.

The only user of pulsectl. A virtual microphone is two of the server's modules: a sink that plays
into nothing, and a source that hears it and that other programs list as a microphone (a sink's
own monitor is hidden by browsers).
"""

import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from clients.devices import Device
from stream.errors import DeviceError

HOST = "PulseAudio"
CLIENT = "timbral"
SINK, SOURCE = "timbral_out", "timbral_mic"
DESCRIPTION = "Timbral Microphone"
MOST = 9  # virtual microphones at once


def served_devices() -> list[Device]:
    """The sound server's microphones and loudspeakers; none where there is no such server.

    The monitors of sinks are left out, and so are virtual microphones of ours.
    """
    with suppress(DeviceError), _connected() as pulse:
        server = pulse.server_info()
        sources = [s for s in pulse.source_list() if not s.name.endswith(".monitor")]
        return [
            *(
                _device(s, server.default_source_name, inputs=s.channel_count)
                for s in sources
                if not s.name.startswith(SOURCE)
            ),
            *(
                _device(s, server.default_sink_name, outputs=s.channel_count)
                for s in pulse.sink_list()
                if not s.name.startswith(SINK)
            ),
        ]
    return []


def _device(found: Any, default: str, inputs: int = 0, outputs: int = 0) -> Device:
    is_default = found.name == default
    return Device(
        number=0,
        name=found.description or found.name,
        host=HOST,
        inputs=inputs,
        outputs=outputs,
        rate=float(found.sample_spec.rate),
        default_input=is_default and inputs > 0,
        default_output=is_default and outputs > 0,
        pulse=found.name,
    )


@dataclass(frozen=True)
class VirtualMic:
    """A virtual microphone that is there."""

    sink: str  # to play to
    source: str  # the microphone, as the server calls it
    name: str  # as programs list it

    @property
    def device(self) -> Device:
        """What to play to."""
        return Device(0, f"{self.name} (virtual)", HOST, 0, 1, 48_000.0, pulse=self.sink)

    @property
    def microphone(self) -> Device:
        """What others hear."""
        return Device(0, self.name, HOST, 1, 0, 48_000.0, pulse=self.source)


@contextmanager
def virtual_mic(*, keep: bool = False, rate: int = 48_000) -> Generator[VirtualMic, None, None]:
    """A virtual microphone, which goes on leaving unless `keep`.

    One that a program left behind when it crashed is used again, so that whoever listens to it
    goes on listening; one in use by another program of ours is left to that, and the next gets a
    number. The server's default microphone stays what it was. Raises `DeviceError`.
    """
    made = make_virtual_mic(rate)
    try:
        yield made
    finally:
        if not keep:
            with suppress(DeviceError):  # the server went away, and the microphone with it
                remove_virtual_mic(made)


def make_virtual_mic(rate: int = 48_000) -> VirtualMic:
    """Make a virtual microphone, or take one over that nobody feeds. Raises `DeviceError`."""
    with _connected() as pulse:
        default = pulse.server_info().default_source_name
        taken = {stream.sink for stream in pulse.sink_input_list()}
        sinks = {sink.name: sink.index for sink in pulse.sink_list()}
        for number in range(1, MOST + 1):
            mic = _numbered(number)
            if sinks.get(mic.sink) not in taken:
                break
        else:
            raise DeviceError(f"{MOST} virtual microphones are in use. End one `timbral mic`.")
        sources = {source.name for source in pulse.source_list()}
        if not (mic.sink in sinks and mic.source in sources):
            _unload(pulse, mic)
            _load(pulse, mic, rate)
        if default and pulse.server_info().default_source_name != default:
            with suppress(_pulsectl().PulseError):
                pulse.source_default_set(default)
        return mic


def remove_virtual_mic(mic: VirtualMic) -> None:
    """Remove it, whoever made it. Raises `DeviceError`."""
    with _connected() as pulse:
        _unload(pulse, mic)


def _numbered(number: int) -> VirtualMic:
    end = "" if number == 1 else str(number)
    return VirtualMic(SINK + end, SOURCE + end, f"{DESCRIPTION} {end}".strip())


def _load(pulse: Any, mic: VirtualMic, rate: int) -> None:
    # norewinds: a sink that plays into nothing otherwise works in blocks of 2 s
    pulse.module_load(
        "module-null-sink",
        f"sink_name={mic.sink} norewinds=1 rate={rate} channels=1 channel_map=mono "
        f"sink_properties='device.description=\"{mic.name} (what it says)\"'",
    )
    pulse.module_load(
        "module-remap-source",
        f"source_name={mic.source} master={mic.sink}.monitor channels=1 channel_map=mono "
        f"source_properties='device.description=\"{mic.name}\"'",
    )


def _unload(pulse: Any, mic: VirtualMic) -> None:
    """The source first: it hears the sink."""
    parts = (f"source_name={mic.source}", f"sink_name={mic.sink}")
    for part in parts:
        for module in pulse.module_list():
            if part in (module.argument or "").split():
                with suppress(_pulsectl().PulseError):
                    pulse.module_unload(module.index)


@contextmanager
def _connected() -> Generator[Any, None, None]:
    pulsectl = _pulsectl()
    try:
        pulse = pulsectl.Pulse(CLIENT)
    except pulsectl.PulseError as error:
        raise DeviceError(
            "No sound server answers. Start PulseAudio or PipeWire (with pipewire-pulse)."
        ) from error
    try:
        with pulse:
            yield pulse
    except pulsectl.PulseError as error:
        raise DeviceError(f"The sound server refused: {error}.") from error


def _pulsectl() -> ModuleType:
    if not sys.platform.startswith("linux"):
        raise DeviceError("There is no PulseAudio on this system.")
    try:
        import pulsectl
    except ImportError as error:
        raise DeviceError("pulsectl is missing. pip install 'timbral[mic]'") from error
    except OSError as error:
        raise DeviceError("libpulse is missing. sudo apt-get install libpulse0") from error
    return pulsectl
