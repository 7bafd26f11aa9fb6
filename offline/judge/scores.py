"""Judges conversions of held-out recordings, and says which step of a training is the best."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol, TypeVar

import numpy as np
import soxr

from offline.judge.melody import compare_melodies
from offline.judge.similarity import Embed, open_speaker, similarity, speaker_of
from offline.judge.spectra import Spectra
from offline.judge.words import Recognise, errors, open_recogniser, words
from stream.audio import ANALYSIS_RATE, Audio
from stream.errors import ConfigError, ModelError
from stream.models.f0 import Detectors

REFERENCES: Final = 20  # clips of the voice's own that its embedding is made of


class Example(Protocol):
    """A recording."""

    @property
    def audio(self) -> Audio: ...  # [n]


class Clip(Protocol):
    """A recording that can be fetched."""

    def load(self) -> Example: ...


ClipT = TypeVar("ClipT", bound=Clip)


@dataclass(frozen=True, kw_only=True)
class Judges:
    """Who judges. None where a judge is not installed; `missing` tells why and how to get it.

    f0         16 kHz audio -> pitch of 10 ms frames, 0 where unvoiced
    embed      who speaks; `target` is the voice's own embedding
    recognise  what is said
    """

    f0: Callable[[Audio], Audio]
    embed: Embed | None = None
    target: Audio | None = None
    recognise: Recognise | None = None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Means over clips. None where nobody could judge.

    mel_db         distance of the mel spectra frame by frame, dB
    mcd_db         mel-cepstral distortion after time warping, dB
    f0_correlation of log f0, -1..1
    f0_cents       median distance of the melody, transposition apart
    voicing_error  share of frames voiced in one only, 0..1
    similarity     to the voice, -1..1
    wer, cer       wrong words and letters, as shares of those that are recognised in the source
    """

    clips: int
    seconds: float
    mel_db: float
    mcd_db: float
    f0_correlation: float
    f0_cents: float
    voicing_error: float
    similarity: float | None = None
    wer: float | None = None
    cer: float | None = None

    @property
    def told(self) -> dict[str, float]:
        """Every figure that is a number, by its name."""
        return {name: value for name, value in self.judged.items() if np.isfinite(value)}

    @property
    def judged(self) -> dict[str, float]:
        """Every figure that somebody judged; NaN where there was nothing to go by."""
        figures = {name: getattr(self, name) for name in MEASURES}
        return {name: float(value) for name, value in figures.items() if value is not None}

    @property
    def value(self) -> float:
        """One figure, the lower the better: each error against what is usual, weighted."""
        known = self.judged
        weight = sum(MEASURES[name].weight for name in known)
        return sum(MEASURES[n].weight * MEASURES[n].badness(v) for n, v in known.items()) / weight

    @property
    def words(self) -> str:
        """The figures as one sentence."""
        parts = [
            f"the spectrum is {self.mel_db:.1f} dB off ({self.mcd_db:.1f} dB mel-cepstral)",
            f"the melody is kept to {self.f0_cents:.0f} cents (correlation "
            f"{self.f0_correlation:.3f}, {self.voicing_error:.1%} of the voicing wrong)",
        ]
        if self.similarity is not None:
            parts.append(f"the speaker is {self.similarity:.2f} like the voice")
        if self.wer is not None:
            parts.append(f"{self.wer:.0%} of the words are lost")
        return f"On {self.clips} held-out clips {', '.join(parts)}."


@dataclass(frozen=True)
class Measure:
    """How a figure counts: its share of the whole, and what is usual; 1 - it where more is good."""

    label: str
    weight: float
    usual: float
    high: bool = False

    def badness(self, value: float) -> float:
        """1 at what is usual, 0 at perfect."""
        wrong = 1.0 - value if self.high else value
        return wrong / self.usual if np.isfinite(wrong) else 2.0


MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        "mel_db": Measure("mel distance, dB", 2.0, 6.0),
        "mcd_db": Measure("MCD, dB", 1.0, 6.0),
        "f0_correlation": Measure("f0 correlation", 1.0, 0.1, high=True),
        "f0_cents": Measure("melody, cents", 0.5, 20.0),
        "voicing_error": Measure("voicing error", 1.0, 0.1),
        "similarity": Measure("like the voice", 2.0, 0.2, high=True),
        "wer": Measure("words lost", 2.0, 0.2),
        "cer": Measure("letters lost", 0.5, 0.1),
    }
)
"""The figures that count for the best step. The spectrum, the speaker and the words count most."""


def open_judges(home: Path, own: Sequence[Clip], rate: int) -> Judges:
    """The judges that are installed.

    own   clips of the voice itself, of which the first 20 say who it is
    rate  Hz, of the clips
    """
    missing: list[str] = []
    embed = target = recognise = None
    try:
        embed = open_speaker(home)
        heard = [analysis(clip.load().audio, rate) for clip in own[:REFERENCES]]
        target = speaker_of(embed, heard) if heard else None
    except ModelError as error:
        missing.append(str(error))
    try:
        recognise = open_recogniser(home)
    except (ConfigError, ModelError) as error:
        missing.append(str(error))
    return Judges(
        f0=Detectors(home)["swift"].detect_file,
        embed=embed if target is not None else None,
        target=target,
        recognise=recognise,
        missing=tuple(missing),
    )


