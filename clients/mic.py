"""`timbral mic`: a microphone through a converter into every program, for as long as one likes."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import Request, urlopen

from clients.desk import Desk
from clients.keys import keys
from clients.link import is_here, stream_url
from clients.local import StoreStudio, Studio, open_local
from clients.reconnect import Backoff, stay_linked
from clients.recorder import Part, Recorder, recording
from clients.rings import Ear
from clients.sound import Sound, SoundSettings, open_sound
from clients.talk import RESTART, Channel, Figures, Talk
from server.protocol import PATH, Start
from stream.errors import DeviceError, LinkError, TimbralError

LOOK_S = 0.2  # between two looks at what is shown
ASK_S = 3.0  # for the names of voices
HERE = "here"  # in place of a server's address


@dataclass(frozen=True, kw_only=True)
class MicSettings:
    """How `timbral mic` runs."""

    server: str = "ws://127.0.0.1:8765"
    token: str | None = None
    local: str | None = None  # convert here, on this device, without a server
    sound: SoundSettings = field(default_factory=SoundSettings)
    record: Path | None = None
    part: Part = "both"
    backoff: Backoff = field(default_factory=Backoff)


@dataclass
class Scene:
    """All there is to show."""

    desk: Desk
    where: str  # the server, or "here"
    state: str = "starting"
    away: bool = True  # nothing is converted now
    sound: Sound | None = None
    talk: Talk | None = None
    recording: Path | None = None
    retry_at: float | None = None  # s of `time.monotonic`, when the server is asked again

    @property
    def figures(self) -> Figures:
        """Of the conversation, empty ones while there is none."""
        return self.talk.figures if self.talk else Figures()


class Microphone:
    """Runs until the desk is over: opens devices and links, and opens them anew when they go.

    Law: while the server or a device is away the listener hears silence, never the raw voice.
    """

    def __init__(
        self,
        settings: MicSettings,
        desk: Desk,
        show: Callable[[Scene], None],
        *,
        typing: bool,
        make_ear: Callable[[int], Ear] = Ear,
    ) -> None:
        self._settings, self._desk, self._show = settings, desk, show
        self._typing, self._make_ear = typing, make_ear
        self._studio = StoreStudio(settings.local) if settings.local else None
        self.scene = Scene(desk, HERE if self._studio else settings.server)
        self._tape = ExitStack()
        self._recorder: Recorder | None = None

    async def run(self) -> None:
        """Talk. Raises `TimbralError` when it cannot begin, or what stops it would stay."""
        helpers = [asyncio.create_task(self._look()), asyncio.create_task(self._voices())]
        if self._typing:
            helpers.append(asyncio.create_task(self._type()))
        talking = asyncio.create_task(self._devices())
        try:
            await _first(talking, helpers[0])
        finally:
            self._desk.over = True
            for task in (talking, *helpers):
                task.cancel()
            await asyncio.gather(talking, *helpers, return_exceptions=True)
            self._tape.close()

    async def _devices(self) -> None:
        """Open the devices, and again when one goes."""
        pace, failures, reached = self._settings.backoff, 0, False
        while not self._desk.over:
            opened = time.monotonic()
            try:
                with open_sound(self._settings.sound, self._make_ear) as sound:
                    reached, opened = True, time.monotonic()
                    await self._talk(sound)
            except DeviceError as error:
                if not reached:
                    raise
                settled = time.monotonic() - opened >= pace.settled
                failures = 1 if settled else failures + 1
                wait = pace.wait(failures, 0.0)
                self._say(f"{error} Looking again in {wait:.1f} s.", away=True)
                await asyncio.sleep(wait)
            finally:
                self.scene.sound = None

    async def _talk(self, sound: Sound) -> None:
        talk = Talk(sound.ear, sound.mouths, self._desk, sound.bell.wait, sound.block)
        self.scene.sound, self.scene.talk = sound, talk
        talking = asyncio.create_task(self._converse(talk, sound.rate))
        watching = asyncio.create_task(sound.watch())
        try:
            await _first(talking, watching)
        finally:
            for task in (talking, watching):
                task.cancel()
            await asyncio.gather(talking, watching, return_exceptions=True)

    async def _converse(self, talk: Talk, rate: int) -> None:
        settings, desk = self._settings, self._desk

        def start() -> Start:
            # nothing is converted on the way where bandwidth costs nothing
            encoding = "f32le" if self._studio or is_here(settings.server) else "s16le"
            return desk.start(rate, encoding, settings.token)

        async def run(channel: Channel) -> None:
            self._say("on air", away=False)
            try:
                await talk.run(channel)
            finally:
                self.scene.away = True

        def away(error: LinkError, seconds: float) -> None:
            self._say(str(error), away=True)
            self.scene.retry_at = time.monotonic() + seconds

        if self._studio is None:
            await stay_linked(settings.server, start, run, away=away, backoff=settings.backoff)
            return
        while not desk.over:
            await self._converse_here(start, run, self._studio)

    async def _converse_here(
        self, start: Callable[[], Start], run: Callable[[Channel], Awaitable[None]], studio: Studio
    ) -> None:
        self._say("loading the voice", away=True)
        try:
            async with open_local(start(), studio) as channel:
                await run(channel)
        except LinkError as error:
            if error.code != RESTART:
                raise

    async def _type(self) -> None:
        async for key in keys():
            messages = self._desk.press(key, time.monotonic())
            if self.scene.talk and not self.scene.away:
                self.scene.talk.order(messages)

    async def _voices(self) -> None:
        """Find out which voices there are, for the key that changes it."""
        studio = self._studio
        loop = asyncio.get_running_loop()
        if studio:
            self._desk.voices = await loop.run_in_executor(None, studio.names)
        else:
            ask = (voice_names, self._settings.server, self._settings.token)
            with suppress(LinkError):
                self._desk.voices = await loop.run_in_executor(None, *ask)

    async def _look(self) -> None:
        """Show what is, and start and stop recordings, until the desk is over."""
        self._desk.recording = self._desk.recording or self._settings.record is not None
        while not self._desk.over:
            self._record()
            self._show(self.scene)
            await asyncio.sleep(LOOK_S)

    def _record(self) -> None:
        talk, sound = self.scene.talk, self.scene.sound
        if self._desk.recording and self.scene.recording is None and sound:
            path = self._settings.record or Path(f"timbral-{datetime.now():%Y%m%d-%H%M%S}.wav")
            try:
                tape = self._tape.enter_context(recording(path, sound.rate, self._settings.part))
            except TimbralError as error:
                self._desk.recording, self._desk.notice = False, str(error)
            else:
                self.scene.recording, self._recorder = path, tape
        elif not self._desk.recording and self.scene.recording is not None:
            self._tape.close()
            self._desk.notice = f"Recorded {self.scene.recording}."
            self.scene.recording = None
            self._recorder = None
        if talk:
            talk.recorder = self._recorder

    def _say(self, state: str, *, away: bool) -> None:
        self.scene.state, self.scene.away, self.scene.retry_at = state, away, None


async def _first(*tasks: "asyncio.Task[Any]") -> None:
    """Wait until one of the tasks is done; raises what it raised."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


