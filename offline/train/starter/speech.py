"""The speech that the content student learns from and is judged by: Debian packages, decoded.

Each stream is one `.npy` of 16 kHz mono int16: clips of one speaker, or of one package's many, with
a quarter of a second of silence between them. Whole people are held out, never sentences.
"""

from __future__ import annotations

import io
import logging
import os
import random
import re
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from stream.audio import Audio
from stream.errors import AudioError, ConfigError
from stream.files import SoundFile

log = logging.getLogger(__name__)

RATE = 16_000
"""Hz."""
GAP = RATE // 4
"""Samples of silence after each clip."""
TARGET_RMS = 0.1
QUIET = 0.01
"""Below this a sample of a normalised clip counts as silence."""
LIBRARIES = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")
HELPERS = (
    "flite",
    "libflite1",
    "espeak-ng",
    "libespeak-ng1",
    "espeak-ng-data",
    "libpcaudio0",
    "libsonic0",
    "libpulse0",
    "libsndfile1",
    "libasyncns0",
    "libdbus-1-3",
    "fortunes",
    "fortunes-min",
)
"""Packages that the spoken texts and the two speech synthesizers need."""

Reader = Literal["files", "queen", "flite", "espeak"]


@dataclass(frozen=True)
class Source:
    """One stream of speech and where it comes from."""

    name: str
    package: str
    licence: str
    minutes: float
    places: tuple[str, ...]
    """Globs below the unpacked package, or the synthesizer's voice."""
    reader: Reader = "files"
    share: float = 1.0
    """How often a second of it is drawn, against other sources."""
    held_out: bool = False


def _many(
    prefix: str, package: str, licence: str, minutes: float, where: str, names: str
) -> list[Source]:
    return [
        Source(f"{prefix}_{n}", package, licence, minutes, (where.format(n),))
        for n in names.split()
    ]


_ASTERISK = "usr/share/asterisk/sounds/{}/**/*.*"
_GPL2 = "GPL-2.0-or-later"

