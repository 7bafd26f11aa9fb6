"""Everything that sounds here: the microphone, the virtual one, and somebody's headphones."""

import asyncio
import socket
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from clients.cables import hears_itself, require_cable
from clients.devices import Device, choose
from clients.portaudio import Stream, common_rate, list_devices, open_input, open_output
from clients.pulse import HOST, virtual_mic
from clients.rings import Ear, Mouth
from stream.audio import Audio
from stream.errors import DeviceError

SILENT_S = 2.0  # without a callback, after which a device is taken for gone
LOOK_S = 0.25  # between two looks


@dataclass(frozen=True, kw_only=True)
class SoundSettings:
    """Which devices, and how. Names are as `clients.devices.choose` takes them."""

    input: str | None = None  # None: the default microphone
    output: str | None = None  # None: a virtual microphone
    monitor: str | None = None  # a second loudspeaker; "default" for the system's
    block_ms: float = 5.0
    keep: bool = False  # the virtual microphone, after the end


@dataclass(frozen=True)
class Sound:
    """Open devices. `microphone` is what other programs choose to hear this; "" if nothing."""

    rate: int
    block: int
    ear: Ear
    mouths: tuple[Mouth, ...]
    input: Stream
    outputs: tuple[Stream, ...]
    microphone: str
    hearing: Device | None  # what hears the virtual microphone
    bell: "Bell"

    async def watch(self) -> None:
        """Return never; raises `DeviceError` when a device is gone."""
        streams = (self.input, *self.outputs)
        seen = {stream: (stream.calls, time.monotonic()) for stream in streams}
        while True:
            await asyncio.sleep(LOOK_S)
            for stream in streams:
                calls, since = seen[stream]
                if stream.calls != calls:
                    seen[stream] = (stream.calls, time.monotonic())
                elif not stream.alive or time.monotonic() - since > SILENT_S:
                    raise DeviceError(f"{stream.device} is gone.")


class Bell:
    """Wakes an event loop from a device's callback: one byte to a socket that never waits."""

    def __init__(self) -> None:
        self._here, self._there = socket.socketpair()
        for end in (self._here, self._there):
            end.setblocking(False)
        self._rung = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def ring(self) -> None:
        """Wake whoever waits, or who does so next."""
        with suppress(OSError):  # full: it rings already
            self._there.send(b"\0")

    async def wait(self) -> None:
        """Return when it has rung since the last time."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            try:
                loop.add_reader(self._here, self._take)
            except NotImplementedError:  # Windows
                await loop.sock_recv(self._here, 4096)
                return
            self._loop, self._rung = loop, asyncio.Event()
        await self._rung.wait()
        self._rung.clear()

    def close(self) -> None:
        """Nobody waits any more."""
        if self._loop and not self._loop.is_closed():
            self._loop.remove_reader(self._here)
        self._here.close()
        self._there.close()

    def _take(self) -> None:
        with suppress(BlockingIOError):
            self._here.recv(4096)
        self._rung.set()


@contextmanager
def open_sound(
    settings: SoundSettings, make_ear: Callable[[int], Ear] = Ear
) -> Generator[Sound, None, None]:
    """Find and open all devices; `make_ear(rate)` hears the microphone. Raises `DeviceError`."""
    system = "linux" if sys.platform.startswith("linux") else sys.platform
    devices = list_devices()
    with ExitStack() as stack:
        hearing, microphone = None, ""
        if settings.output is not None:
            output = choose(devices, _named(settings.output), "output", system)
        elif system == "linux" and any(device.host == HOST for device in devices):
            made = stack.enter_context(virtual_mic(keep=settings.keep))
            output, microphone, hearing = made.device, made.name, made.microphone
        else:
            found = require_cable(devices, system)
            output, microphone = found.device, found.microphone
            with suppress(DeviceError):
                hearing = choose(devices, microphone, "input", system)
        source = choose(devices, settings.input, "input", system)
        if hears_itself(source, output):
            raise DeviceError(
                f"{source.name} is the other end of {output.name}: it would hear itself. "
                "Name your own microphone with --input."
            )
        outputs = [output]
        if settings.monitor is not None:
            outputs.append(choose(devices, _named(settings.monitor), "output", system))
        yield stack.enter_context(_opened(settings, make_ear, source, outputs, microphone, hearing))


def _named(name: str) -> str | None:
    return None if name == "default" else name


@contextmanager
def _opened(
    settings: SoundSettings,
    make_ear: Callable[[int], Ear],
    source: Device,
    outputs: list[Device],
    microphone: str,
    hearing: Device | None,
) -> Generator[Sound, None, None]:
    rate = common_rate([(source, "input"), *((output, "output") for output in outputs)])
    block = max(1, round(settings.block_ms * rate / 1000.0))
    ear, bell = make_ear(rate), Bell()
    mouths = tuple(Mouth(rate) for _ in outputs)

    def heard(samples: Audio) -> None:
        ear.put(samples)
        bell.ring()

    with ExitStack() as stack:
        stack.callback(bell.close)
        opened = [
            stack.enter_context(open_output(device, rate, block, mouth.read))
            for device, mouth in zip(outputs, mouths, strict=True)
        ]
        listening = stack.enter_context(open_input(source, rate, block, heard))
        yield Sound(rate, block, ear, mouths, listening, tuple(opened), microphone, hearing, bell)
