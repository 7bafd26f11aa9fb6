"""A real OBS Studio on a display of its own, with one media source that carries the filter."""

import json
import os
import signal
import struct
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray
from obs_bench import PATIENCE, PLUGIN, free_port, require
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from stream.audio import Audio

RATE = 48_000
FPS = 30
PACKET = 960  # samples
SIZE = (160, 120)
BURST = 0.2  # seconds of sound, once a second, with a white picture
SOURCE, FILTER = "Clip", "Voice"
IDENTITY = {
    "FirstRun": "true",
    "LastVersion": "486539266",
    "Pre19Defaults": "false",
    "Pre21Defaults": "false",
    "Pre23Defaults": "false",
    "Pre24.1Defaults": "false",
    "EnableAutoUpdates": "false",
    "ConfirmOnExit": "false",
    "InfoIncrement": "1000",
}


def make_clip(path: Path, seconds: int) -> Audio:
    """Write a film: each second begins with a white flash and a sweep. Returns [n] the sweep."""
    burst = _sweep()
    with av.open(str(path), "w") as film:
        video = film.add_stream("mjpeg", rate=FPS)
        video.width, video.height, video.pix_fmt = *SIZE, "yuvj420p"
        sound = film.add_stream("pcm_s16le", rate=RATE, layout="stereo")
        for second in range(seconds):
            line = np.zeros(RATE, np.float32)
            line[: len(burst)] = burst
            pcm = np.repeat((line * 32767).astype(np.int16), 2)[None]
            for at in range(0, RATE, PACKET):
                part = np.ascontiguousarray(pcm[:, 2 * at : 2 * (at + PACKET)])
                audio = av.AudioFrame.from_ndarray(part, format="s16", layout="stereo")
                audio.rate, audio.pts = RATE, second * RATE + at
                film.mux(sound.encode(audio))
            for number in range(FPS):
                white = 255 if number < BURST * FPS else 0
                picture = np.full((SIZE[1], SIZE[0], 3), white, np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = second * FPS + number, Fraction(1, FPS)
                film.mux(video.encode(frame))
        film.mux(video.encode(None))
        film.mux(sound.encode(None))
    return burst


def _sweep() -> Audio:
    """[n] the sound of a flash. Not noise: AAC puts noise of its own in its place."""
    time_s = np.arange(round(BURST * RATE)) / RATE
    phase = 2 * np.pi * (400 * time_s + 2600 / BURST * time_s**2 / 2)
    return (0.3 * np.sin(phase) * np.hanning(len(time_s))).astype(np.float32)


class Recording(NamedTuple):
    """What was recorded: one channel from time 0 on, and when the picture turned white."""

    sound: Audio
    flashes: list[float]  # seconds


def read_recording(path: Path) -> Recording:
    """Read a recording of the clip."""
    pieces: list[tuple[int, Audio]] = []
    light: list[tuple[float, float]] = []
    with av.open(str(path)) as film:
        for frame in film.decode():
            if isinstance(frame, av.AudioFrame):
                at = round(float(frame.time or 0.0) * RATE)
                pieces.append((at, np.asarray(frame.to_ndarray()[0], np.float32)))
            elif isinstance(frame, av.VideoFrame):
                light.append((frame.time, float(frame.to_ndarray(format="gray").mean())))
    sound = np.zeros(max(at + len(piece) for at, piece in pieces), np.float32)
    for at, piece in pieces:
        start = max(at, 0)
        sound[start : at + len(piece)] = piece[start - at :]
    pairs = pairwise(light)
    return Recording(sound, [b[0] for a, b in pairs if a[1] < 128 <= b[1]])


class Found(NamedTuple):
    """A burst in a recording."""

    time: float  # seconds
    gain: float


def find_burst(recording: Recording, burst: Audio, flash: float) -> Found:
    """Where the burst that belongs to the flash is, within half a second, and how loud.

    AAC keeps loudness well, the waveform not.
    """
    start = max(0, round((flash - 0.5) * RATE))
    part = recording.sound[start : start + RATE + len(burst)]
    size = len(part) + len(burst)
    spectrum = np.fft.rfft(part, size) * np.conj(np.fft.rfft(burst, size))
    match = np.fft.irfft(spectrum, size)[: len(part)] / float(np.sum(burst**2))
    best = int(np.abs(match).argmax())
    heard = part[best : best + len(burst)]
    loudness = float(np.sqrt(np.mean(heard**2) / np.mean(burst**2)))
    return Found((start + best) / RATE, loudness)


def read_screen(mirror: Path) -> NDArray[np.uint8]:
    """[height, width, 3] what a display shows, from Xvfb's mirror of it (an XWD file)."""
    data = mirror.read_bytes()
    head = struct.unpack(">25I", data[:100])
    header, width, height, row, colours = head[0], head[4], head[5], head[12], head[19]
    start = header + 12 * colours
    pixels = np.frombuffer(data[start : start + row * height], np.uint8).reshape(height, row)
    return pixels[:, : 4 * width].reshape(height, width, 4)[:, :, 2::-1].copy()


def write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write [height, width, 3] as a PNG file."""
    with av.open(str(path), "w", format="image2") as image:
        stream = image.add_stream("png")
        stream.width, stream.height, stream.pix_fmt = picture.shape[1], picture.shape[0], "rgb24"
        image.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        image.mux(stream.encode(None))


def _ini(sections: dict[str, dict[str, Any]]) -> str:
    lines: list[str] = []
    for name, values in sections.items():
        lines += [f"[{name}]", *(f"{key}={value}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def _scene(clip: Path, settings: dict[str, Any]) -> dict[str, Any]:
    voice = {"id": "timbral_filter", "versioned_id": "timbral_filter", "name": FILTER}
    return {
        "current_scene": "Scene",
        "current_program_scene": "Scene",
        "name": "Test",
        "scene_order": [{"name": "Scene"}],
        "sources": [
            {
                "id": "ffmpeg_source",
                "versioned_id": "ffmpeg_source",
                "name": SOURCE,
                "enabled": True,
                "mixers": 255,
                "settings": {"local_file": str(clip), "looping": True, "is_local_file": True},
                "filters": [{**voice, "enabled": True, "settings": settings}],
            },
            {
                "id": "scene",
                "versioned_id": "scene",
                "name": "Scene",
                "settings": {"items": [{"name": SOURCE, "id": 1, "visible": True}]},
            },
        ],
    }


def _configure(home: Path, port: int, clip: Path, settings: dict[str, Any]) -> None:
    """Write what OBS 28 to 32 want to find, in place of a first run's questions."""
    root = home / "config" / "obs-studio"
    profile, scenes = root / "basic/profiles/Test", root / "basic/scenes"
    plugin = root / "plugins" / "timbral"
    socket = root / "plugin_config" / "obs-websocket"
    for folder in (profile, scenes, plugin, socket, home / "rt"):
        folder.mkdir(parents=True)
    (home / "rt").chmod(0o700)
    name = {"Profile": "Test", "ProfileDir": "Test"}
    name |= {"SceneCollection": "Test", "SceneCollectionFile": "Test"}
    remote = {"FirstLoad": "false", "ServerEnabled": "true", "ServerPort": port}
    remote |= {"AlertsEnabled": "false", "AuthRequired": "false"}
    tray = {"SysTrayEnabled": "true"}
    text = _ini({"General": IDENTITY, "Basic": name, "BasicWindow": tray, "OBSWebSocket": remote})
    for file in ("global.ini", "user.ini"):
        (root / file).write_text(text)
    newer = {"first_load": False, "server_enabled": True, "server_port": port}
    newer |= {"alerts_enabled": False, "auth_required": False, "server_password": ""}
    (socket / "config.json").write_text(json.dumps(newer))
    record = {"FilePath": home, "RecFormat": "mkv", "RecFormat2": "mkv", "RecQuality": "Stream"}
    record |= {"RecEncoder": "x264", "StreamEncoder": "x264", "Preset": "ultrafast"}
    record |= {"ABitrate": 320, "VBitrate": 500}
    video = {"BaseCX": SIZE[0], "BaseCY": SIZE[1], "OutputCX": SIZE[0], "OutputCY": SIZE[1]}
    video |= {"FPSType": 1, "FPSInt": FPS}
    audio = {"SampleRate": RATE, "ChannelSetup": "Stereo"}
    output = {"Mode": "Simple"}
    sections = {"Output": output, "SimpleOutput": record, "Video": video, "Audio": audio}
    (profile / "basic.ini").write_text(_ini({"General": {"Name": "Test"}, **sections}))
    (scenes / "Test.json").write_text(json.dumps(_scene(clip, settings)))
    install = ["cmake", "--install", str(PLUGIN / "build/plain"), "--prefix", str(plugin.parent)]
    subprocess.run(install, check=True, capture_output=True)


class Obs:
    """OBS Studio, answering obs-websocket."""

    def __init__(self, process: "subprocess.Popen[bytes]", socket: ClientConnection) -> None:
        self._process = process
        self._socket = socket
        self._number = 0

    def call(self, request: str, **data: Any) -> dict[str, Any]:
        """Make a request of obs-websocket 5; returns its data."""
        self._number += 1
        body = {"requestType": request, "requestId": str(self._number), "requestData": data}
        self._socket.send(json.dumps({"op": 6, "d": body}))
        while True:
            answer = json.loads(self._socket.recv(PATIENCE))
            if answer["op"] == 7 and answer["d"]["requestId"] == str(self._number):
                assert answer["d"]["requestStatus"]["result"], answer
                return answer["d"].get("responseData", {})

    def set_filter(self, **settings: Any) -> None:
        """Change settings of the filter."""
        names = {"sourceName": SOURCE, "filterName": FILTER}
        self.call("SetSourceFilterSettings", **names, filterSettings=settings)

    def quit(self) -> int:
        """End it as Ctrl-C does; returns the exit status."""
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(PATIENCE)


def _greet(socket: ClientConnection) -> None:
    assert json.loads(socket.recv(PATIENCE))["op"] == 0
    socket.send(json.dumps({"op": 1, "d": {"rpcVersion": 1, "eventSubscriptions": 0}}))
    assert json.loads(socket.recv(PATIENCE))["op"] == 2


@contextmanager
def real_obs(
    home: Path, screen: str, clip: Path, settings: dict[str, Any]
) -> Generator[Obs, None, None]:
    """OBS with the clip and the filter; what it writes to its log is in `home/log`."""
    require("obs")
    port = free_port()
    _configure(home, port, clip, settings)
    environment = {**os.environ, "DISPLAY": screen, "HOME": str(home)}
    environment |= {"XDG_CONFIG_HOME": f"{home}/config", "XDG_RUNTIME_DIR": f"{home}/rt"}
    environment |= {"LIBGL_ALWAYS_SOFTWARE": "1", "QT_QPA_PLATFORM": "xcb"}
    options = ["--multi", "--minimize-to-tray", "--disable-updater"]
    options += ["--unfiltered_log", "--verbose"]  # --disable-missing-files-check leaks
    options += ["--profile", "Test", "--collection", "Test"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(["obs", *options], env=environment, stdout=log, stderr=log)
        try:
            with _dial(port, process) as socket:
                _greet(socket)
                yield Obs(process, socket)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def _dial(port: int, process: "subprocess.Popen[bytes]") -> ClientConnection:
    end = time.monotonic() + PATIENCE
    while (socket := _try_dial(port)) is None:
        assert process.poll() is None, "OBS ended"
        assert time.monotonic() < end, "OBS does not answer"
        time.sleep(0.2)
    return socket


def _try_dial(port: int) -> ClientConnection | None:
    protocol = Subprotocol("obswebsocket.json")
    try:
        address = f"ws://127.0.0.1:{port}"
        return connect(address, subprotocols=[protocol], max_size=None, proxy=None)
    except (OSError, WebSocketException):
        return None
