"""`timbral doctor`: what this machine has, what is missing, and the fix for each."""

import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import Literal

from server.config import cores
from stream.errors import TimbralError

Verdict = Literal["ok", "note", "FIX"]


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `FIX` keeps timbral from working here, `note` does not."""

    verdict: Verdict
    about: str
    found: str
    advice: str = ""

    @property
    def healthy(self) -> bool:
        """Whether timbral works as it is."""
        return self.verdict != "FIX"

    def __str__(self) -> str:
        line = f"{self.verdict:4}  {self.about:12} {self.found}"
        return f"{line}\n{'':18} -> {self.advice}" if self.advice else line


def examine(port: int = 8765) -> Iterator[Finding]:
    """Look at everything, in the order in which things need each other."""
    yield python(sys.version_info[:3])
    yield processors(cores())
    yield from runtime(installed)
    yield package("faiss-cpu", "retrieval from a voice's index", needed=True)
    yield package("soundfile", "WAV, FLAC, Ogg and MP3", needed=True)
    yield package("av", "M4A, WebM and video", needed=False)
    yield store()
    yield starter()
    yield free_port(port)


def python(found: tuple[int, ...]) -> Finding:
    """Whether the interpreter is recent enough."""
    text = ".".join(map(str, found))
    if found < (3, 10):
        return Finding("FIX", "Python", text, "Install Python 3.10 or newer and timbral into it.")
    return Finding("ok", "Python", text)


def processors(count: int) -> Finding:
    """How many streams to expect."""
    if count == 1:
        advice = "One core serves one stream, or two; the server may be late while others work."
        return Finding("note", "cores", "1", advice)
    return Finding("ok", "cores", str(count))


def installed(distribution: str) -> str | None:
    """The version of an installed distribution."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def runtime(find: Callable[[str], str | None]) -> Iterator[Finding]:
    """ONNX Runtime: which builds are there, and what they can run on."""
    builds = ["onnxruntime" + kind for kind in ("", "-gpu", "-directml", "-openvino")]
    there = {name: found for name in builds if (found := find(name))}
    listed = ", ".join(f"{name} {found}" for name, found in there.items())
    if not there or find_spec("onnxruntime") is None:
        yield Finding("FIX", "ONNX Runtime", "missing", "pip install 'timbral[cpu]'")
        return
    if len(there) > 1:
        wanted = next(name for name in there if name != "onnxruntime")
        advice = (
            f"They overwrite each other. pip uninstall -y {' '.join(there)} && pip install {wanted}"
        )
        yield Finding("FIX", "ONNX Runtime", listed, advice)
    else:
        yield Finding("ok", "ONNX Runtime", listed)
    from stream.models.session import available_devices

    devices = available_devices()
    found = ", ".join(devices)
    if shutil.which("nvidia-smi") and "cuda" not in devices:
        advice = "There is an NVIDIA GPU: pip uninstall -y onnxruntime && "
        yield Finding("note", "devices", found, advice + "pip install 'timbral[gpu]'")
    else:
        yield Finding("ok", "devices", found)


def package(distribution: str, purpose: str, *, needed: bool) -> Finding:
    """Whether a distribution is installed, and what for."""
    found = installed(distribution)
    if found:
        return Finding("ok", distribution, f"{found}: {purpose}")
    extra = "timbral" if needed else "timbral[offline]"
    verdict = "FIX" if needed else "note"
    return Finding(verdict, distribution, f"missing: {purpose}", f"pip install '{extra}'")


def store() -> Finding:
    """Whether voices can be added."""
    from stream.home import default_home

    home = default_home()
    place = next(path for path in (home, *home.parents) if path.exists())
    if writable(place):
        return Finding("ok", "store", str(home))
    advice = "Give yourself the right to write there, or set TIMBRAL_HOME to a folder of yours."
    return Finding("note", "store", f"{home} cannot be written", advice)


def writable(folder: Path) -> bool:
    """Whether a file can be made in `folder`."""
    try:
        with TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def starter() -> Finding:
    """Whether the voice inside the package is whole, and speaks."""
    try:
        from stream.device import AUTO
        from stream.models.session import reason
        from stream.models.store import STARTER, Store
        from stream.tune import choose

        voice = Store().load(STARTER)
    except (TimbralError, ImportError) as error:
        return Finding("FIX", "starter", str(error), "pip install --force-reinstall timbral")
    choice = choose(voice)
    runs = f"runs on {voice.provider} ({reason(AUTO, voice.provider)})"
    found = f"verified, {runs}; auto takes {choice.profile.name}: {choice.why}"
    return Finding("ok", "starter", found)


def free_port(port: int) -> Finding:
    """Whether a server could listen on `port`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            advice = f"If that is not timbral: timbral serve --port {port + 1}"
            return Finding("note", f"port {port}", f"taken ({error})", advice)
    return Finding("ok", f"port {port}", "free")