def voice_names(server: str, token: str | None) -> list[str]:
    """The voices that a server has. Raises `LinkError`."""
    url = urlsplit(stream_url(server))
    scheme = {"ws": "http", "wss": "https"}[url.scheme]
    path = url.path.removesuffix(PATH).rstrip("/") + "/v1/voices"
    request = Request(urlunsplit((scheme, url.netloc, path, "", "")))
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urlopen(request, timeout=ASK_S) as answer:
            told: Any = json.load(answer)
        return [voice["name"] for voice in told["voices"] if "error" not in voice]
    except (OSError, URLError, ValueError, KeyError, TypeError) as error:
        raise LinkError(f"{server} does not tell its voices: {error}.") from error


def quiet(_scene: Scene) -> None:
    """Show nothing."""


def run_mic(
    settings: MicSettings,
    desk: Desk,
    show: Callable[[Scene], None] = quiet,
    *,
    typing: bool = False,
) -> None:
    """Run until the desk is over. Raises `TimbralError`."""
    asyncio.run(Microphone(settings, desk, show, typing=typing).run())


def described(sound: Sound) -> Sequence[tuple[str, str]]:
    """The devices in use, for people."""
    rows = [("microphone", str(sound.input.device)), ("to", str(sound.outputs[0].device))]
    if len(sound.outputs) > 1:
        rows.append(("monitor", str(sound.outputs[1].device)))
    if sound.microphone:
        rows.append(("in Discord, Zoom, OBS choose", sound.microphone))
    return rows
