"""`timbral mic` on a terminal, and where there is none."""

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rich.console import Console
from rich.live import Live

from clients.desk import Desk
from clients.keys import single_keys
from clients.measure import measure
from clients.mic import MicSettings, Scene, run_mic
from clients.presets import Preset, Presets
from clients.view import line, picture
from server.protocol import ControlValues, ProfileName

TOLD_S = 10.0  # between two lines where there is no terminal


def desk_of(
    preset: str | None,
    voice: str | None,
    profile: ProfileName,
    controls: Mapping[str, Any],
    *,
    push_to_talk: bool,
) -> Desk:
    """A desk as the options say, on top of a preset if one is named. Raises `ConfigError`."""
    saved = Presets()
    begin = saved.load(preset) if preset else Preset(name="plain")
    values = {**begin.controls.model_dump(exclude_none=True), **controls}
    return Desk(
        voice or begin.voice or "starter",
        begin.profile if profile == "auto" else profile,
        ControlValues(**values),
        push_to_talk=push_to_talk,
        presets=[saved.load(name) for name in saved.names()],
    )


def measured(settings: MicSettings, desk: Desk, seconds: float | None = None) -> str:
    """The latency and its parts, as Markdown. Raises `TimbralError`."""
    return asyncio.run(measure(settings, desk, seconds or 9.0)).table()


def show(settings: MicSettings, desk: Desk, seconds: float | None = None) -> None:
    """Run `timbral mic` and show it, for `seconds` if given. Raises `TimbralError`."""
    console = Console()
    with single_keys() as typing, _ending(desk, seconds):
        if not console.is_terminal:
            run_mic(settings, desk, Lines(console).show, typing=typing)
            return
        with Live(console=console, auto_refresh=False) as live:

            def draw(scene: Scene) -> None:
                live.update(picture(scene, time.monotonic()), refresh=True)

            run_mic(settings, desk, draw, typing=typing)


class Lines:
    """Says what changed, a line at a time."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._state, self._told = "", float("-inf")

    def show(self, scene: Scene) -> None:
        """Say it when it is new, or when it was long ago."""
        now = time.monotonic()
        if scene.state != self._state or now - self._told > TOLD_S:
            self._state, self._told = scene.state, now
            self._console.print(line(scene, now), soft_wrap=True, highlight=False, markup=False)


@contextmanager
def _ending(desk: Desk, seconds: float | None) -> Generator[None, None, None]:
    """While this lasts, signals end the talk in order: the virtual microphone goes too."""

    def end(_number: int, _frame: FrameType | None) -> None:
        desk.over = True

    names = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, end) for number in numbers}
    timer = threading.Timer(seconds or 0.0, lambda: end(0, None))
    timer.daemon = True
    if seconds is not None:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.stdout.flush()
