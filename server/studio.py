"""Where streams get their conversions: the store's voices, loaded once, on this machine."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from server.apart import apart
from server.config import ServerConfig
from server.line import Opened
from server.protocol import ProfileName, Start
from server.warm import Warm
from stream.audio import RATES
from stream.controls import Controls
from stream.device import Device
from stream.engine import Conversion
from stream.errors import TimbralError
from stream.ladder import STEPS, Step, eased
from stream.models.providers import on_gpu
from stream.models.session import reason
from stream.models.store import Store
from stream.models.voice import Voice, VoiceCard
from stream.tune import Choice, choose

WARM_HOPS = 3
log = logging.getLogger("timbral.server")


class Studio:
    """The server's `Backend`. Everything here may take long; call it from a worker thread."""

    def __init__(self, config: ServerConfig) -> None:
        self._store = Store(config.home, shared=True)
        self._devices = [str(device) for device in config.devices]
        self._default = config.voice
        self._choices: dict[tuple[str, str], tuple[VoiceCard, Choice]] = {}  # by voice and device
        self._choosing = threading.Lock()
        self._import_s = config.limits.import_s
        self._closing = threading.Event()

    def warm(self) -> Warm:
        """Load the default voice and convert with it, so that the first client need not wait."""
        start = Start(voice=self._default, profile="low")
        providers = {device: self.open(start, device).provider for device in self._devices}
        why = {device: reason(Device.parse(device), name) for device, name in providers.items()}
        for device, provider in providers.items():
            log.info("models run on %s: %s", provider, why[device])
        voice, rate = self.load(self._default, self._devices[0]), max(RATES)
        latencies = {
            name: 1000.0 * Conversion(voice, rate, profile=profile).latency / rate
            for name, profile in voice.profiles.items()
        }
        return Warm(providers, latencies, why)

    def measure(self) -> None:
        """Choose the profile that `auto` is for the default voice."""
        for device in self._devices:
            self._choice("auto", self.load(self._default, device), device)

    def open(self, start: Start, device: str, step: Step = STEPS[0]) -> Opened:
        """A conversion that has run before, so that its first hop is no slower than others."""
        voice = self.load(start.voice, device)
        choice = self._choice(start.profile, voice, device)
        conversion = Conversion(
            voice,
            start.sample_rate,
            profile=eased(choice.profile, voice.profiles, step),
            controls=Controls(**start.controls.model_dump(exclude_none=True)),
        )
        # of this thread on the processor, which others use, too; a GPU is only waited for
        clock = time.perf_counter if on_gpu(voice.provider) else time.thread_time
        hop_seconds = min(_timed(conversion, clock) for _ in range(WARM_HOPS))
        conversion.reset()
        given = choice.profile.name
        return Opened(conversion, voice.provider, given, choice.why, hop_seconds, step)

    def load(self, voice: str, device: str) -> Voice:
        """The voice of that name, shared by all streams on the device."""
        return self._store.load(voice, Device.parse(device))

    def cards(self) -> list[dict[str, Any]]:
        """What every usable voice says of itself, and of the others why not."""
        return [self._card(name) for name in self._store.names()]

    def preview(self, voice: str) -> Path | None:
        """A recording of the voice, if there is one."""
        return self._store.preview(voice)

    def add(self, files: Sequence[Path], name: str | None, index: Path | None) -> dict[str, Any]:
        """Import a voice: {"voice": its card, "missing": what it still needs, or ""}."""
        where = self._store.home, list(files), name, index
        return apart(import_files, *where, most_s=self._import_s, give_up=self._closing)

    def remove(self, name: str) -> None:
        """Delete a voice; streams that speak with it go on."""
        self._store.remove(name)
        for device in self._devices:
            self._choices.pop((name, device), None)

    def close(self) -> None:
        """Give up what `add` is doing."""
        self._closing.set()

    def _card(self, name: str) -> dict[str, Any]:
        try:
            return self._store.card(name).model_dump(mode="json", exclude={"files"})
        except TimbralError as error:
            return {"name": name, "error": str(error)}

    def _choice(self, name: ProfileName, voice: Voice, device: str) -> Choice:
        if name != "auto":
            return Choice(voice.profiles[name], why="")
        key = voice.card.name, device
        with self._choosing:
            card, choice = self._choices.get(key, (None, None))
            if choice is None or card != voice.card:  # another voice may have taken its name
                choice = choose(voice)
                self._choices[key] = voice.card, choice
            return choice


def _timed(conversion: Conversion, clock: Callable[[], float]) -> float:
    """Seconds that a hop of sound takes."""
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, conversion.hop).astype(np.float32)
    begun = clock()
    conversion.step(noise)
    return clock() - begun


def import_files(
    home: Path, files: Sequence[Path], name: str | None, index: Path | None
) -> dict[str, Any]:
    """What `Studio.add` does, in a process of its own."""
    from stream.importer.voices import advice, import_voice  # needs `onnx`, which serving does not

    store = Store(home)
    card = import_voice(files, store=store, name=name, index=index)
    return {
        "voice": card.model_dump(mode="json", exclude={"files"}),
        "missing": advice(card, store),
    }
