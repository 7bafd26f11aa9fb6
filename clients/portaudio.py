"""Microphones and loudspeakers through PortAudio. The only user of sounddevice.

The callbacks run on PortAudio's thread. They copy samples to and from memory that is there
already; they take no lock, write no log and wait for nothing.
"""

import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

import numpy as np

from clients.devices import Device, Direction, behind_server, from_portaudio
from clients.pulse import served_devices
from stream.audio import Audio
from stream.errors import DeviceError

RATES = (48_000, 44_100, 32_000, 16_000)  # Hz, that are tried in this order
LONGEST = 8192  # samples of one callback
_PLUGIN = "pulse"  # ALSA's name for the sound server

Put = Callable[[Audio], None]


class Stream:
    """An open microphone or loudspeaker. Get one from `open_input` or `open_output`."""

    def __init__(self, device: Device, stream: Any, calls: "Calls") -> None:
        self.device = device
        self._stream, self._calls = stream, calls

    @property
    def latency_ms(self) -> float:
        """What PortAudio believes that the device adds."""
        return 1000.0 * self._stream.latency

    @property
    def alive(self) -> bool:
        """Whether the device still works, as far as PortAudio knows."""
        return bool(self._stream.active)

    @property
    def calls(self) -> int:
        """How often the device asked so far; stands still when it is gone."""
        return self._calls.count

    @property
    def faults(self) -> int:
        """How often PortAudio told of samples lost or late."""
        return self._calls.faults

    def close(self) -> None:
        """Stop at once."""
        self._stream.abort(ignore_errors=True)
        self._stream.close(ignore_errors=True)


class Calls:
    """Counts of a stream's callbacks."""

    def __init__(self) -> None:
        self.count = self.faults = 0


def list_devices() -> list[Device]:
    """Everything that sound can come from or go to, looked up anew. Raises `DeviceError`."""
    sd = _sounddevice()
    _refresh(sd)
    return _devices(sd)


def common_rate(devices: Sequence[tuple[Device, Direction]]) -> int:
    """The first of `RATES` (Hz) that all of the devices take. Raises `DeviceError`."""
    sd = _sounddevice()
    refusals = [_refusal(sd, devices, rate) for rate in RATES]
    for rate, refusal in zip(RATES, refusals, strict=True):
        if refusal is None:
            return rate
    names = " and ".join(str(device) for device, _ in devices)
    raise DeviceError(
        f"{names} have no sample rate in common ({refusals[0]}). Choose another device."
    )


@contextmanager
def open_input(device: Device, rate: int, block: int, put: Put) -> Generator[Stream, None, None]:
    """Record mono in blocks of `block` samples; each goes to `put`. Raises `DeviceError`."""
    sd = _sounddevice()
    channels = _channels(sd, device, "input", rate)
    calls = Calls()

    def heard(data: Any, frames: int, _time: Any, status: Any) -> None:
        calls.count += 1
        if status:
            calls.faults += 1
        samples = np.frombuffer(data, np.float32)
        put(samples if channels == 1 else samples[::channels])

    with _opened(sd, sd.RawInputStream, device, "input", rate, block, channels, heard) as stream:
        yield Stream(device, stream, calls)


@contextmanager
def open_output(device: Device, rate: int, block: int, fill: Put) -> Generator[Stream, None, None]:
    """Play mono in blocks of `block` samples, written by `fill`. Raises `DeviceError`."""
    sd = _sounddevice()
    channels = _channels(sd, device, "output", rate)
    calls = Calls()
    mono: Audio = np.zeros(LONGEST, np.float32)

    def asked(data: Any, frames: int, _time: Any, status: Any) -> None:
        calls.count += 1
        if status:
            calls.faults += 1
        out = np.frombuffer(data, np.float32)
        if channels == 1:
            fill(out)
        else:
            part = mono[:frames]
            fill(part)
            for channel in range(channels):
                out[channel::channels] = part

    with _opened(sd, sd.RawOutputStream, device, "output", rate, block, channels, asked) as stream:
        yield Stream(device, stream, calls)