SOURCES: tuple[Source, ...] = (
    Source("allison", "asterisk-core-sounds-en-g722", "CC-BY-SA-3.0", 3.0,
           ("usr/share/asterisk/sounds/en_US_f_Allison/*.g722",), held_out=True),
    Source("rms", "flite", "flite (BSD-like)", 2.0, ("rms",), "flite", held_out=True),
    *(Source(v, "flite", "flite (BSD-like)", 7.0, (v,), "flite", 1.2)
      for v in ("slt", "awb", "kal16")),
    Source("queen", "flight-of-the-amazon-queen", "freely distributable and modifiable", 105.0,
           ("usr/share/scummvm/flight-of-the-amazon-queen/queen.1c",), "queen", 0.8),
    *(Source(f"asterisk_{d[:2]}", f"asterisk-core-sounds-{d[:2]}-g722", licence, 5.0,
             (_ASTERISK.format(d),), share=1.5)
      for d, licence in (("fr_CA_f_June", "CC-BY-SA-3.0"), ("it_IT_m_Carlo", "CC-BY-SA-3.0"),
                         ("ru_RU_f_IvrvoiceRU", "CC-BY-3.0"))),
    Source("menardi", "asterisk-prompt-it-menardi-wav", "CC-BY-SA-3.0", 5.0,
           (_ASTERISK.format("it_IT_f_Menardi"),), share=1.5),
    Source("tuxpaint_en", "tuxpaint-stamps-default", _GPL2, 5.0,
           ("usr/share/tuxpaint/stamps/**/*_desc.ogg",), share=4.0),
    *_many("tuxpaint", "tuxpaint-stamps-default", _GPL2, 3.0,
           "usr/share/tuxpaint/stamps/**/*_desc_{}.ogg", "ru fr es ca ro bg el da be nl lt"),
    *_many("tuberling", "ktuberling-data", _GPL2, 0.7, "usr/share/ktuberling/sounds/{}/**/*.*",
           "en ca da de el es fi fr ga gl it lt nds nl nn pt ro ru sl sr sv uk wa"),
    *_many("klettres", "klettres-data", _GPL2, 0.7, "usr/share/klettres/{}/**/*.ogg",
           "en en_GB cs da de es fr he hu it lt nb nl pt_BR ru uk"),
    *(Source(f"espeak_{v}", "espeak-ng", "GPL-3.0-or-later (program)", 0.5, (v,), "espeak")
      for v in ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f3", "f4", "f5")),
)  # fmt: skip


def gather(work: Path, sources: tuple[Source, ...] = SOURCES) -> None:
    """Write `work`/speech/NAME.npy for every source that is not there yet.

    Args:
        work: the recipe's folder.
        sources: what to gather.
    """
    root, folder = work / "packages", work / "speech"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [s for s in sources if not (folder / f"{s.name}.npy").exists()]
    if not wanted:
        return
    for package in dict.fromkeys([*HELPERS, *(s.package for s in wanted)]):
        unpack(package, root)
    for source in wanted:
        stream = join(clips(source, root), source.minutes)
        if len(stream) < 5 * RATE:
            log.warning("%s: no speech found in %s", source.name, source.package)
            continue
        np.save(folder / f"{source.name}.npy", stream)
        log.info("%s: %.1f min, %s", source.name, len(stream) / RATE / 60, source.licence)


def unpack(package: str, root: Path) -> None:
    """Fetch a Debian package and unpack it below `root`; nothing is installed."""
    mark = root / f".{package}"
    if mark.exists():
        return
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        try:
            subprocess.run(["apt-get", "download", "-qq", package], cwd=folder, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise ConfigError(
                f"The package {package} cannot be fetched with apt-get ({error}). The recipe's "
                "speech comes from Debian packages: run it on Debian, after `apt-get update`."
            ) from error
        deb = next(Path(folder).glob("*.deb"))
        subprocess.run(["dpkg", "-x", str(deb), str(root)], check=True)
    mark.touch()


def clips(source: Source, root: Path) -> Iterator[Audio]:
    """The clips of a source, 16 kHz, in an order drawn once and for all."""
    readers: dict[Reader, Callable[[Source, Path, random.Random], Iterator[Audio]]] = {
        "files": _files,
        "queen": _queen,
        "flite": _flite,
        "espeak": _espeak,
    }
    yield from readers[source.reader](source, root, random.Random(source.name))


def normalise(clip: Audio) -> NDArray[np.int16] | None:
    """A clip at a common level without its silent ends; None when it is too short or too faint."""
    peak = float(np.abs(clip).max()) if len(clip) else 0.0
    if len(clip) < RATE // 10 or peak < 0.02:
        return None
    clip = clip * (0.5 / peak)
    loud = np.flatnonzero(np.abs(clip) > QUIET)
    clip = clip[max(0, loud[0] - RATE // 10) : loud[-1] + RATE // 10]
    rms = float(np.sqrt(np.mean(np.square(clip[np.abs(clip) > QUIET]))))
    clip = clip * min(TARGET_RMS / rms, 0.98 / float(np.abs(clip).max()))
    return (clip * 32767).astype(np.int16)


def join(parts: Iterator[Audio], minutes: float) -> NDArray[np.int16]:
    """Normalised clips one after the other with gaps, up to `minutes`: [samples]."""
    joined: list[NDArray[np.int16]] = [np.zeros(0, np.int16)]
    samples = 0
    for part in parts:
        clip = normalise(part)
        if clip is None or len(clip) > 60 * RATE:
            continue
        joined += [clip, np.zeros(GAP, np.int16)]
        samples += len(clip)
        if samples > minutes * 60 * RATE:
            break
    return np.concatenate(joined)


def read_16k(path: Path) -> Audio:
    """A sound file as mono samples at 16 kHz."""
    file = SoundFile(path)
    return to_16k(file.read(), file.rate)


def to_16k(audio: Audio, rate: int) -> Audio:
    """Samples [n] or [n, channels] at `rate` Hz -> mono at 16 kHz."""
    mono = audio if audio.ndim == 1 else audio.mean(axis=1)
    return mono if rate == RATE else soxr.resample(mono, rate, RATE)


def sentences(root: Path, count: int, seed: int) -> list[str]:
    """English sentences of 4 to 16 words from the fortune files."""
    found: list[str] = []
    for path in sorted((root / "usr/share/games/fortunes").glob("*")):
        if path.suffix or path.is_symlink() or not path.is_file():
            continue
        for quote in path.read_text(errors="ignore").split("\n%\n"):
            text = re.sub(r"\s+", " ", quote.split("--")[0])
            found += re.findall(r"[A-Z][A-Za-z ,']{20,90}[.?!]", text)
    fit = [s for s in found if 4 <= len(s.split()) <= 16]
    random.Random(seed).shuffle(fit)
    return fit[:count]


def speak_flite(root: Path, voice: str, text: str, stretch: float = 1.0) -> Audio:
    """Text spoken by a flite voice, 16 kHz."""
    arguments = ["-voice", voice, "--setf", f"duration_stretch={stretch:.2f}", "-t", text, "-o"]
    return _spoken(root, [str(root / "usr/bin/flite"), *arguments])


def _spoken(root: Path, command: list[str]) -> Audio:
    libraries = [str(root / p) for p in LIBRARIES]
    libraries.append(str(root / LIBRARIES[0] / "pulseaudio"))
    environment = dict(
        os.environ,
        LD_LIBRARY_PATH=":".join(libraries),
        ESPEAK_DATA_PATH=str(root / LIBRARIES[0] / "espeak-ng-data"),
    )
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "spoken.wav"
        subprocess.run([*command, str(wav)], env=environment, check=True, capture_output=True)
        return read_16k(wav)


def _flite(source: Source, root: Path, chance: random.Random) -> Iterator[Audio]:
    texts = sentences(root, 2_000, sum(source.name.encode()))
    for i in range(0, len(texts) - 2, 3):
        text = " ".join(texts[i : i + 3])
        yield speak_flite(root, source.places[0], text, chance.uniform(0.85, 1.15))


def _espeak(source: Source, root: Path, chance: random.Random) -> Iterator[Audio]:
    language = chance.choice(["en-us", "en-gb", "en-gb-scotland"])
    for text in sentences(root, 60, sum(source.name.encode())):
        speed, pitch = str(chance.randint(130, 180)), str(chance.randint(30, 70))
        voice = f"{language}+{source.places[0]}"
        command = ["-v", voice, "-s", speed, "-p", pitch, text, "-w"]
        yield _spoken(root, [str(root / "usr/bin/espeak-ng"), *command])


def _files(source: Source, root: Path, chance: random.Random) -> Iterator[Audio]:
    paths = sorted(path for place in source.places for path in root.glob(place) if path.is_file())
    chance.shuffle(paths)
    for path in paths:
        if re.search("silence|beep|tone", path.name):
            continue
        try:
            yield (_g722(path.read_bytes()) if path.suffix == ".g722" else read_16k(path))
        except AudioError as error:
            log.debug("left out: %s", error)


def _g722(data: bytes) -> Audio:
    """Raw G.722, 16 kHz, as Asterisk stores its prompts."""
    import av

    with av.open(io.BytesIO(data), format="g722") as container:
        frames = [f.to_ndarray().reshape(-1) for f in container.decode(audio=0)]
    return np.concatenate(frames).astype(np.float32) / 32768


def _queen(source: Source, root: Path, chance: random.Random) -> Iterator[Audio]:
    """The spoken lines in the adventure game's archive: some thirty actors, MP3.

    The archive starts with "QTBL", a version, a compression byte and the number of entries; an
    entry is 12 bytes of name, a byte, and offset and size as big-endian 32-bit numbers. The names
    of spoken lines end in ".SB".
    """
    data = (root / source.places[0]).read_bytes()
    (count,) = struct.unpack(">H", data[13:15])
    entries = [struct.unpack(">12sBII", data[15 + 21 * k : 36 + 21 * k]) for k in range(count)]
    lines = [(at, size) for name, _, at, size in entries if b".SB" in name and size > 5_000]
    chance.shuffle(lines)
    for at, size in lines:
        audio, rate = soundfile.read(io.BytesIO(data[at : at + size]), dtype="float32")
        yield to_16k(np.asarray(audio, np.float32), rate)
