"""What speaks: Piper, espeak-ng, or Microsoft's Edge service when it is asked for."""

import io
import shutil
import subprocess
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, Protocol

import numpy as np
import soundfile

from stream.audio import Audio
from stream.errors import AudioError, ConfigError

Engine = Literal["auto", "piper", "espeak", "edge"]
CONFIG = ".onnx.json"
PATIENCE = 120.0  # s for a sentence


class Speaks(Protocol):
    """Says a text: mono [n] at `rate` Hz."""

    @property
    def rate(self) -> int: ...
    @property
    def name(self) -> str: ...
    def say(self, text: str) -> Audio: ...


def open_engine(engine: Engine, home: Path, speaker: str = "") -> Speaks:
    """What will speak; "auto" is Piper, else espeak-ng, and never what needs the network.

    speaker  for Piper a file .onnx or the name of an installed one, for the others one of theirs

    Raises `ConfigError`, which says what to install.
    """
    if engine == "edge":
        return Edge(speaker or "en-US-AriaNeural")
    found = piper_voice(home, speaker if engine == "piper" or speaker.endswith(".onnx") else "")
    if engine == "piper" or (engine == "auto" and found and find_spec("piper")):
        if found is None:
            raise ConfigError(
                "No Piper voice is installed. Get one: timbral models pull piper-joe. Or name one "
                "that you have: --reader voice.onnx (with voice.onnx.json beside it)."
            )
        return Piper(found)
    if engine == "espeak" or shutil.which("espeak-ng"):
        return Espeak(speaker or "en")
    raise ConfigError(
        "Nothing here can speak. Install Piper (pip install 'timbral[say]', then timbral models "
        "pull piper-joe), or espeak-ng, or ask for --by edge, which sends the text to Microsoft."
    )


def piper_voice(home: Path, speaker: str = "") -> Path | None:
    """The .onnx of a Piper voice: that file, the installed one of that name, or any installed."""
    if speaker.endswith(".onnx"):
        path = Path(speaker)
        if not path.is_file() or not path.with_name(path.stem + CONFIG).is_file():
            raise ConfigError(f"There is no {path} with {path.stem}{CONFIG} beside it.")
        return path
    places = sorted((home / "models").glob(f"{speaker or '*'}/*{CONFIG}"))
    found = [place.with_name(place.name.removesuffix(".json")) for place in places]
    return next((path for path in found if path.is_file()), None)


class Piper:
    """A voice of Piper's, which is under the GPL and of the extra `say`."""

    def __init__(self, path: Path) -> None:
        from offline.say.piper import load

        self._say, self.rate = load(path)
        self.name = path.stem

    def say(self, text: str) -> Audio:
        """See `Speaks`."""
        return self._say(text)


class Espeak:
    """The program espeak-ng."""

    rate = 22_050

    def __init__(self, language: str) -> None:
        self.name = f"espeak-ng {language}"
        self._program = shutil.which("espeak-ng") or ""
        if not self._program:
            raise ConfigError("espeak-ng is missing here: sudo apt-get install espeak-ng")
        self._language = language

    def say(self, text: str) -> Audio:
        """See `Speaks`."""
        words = [self._program, "-v", self._language, "--stdin", "-b", "1", "-w"]
        with TemporaryDirectory(prefix="timbral-") as folder:
            target = Path(folder) / "said.wav"
            run = subprocess.run(
                [*words, str(target)],
                input=text.encode(),
                capture_output=True,
                timeout=PATIENCE,
                check=False,
            )
            if run.returncode or not target.is_file():
                why = run.stderr.decode("utf-8", "replace").strip()
                raise ConfigError(f"espeak-ng cannot say that: {why or run.returncode}.")
            return _heard(target.read_bytes(), self.rate)


class Edge:
    """Microsoft's service, by the package edge-tts: the text leaves this machine."""

    rate = 24_000

    def __init__(self, speaker: str) -> None:
        if find_spec("edge_tts") is None:
            raise ConfigError("--by edge needs the package edge-tts: pip install 'timbral[edge]'.")
        self.name = f"edge {speaker}"
        self._speaker = speaker

    def say(self, text: str) -> Audio:
        """See `Speaks`; raises `AudioError` without the network."""
        import edge_tts

        away = import_module("aiohttp").ClientError  # what edge-tts lets through
        try:
            parts = edge_tts.Communicate(text, self._speaker).stream_sync()
            data = b"".join(part.get("data", b"") for part in parts if part["type"] == "audio")
        except (OSError, ValueError, away, edge_tts.exceptions.EdgeTTSException) as e:
            raise AudioError(
                f"Microsoft's service cannot be reached: {e}. Without the network: --by piper."
            ) from e
        return _heard(data, self.rate)


def _heard(data: bytes, rate: int) -> Audio:
    import soxr

    samples, own = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    mono = samples.mean(axis=1)
    return np.asarray(soxr.resample(mono, own, rate) if own != rate else mono, np.float32)
