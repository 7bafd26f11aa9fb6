"""What the starter voice is worth, on people whom nothing was trained on.

Each clip is converted by the engine as a live stream would be. Words are compared after recognition
by whisper-tiny.en, speakers with Resemblyzer's embeddings, pitch frame by frame.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from offline.judge.melody import compare_melodies
from offline.judge.words import errors, words
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
from stream.errors import BadBundle
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


@dataclass(frozen=True)
class Tools:
    """What judges: a recogniser, speaker embeddings and a pitch detector."""

    transcribe: Transcribe
    embed: Embed
    f0: Detect


@dataclass(frozen=True)
class Source:
    """A clip and what the tools find in it before it is converted.

    Where nobody wrote down what is said, what is recognised stands for it.
    """

    people: str
    audio: Audio
    said: Sequence[str]
    heard: Sequence[str]
    like: Audio
    f0: Audio


def source_of(item: Item, tools: Tools) -> Source:
    """What there is to know of an item."""
    heard = words(tools.transcribe(item.audio))
    said = words(item.text) if item.text else heard
    return Source(
        item.people, item.audio, said, heard, tools.embed(item.audio), tools.f0(item.audio)
    )


def score(sources: Sequence[Source], target: Audio, convert: Convert, tools: Tools) -> Scores:
    """Convert and judge one set of clips; `target` [n] is speech of the target at 16 kHz."""
    converted = [convert(source.audio) for source in sources]
    after = [words(tools.transcribe(c)) for c in converted]
    for source, a in zip(sources, after, strict=True):
        log.info("%s | %s", " ".join(source.said), " ".join(a))
    total = max(1, sum(len(source.said) for source in sources))
    goal = tools.embed(target)
    now = [tools.embed(c) for c in converted]
    kept = [compare_melodies(s.f0, tools.f0(c)) for s, c in zip(sources, converted, strict=True)]
    return Scores(
        clips=len(sources),
        words=total,
        wer_source=sum(errors(s.said, s.heard) for s in sources) / total,
        wer_converted=sum(errors(s.said, a) for s, a in zip(sources, after, strict=True)) / total,
        similarity_target=float(np.mean([n @ goal for n in now])),
        similarity_source=float(np.mean([n @ s.like for n, s in zip(now, sources, strict=True)])),
        source_like_target=float(np.mean([s.like @ goal for s in sources])),
        f0_correlation=float(np.nanmean([k.correlation for k in kept])),
        voicing_agreement=float(np.mean([1.0 - k.voicing_error for k in kept])),
    )


def evaluate(work: Path, recordings: Path, names: Sequence[str]) -> dict[str, dict[str, Scores]]:
    """Judge voices on the held-out people; writes `work`/evaluation.json.

    Returns for each voice the scores by people.
    """
    store = Store()
    tools = Tools(whisper(whisper_folder(work)), resemblyzer(), detector(store.load(names[0])))
    sources = [source_of(item, tools) for item in held_out(work, recordings)]
    found: dict[str, dict[str, Scores]] = {}
    for name in names:
        preview = store.preview(name)
        if preview is None:
            raise BadBundle(store.folder(name), "it has no preview to compare with")
        target, convert = read_16k(preview), through_engine(store.load(name))
        found[name] = {
            people: score([s for s in sources if s.people == people], target, convert, tools)
            for people in dict.fromkeys(s.people for s in sources)
        }
        report = {n: {p: asdict(s) for p, s in people.items()} for n, people in found.items()}
        text = json.dumps(report, indent=2) + "\n"
        (work / "evaluation.json").write_text(text, encoding="utf-8")
    return found


def table(found: dict[str, dict[str, Scores]]) -> str:
    """The scores as a Markdown table."""
    rows = [(name, who, asdict(s)) for name, people in found.items() for who, s in people.items()]
    lines = ["| voice | people | " + " | ".join(n.replace("_", " ") for n in rows[0][2]) + " |"]
    lines.append("|---" * (len(rows[0][2]) + 2) + "|")
    for name, who, scores in rows:
        values = [f"{v:.3f}" if isinstance(v, float) else str(v) for v in scores.values()]
        lines.append(f"| {name} | {who} | " + " | ".join(values) + " |")
    return "\n".join(lines)
