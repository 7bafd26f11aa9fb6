"""Whether the words survive: recognised before and after, and counted."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from stream.audio import Audio
from stream.errors import ConfigError
from stream.models.assets import installed, missing

MODEL: Final = "whisper-tiny-en"
UNITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
SPELLED = {"mr": "mister", "mrs": "missus", "ok": "okay"}

Recognise = Callable[[Audio], str]
"""16 kHz speech [n] -> what is said."""


def words(text: str) -> list[str]:
    """Lower-case words; small numbers and common abbreviations as they are said.

    >>> words("Mr. Dashwood's 2 ill-disposed cats")
    ['mister', "dashwood's", 'two', 'ill', 'disposed', 'cats']
    """
    found = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*|\d+", text.lower().replace("\u2019", "'"))
    numbers = [UNITS[int(w)] if w.isdigit() and int(w) < len(UNITS) else w for w in found]
    return [SPELLED.get(word, word) for word in numbers]


def errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """Least number of items to insert, delete and replace to get from one to the other.

    Law: a metric: 0 only for equal ones, symmetric, never more than by way of a third. Of words it
    counts words, of text letters.

    >>> errors(["a", "b", "c"], ["a", "x", "c", "d"]), errors("kitten", "sitting")
    (2, 3)
    """
    row = list(range(len(heard) + 1))
    for i, one in enumerate(said, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            cost = min(row[j] + 1, row[j - 1] + 1, before + (one != other))
            before, row[j] = row[j], cost
    return row[-1]


def open_recogniser(home: Path, model: Path | None = None) -> Recognise:
    """Whisper by faster-whisper, always the same words for the same sound.

    model  a folder with a model in CTranslate2's format; by default the one that is installed

    Raises `ConfigError` when the package is not there, `AssetMissing` when the model is not.
    """
    try:
        from faster_whisper import WhisperModel  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError(
            "Words can be counted only with faster-whisper: pip install 'timbral[recipe]'."
        ) from error
    if model is None:
        if not installed(home, MODEL):
            raise missing(MODEL, "words", home, needed_by="Counting wrong words")
        model = home / "models" / MODEL
    if not (model / "model.bin").is_file():
        raise ConfigError(f"There is no Whisper model in CTranslate2's format in {model}.")
    english = "en" if model.name.endswith("en") else None
    whisper: Any = WhisperModel(str(model), device="cpu", compute_type="float32", cpu_threads=1)

    def recognise(audio: Audio) -> str:
        found, _ = whisper.transcribe(
            audio.astype(np.float32),
            beam_size=5,
            language=english,
            temperature=0.0,  # no second tries with chance in them
            condition_on_previous_text=False,
        )
        return " ".join(part.text.strip() for part in found)

    return recognise