@contextmanager
def _opened(
    sd: ModuleType,
    kind: Any,
    device: Device,
    direction: Direction,
    rate: int,
    block: int,
    channels: int,
    callback: Callable[..., None],
) -> Generator[Any, None, None]:
    try:
        with _named(device, direction):
            stream = kind(
                samplerate=rate,
                blocksize=block,
                device=_index(sd, device),
                channels=channels,
                dtype="float32",
                latency="low",
                extra_settings=_extra(sd, device),
                callback=callback,
            )
            stream.start()
    except sd.PortAudioError as error:
        raise DeviceError(
            f"{device} cannot be opened: {error}. Close what else uses it, or choose another "
            "(`timbral devices`)."
        ) from error
    try:
        yield stream
    finally:
        stream.abort(ignore_errors=True)
        stream.close(ignore_errors=True)


def _refusal(
    sd: ModuleType, devices: Sequence[tuple[Device, Direction]], rate: int
) -> Exception | None:
    """Why one of the devices does not take `rate`."""
    try:
        for device, direction in devices:
            _check(sd, device, direction, min(2, _most(device, direction)), rate)
    except sd.PortAudioError as error:
        return error
    return None


def _check(sd: ModuleType, device: Device, direction: Direction, channels: int, rate: int) -> None:
    check = sd.check_input_settings if direction == "input" else sd.check_output_settings
    with _named(device, direction):
        check(_index(sd, device), channels, "float32", _extra(sd, device), rate)


def _channels(sd: ModuleType, device: Device, direction: Direction, rate: int) -> int:
    """1 where the device can, else as few as it takes."""
    for channels in (1, 2):
        with suppress(sd.PortAudioError):
            _check(sd, device, direction, channels, rate)
            return channels
    return _most(device, direction)


def _most(device: Device, direction: Direction) -> int:
    return max(1, device.inputs if direction == "input" else device.outputs)


@contextmanager
def _named(device: Device, direction: Direction) -> Generator[None, None, None]:
    """While this lasts the sound server's plugin connects to `device`: it looks here on opening."""
    if not device.pulse:
        yield
        return
    name = "PULSE_SOURCE" if direction == "input" else "PULSE_SINK"
    before = os.environ.get(name)
    os.environ[name] = device.pulse
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _index(sd: ModuleType, device: Device) -> int:
    if device.portaudio is not None:
        return device.portaudio
    for number, found in enumerate(sd.query_devices()):
        if found["name"] == _PLUGIN:
            return number
    raise DeviceError(
        "ALSA does not reach the sound server. sudo apt-get install libasound2-plugins"
    )


def _extra(sd: ModuleType, device: Device) -> Any:
    """WASAPI converts rates and channels only when asked."""
    return sd.WasapiSettings(auto_convert=True) if device.host == "WASAPI" else None


def _devices(sd: ModuleType) -> list[Device]:
    devices = from_portaudio(sd.query_devices(), sd.query_hostapis())
    return behind_server(served, devices) if (served := served_devices()) else devices


def _refresh(sd: ModuleType) -> None:
    """PortAudio looks for devices only once, unless it is started anew."""
    sd._terminate()  # pyright: ignore[reportPrivateUsage]
    sd._initialize()  # pyright: ignore[reportPrivateUsage]


def _sounddevice() -> ModuleType:
    try:
        import sounddevice
    except ImportError as error:
        raise DeviceError("sounddevice is missing. pip install 'timbral[mic]'") from error
    except OSError as error:
        fix = "sudo apt-get install libportaudio2 libasound2-plugins"
        how = (
            fix if sys.platform.startswith("linux") else "pip install --force-reinstall sounddevice"
        )
        raise DeviceError(f"PortAudio is missing. {how}") from error
    return sounddevice
