"""What the starter voice is worth, on people whom nothing was trained on.

Each clip is converted by the engine as a live stream would be. Words are compared after recognition
by whisper-tiny.en, speakers with Resemblyzer's embeddings, pitch frame by frame.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from offline.train.starter.speech import (
    RATE,
    SOURCES,
    clips,
    normalise,
    read_16k,
    sentences,
    speak_flite,
)
from offline.train.starter.teacher import whisper_folder
from stream.audio import Audio
from stream.engine import Conversion
from stream.models.store import Store
from stream.models.voice import Voice
from stream.profiles import STEADY

log = logging.getLogger(__name__)

Convert = Callable[[Audio], Audio]
Transcribe = Callable[[Audio], str]
Embed = Callable[[Audio], Audio]
Detect = Callable[[Audio], Audio]

PROMPTS = 40
"""Prompts of the held-out telephone voice."""
SPOKEN = 30
"""Sentences of the held-out synthetic voice."""
UNITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
SPELLED = {"mr": "mister", "mrs": "missus", "ok": "okay"}


@dataclass(frozen=True)
class Item:
    """A clip of held-out speech, 16 kHz, with what is said, or "" where nobody wrote it down."""

    people: str
    audio: Audio
    text: str


@dataclass(frozen=True)
class Scores:
    """Figures of one set of clips. Rates and similarities are 0..1, smaller errors are better."""

    clips: int
    words: int
    wer_source: float
    wer_converted: float
    similarity_target: float
    similarity_source: float
    source_like_target: float
    f0_correlation: float
    voicing_agreement: float


def words(text: str) -> list[str]:
    """Lower-case words; small numbers and common abbreviations as they are said.

    >>> words("Mr. Dashwood's 2 ill-disposed cats")
    ['mister', "dashwood's", 'two', 'ill', 'disposed', 'cats']
    """
    found = re.findall(r"[a-z']+|\d+", text.lower().replace("\u2019", "'"))
    plain = [w.strip("'") for w in found]
    numbers = [UNITS[int(w)] if w.isdigit() and int(w) < len(UNITS) else w for w in plain]
    return [SPELLED.get(w, w) for w in numbers if w]


def word_errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """Least number of words to insert, delete and replace to get from one to the other.

    >>> word_errors(["a", "b", "c"], ["a", "x", "c", "d"])
    2
    """
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            cost = min(row[j] + 1, row[j - 1] + 1, before + (word != other))
            before, row[j] = row[j], cost
    return row[-1]


def pitch_scores(source: Audio, converted: Audio) -> tuple[float, float]:
    """Correlation of log f0 where both [n] are voiced, and the share of frames that agree.

    The correlation is NaN where fewer than 10 frames are voiced in both.
    """
    n = min(len(source), len(converted))
    a, b = source[:n], converted[:n]
    both = (a > 0) & (b > 0)
    agree = float(np.mean((a > 0) == (b > 0)))
    if both.sum() < 10:
        return float("nan"), agree
    return float(np.corrcoef(np.log(a[both]), np.log(b[both]))[0, 1]), agree


def held_out(work: Path, recordings: Path) -> list[Item]:
    """The clips: a telephone voice, a synthetic voice, and `recordings` with transcripts.json."""
    root = work / "packages"
    source = next(s for s in SOURCES if s.name == "allison")
    fit = (c for c in clips(source, root) if 2 * RATE <= len(c) <= 9 * RATE)
    items = [Item("Allison", _level(c), "") for c, _ in zip(fit, range(PROMPTS), strict=False)]
    items += [
        Item("flite rms", _level(speak_flite(root, "rms", text)), text)
        for text in sentences(root, SPOKEN, seed=2026)
    ]
    texts: dict[str, str] = json.loads((recordings / "transcripts.json").read_text("utf-8"))
    return items + [
        Item("LibriVox", read_16k(recordings / name), text) for name, text in texts.items()
    ]


def _level(clip: Audio) -> Audio:
    levelled = normalise(clip)
    return clip if levelled is None else levelled.astype(np.float32) / 32768


def through_engine(voice: Voice) -> Convert:
    """Convert a clip at 16 kHz as a live stream of the `balanced` profile."""

    def convert(clip: Audio) -> Audio:
        stream = Conversion(voice, RATE, profile=STEADY["balanced"])
        return np.concatenate([stream.step(clip), stream.flush()])

    return convert


def whisper(model: Path) -> Transcribe:
    """Recognition by whisper-tiny.en, beam 5."""
    from faster_whisper import WhisperModel

    asr: Any = WhisperModel(str(model), device="cpu", compute_type="float32", cpu_threads=1)

    def transcribe(clip: Audio) -> str:
        found, _ = asr.transcribe(
            clip.astype(np.float32),
            beam_size=5,
            language="en",
            temperature=0.0,  # no second tries with chance in them: the same clip, the same words
            condition_on_previous_text=False,
        )
        return " ".join(part.text.strip() for part in found)

    return transcribe


def resemblyzer() -> Embed:
    """Speaker embeddings of unit length, [256]."""
    from resemblyzer import VoiceEncoder, preprocess_wav

    encoder: Any = VoiceEncoder("cpu", verbose=False)
    return lambda clip: encoder.embed_utterance(preprocess_wav(clip, RATE))


def detector(voice: Voice) -> Detect:
    """f0 in Hz at 100 frames a second, 0 where unvoiced, as the engine hears it."""
    detect, late = voice.detectors["swift"], voice.encoder.card.delay_frames

    def f0(clip: Audio) -> Audio:
        n = len(clip) // 320
        before = detect.window(n, late) - 320 * (n + late)
        return detect(np.pad(clip[: 320 * n], (before, 320 * late)), n, late)[: 2 * n]

    return f0


def score(items: Sequence[Item], target: Audio, convert: Convert, tools: Tools) -> Scores:
    """Convert and judge one set of clips; `target` [n] is speech of the target at 16 kHz."""
    converted = [convert(item.audio) for item in items]
    heard = [words(tools.transcribe(item.audio)) for item in items]
    # where nobody wrote down what is said, what is recognised in the source stands for it
    said = [words(i.text) if i.text else h for i, h in zip(items, heard, strict=True)]
    after = [words(tools.transcribe(c)) for c in converted]
    for s, a in zip(said, after, strict=True):
        log.info("%s | %s", " ".join(s), " ".join(a))
    total = max(1, sum(map(len, said)))
    goal = tools.embed(target)
    was = [tools.embed(item.audio) for item in items]
    now = [tools.embed(c) for c in converted]
    pitch = [
        pitch_scores(tools.f0(i.audio), tools.f0(c)) for i, c in zip(items, converted, strict=True)
    ]
    return Scores(
        clips=len(items),
        words=total,
        wer_source=sum(map(word_errors, said, heard)) / total,
        wer_converted=sum(map(word_errors, said, after)) / total,
        similarity_target=float(np.mean([n @ goal for n in now])),
        similarity_source=float(np.mean([n @ w for n, w in zip(now, was, strict=True)])),
        source_like_target=float(np.mean([w @ goal for w in was])),
        f0_correlation=float(np.nanmean([p[0] for p in pitch])),
        voicing_agreement=float(np.mean([p[1] for p in pitch])),
    )


@dataclass(frozen=True)
class Tools:
    """What judges: a recogniser, speaker embeddings and a pitch detector."""

    transcribe: Transcribe
    embed: Embed
    f0: Detect


def evaluate(work: Path, recordings: Path, name: str = "starter") -> dict[str, Scores]:
    """Judge a voice on the held-out people; writes `work`/evaluation.json."""
    store = Store()
    voice = store.load(name)
    preview = store.preview(name)
    target = read_16k(preview) if preview else _target(work)
    tools = Tools(whisper(whisper_folder(work)), resemblyzer(), detector(voice))
    items = held_out(work, recordings)
    found = {
        people: score(
            [i for i in items if i.people == people], target, through_engine(voice), tools
        )
        for people in dict.fromkeys(i.people for i in items)
    }
    report = {people: asdict(scores) for people, scores in found.items()}
    (work / "evaluation.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return found


def _target(work: Path) -> Audio:
    """Some half a minute of the target's own recordings."""
    paths = sorted((work / "target").glob("*.wav"))[:10]
    return np.concatenate([read_16k(path) for path in paths])


def table(found: dict[str, Scores]) -> str:
    """The scores as a Markdown table."""
    names = list(asdict(next(iter(found.values()))))
    lines = ["| people | " + " | ".join(n.replace("_", " ") for n in names) + " |"]
    lines.append("|---" * (len(names) + 1) + "|")
    for people, scores in found.items():
        values = [f"{v:.3f}" if isinstance(v, float) else str(v) for v in asdict(scores).values()]
        lines.append(f"| {people} | " + " | ".join(values) + " |")
    return "\n".join(lines)