def judge(
    convert: Callable[[ClipT], Audio], clips: Sequence[ClipT], *, rate: int, judges: Judges
) -> Scores:
    """Convert each clip and compare with it: sound, melody, words; and the speaker with the voice.

    convert  gives [n] at `rate`, in step with the clip
    rate     Hz, of the clips and of what `convert` gives

    For clips of the voice itself all figures count; for other people's, the spectra are far apart
    by nature. Raises `ValueError` without clips.
    """
    if not clips:
        raise ValueError("nothing to judge by: there are no clips")
    spectra = Spectra(rate)
    found = [_one(clip.load().audio, convert(clip), spectra, judges) for clip in clips]
    known = np.array([[*one.figures] for one in found])
    said = sum(len(one.said) for one in found)
    letters = sum(len(" ".join(one.said)) for one in found)
    recognised = judges.recognise is not None and said > 0
    return Scores(
        clips=len(found),
        seconds=float(sum(one.seconds for one in found)),
        **dict(zip(FIGURES, (_mean(column) for column in known.T), strict=True)),
        similarity=_mean(np.array([one.like for one in found])) if judges.embed else None,
        wer=sum(errors(one.said, one.heard) for one in found) / said if recognised else None,
        cer=sum(errors(" ".join(one.said), " ".join(one.heard)) for one in found) / letters
        if recognised
        else None,
    )


FIGURES = ("mel_db", "mcd_db", "f0_correlation", "f0_cents", "voicing_error")


@dataclass(frozen=True)
class _Judged:
    seconds: float
    figures: tuple[float, ...]  # FIGURES
    like: float
    said: list[str]
    heard: list[str]


def _one(source: Audio, converted: Audio, spectra: Spectra, judges: Judges) -> _Judged:
    n, rate = min(len(source), len(converted)), spectra.rate
    before, after = (analysis(audio[:n], rate) for audio in (source, converted))
    kept = compare_melodies(judges.f0(before), judges.f0(after))
    like = float("nan")
    if judges.embed is not None and judges.target is not None:
        like = similarity(judges.embed(after), judges.target)
    hear = judges.recognise
    return _Judged(
        seconds=n / rate,
        figures=(
            spectra.mel_distance(source, converted),
            spectra.mcd(source, converted),
            kept.correlation,
            kept.cents,
            kept.voicing_error,
        ),
        like=like,
        said=words(hear(before)) if hear else [],
        heard=words(hear(after)) if hear else [],
    )


def _mean(values: Audio) -> float:
    """Of those that are numbers; NaN when there is none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def analysis(audio: Audio, rate: int) -> Audio:
    """[n] at `rate` -> at 16 kHz."""
    heard = soxr.resample(audio, rate, ANALYSIS_RATE) if rate != ANALYSIS_RATE else audio
    return np.asarray(heard, np.float32)


def best(history: Mapping[int, Scores]) -> int:
    """The step with the least weighted mean rank over all figures that every step has.

    Ranks, because the figures have no common unit: how far ahead a step is in one of them does not
    matter. Equal figures share their rank; of equal steps the earliest wins. Laws: a step that is
    the best in every figure is chosen, and a figure's scale does not matter. Raises `ValueError`
    for an empty history.
    """
    if not history:
        raise ValueError("no step was judged")
    steps = sorted(history)
    total = np.zeros(len(steps))
    for name, measure in MEASURES.items():
        told = [history[step].judged.get(name) for step in steps]
        if any(value is None for value in told):
            continue
        bad = np.array([measure.badness(value) for value in told if value is not None])
        below = np.sum(bad[:, None] > bad, axis=1)
        equal = np.sum(bad[:, None] == bad, axis=1)
        total += measure.weight * (below + (equal - 1) / 2.0)
    return steps[int(np.argmin(np.round(total, 9)))]


def worse_since(history: Mapping[int, Scores]) -> int:
    """How many judged steps came after the best one: what patience is compared with."""
    chosen = best(history)
    return sum(step > chosen for step in history)


def table(history: Mapping[str, Scores]) -> tuple[list[str], list[list[str]]]:
    """(head, rows) of named scores, for a report or a card, without what nobody has."""
    known = [name for name in MEASURES if any(name in s.told for s in history.values())]
    head = ["", "clips", *(MEASURES[name].label for name in known)]
    rows = [
        [name, str(s.clips), *(f"{s.told[k]:.3f}" if k in s.told else "-" for k in known)]
        for name, s in history.items()
    ]
    return head, rows


def read_scores(told: Mapping[str, float | int | None]) -> Scores:
    """Scores from what `dataclasses.asdict` made of them; raises `ValueError` for other names."""
    wanted = {field.name for field in fields(Scores)}
    if not set(told) <= wanted:
        raise ValueError(f"no scores: {sorted(set(told) - wanted)}")
    return Scores(**told)  # type: ignore[arg-type]
