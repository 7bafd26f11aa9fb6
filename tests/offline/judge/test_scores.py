"""Judging, and choosing the best step."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline.judge.scores import (
    MEASURES,
    Judges,
    Scores,
    best,
    judge,
    open_judges,
    read_scores,
    table,
    worse_since,
)
from stream.audio import Audio

RATE = 24_000
share = st.floats(0.0, 1.0, allow_subnormal=False)
GOOD = Scores(
    clips=2,
    seconds=3.0,
    mel_db=4.0,
    mcd_db=4.0,
    f0_correlation=0.99,
    f0_cents=5.0,
    voicing_error=0.03,
    similarity=0.9,
    wer=0.05,
    cer=0.02,
)
BAD = Scores(
    clips=2,
    seconds=3.0,
    mel_db=8.0,
    mcd_db=7.0,
    f0_correlation=0.8,
    f0_cents=50.0,
    voicing_error=0.2,
    similarity=0.6,
    wer=0.5,
    cer=0.4,
)


@dataclass(frozen=True)
class Recording:
    audio: Audio


@dataclass(frozen=True)
class Clip:
    hz: float

    def load(self) -> Recording:
        t = np.arange(RATE // 2) / RATE
        phase = 2 * np.pi * (self.hz * t + 3.0 * np.sin(2 * np.pi * 2 * t))
        sound = np.sum([np.cos(k * phase) / k for k in range(1, 12)], axis=0)
        return Recording((0.1 * sound).astype(np.float32))


def judges(home: Path, **others: object) -> Judges:
    return replace(open_judges(home, [], RATE), **others)  # type: ignore[arg-type]


def untuned(audio: Audio) -> Audio:
    """A detector that hears no pitch."""
    return np.zeros(len(audio) // 160, np.float32)


def judged(convert: Callable[[Clip], Audio], who: Judges) -> Scores:
    return judge(convert, [Clip(120.0), Clip(170.0)], rate=RATE, judges=who)


def test_a_conversion_that_changes_nothing_is_perfect(tmp_path: Path) -> None:
    scores = judged(lambda clip: clip.load().audio, judges(tmp_path))
    assert scores.mel_db == 0.0
    assert scores.mcd_db < 0.01
    assert scores.f0_correlation > 0.999
    assert scores.f0_cents < 1.0
    assert scores.voicing_error == 0.0
    assert (scores.clips, scores.seconds) == (2, 1.0)
    assert scores.similarity is scores.wer is scores.cer is None


def test_noise_worsens_every_figure_and_the_value(tmp_path: Path) -> None:
    who = judges(tmp_path, f0=untuned)

    def noisy(clip: Clip) -> Audio:
        noise = np.random.default_rng(1).normal(size=RATE // 2)
        return (0.2 * clip.load().audio + 0.05 * noise).astype(np.float32)

    good, bad = judged(lambda clip: clip.load().audio, who), judged(noisy, who)
    assert bad.mel_db > good.mel_db + 5.0
    assert bad.mcd_db > good.mcd_db + 1.0
    assert bad.value > good.value


def test_who_is_not_installed_is_named_with_what_to_do(tmp_path: Path) -> None:
    who = open_judges(tmp_path, [Clip(100.0)], RATE)
    assert who.embed is who.recognise is None
    assert any("timbral models pull speaker-ge2e" in text for text in who.missing)
    assert len(who.missing) == 2


def test_speaker_and_words_are_judged_by_what_is_given(tmp_path: Path) -> None:
    def embed(audio: Audio) -> Audio:
        loud = float(np.abs(audio).max())
        return np.array([loud, np.sqrt(1.0 - loud * loud)], np.float32)

    def recognise(audio: Audio) -> str:
        return "one two three four" if np.abs(audio).max() > 0.2 else "one too three"

    who = judges(
        tmp_path,
        f0=untuned,
        embed=embed,
        target=np.array([1.0, 0.0], np.float32),
        recognise=recognise,
    )
    same = judged(lambda clip: clip.load().audio, who)
    softer = judged(lambda clip: 0.2 * clip.load().audio, who)
    assert (same.wer, same.cer) == (0.0, 0.0)
    assert softer.wer == 0.5
    assert softer.cer == pytest.approx(6 / 18)
    assert same.similarity is not None
    assert softer.similarity == pytest.approx(0.2 * same.similarity, rel=0.01)


def test_without_clips_nothing_is_judged(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no clips"):
        judge(lambda clip: clip.load().audio, list[Clip](), rate=RATE, judges=judges(tmp_path))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.floats(0.0, 1.0, allow_subnormal=False)] * len(MEASURES)),
        min_size=1,
        max_size=5,
    ),
    st.integers(0, 4),
)
def test_a_step_that_is_best_in_all_figures_is_chosen(
    rows: list[tuple[float, ...]], place: int
) -> None:
    steps = [replace(BAD, **dict(zip(MEASURES, row, strict=True))) for row in rows]
    perfect = {name: 1.01 if measure.high else -0.01 for name, measure in MEASURES.items()}
    place = min(place, len(steps))
    steps.insert(place, replace(BAD, **perfect))
    assert best({100 * i: scores for i, scores in enumerate(steps)}) == 100 * place


@settings(max_examples=20, deadline=None)
@given(st.floats(0.01, 100.0), st.sampled_from(sorted(MEASURES)))
def test_the_scale_of_a_figure_does_not_matter(scale: float, name: str) -> None:
    history = {
        1: replace(GOOD, mel_db=5.0, wer=0.10, f0_cents=9.0),
        2: replace(GOOD, mel_db=4.0, wer=0.12, f0_cents=8.0),
        3: replace(GOOD, mel_db=4.5, wer=0.05, f0_cents=7.0),
    }
    scaled = {k: replace(s, **{name: scale * s.told[name]}) for k, s in history.items()}
    assert best(scaled) == best(history) == 3


def test_of_equal_steps_the_earliest_wins_and_patience_counts_what_follows() -> None:
    history = {100: BAD, 200: GOOD, 300: GOOD, 400: BAD}
    assert best(history) == 200
    assert worse_since(history) == 2
    assert worse_since({100: BAD, 200: GOOD}) == 0
    with pytest.raises(ValueError, match="no step"):
        best({})


def test_a_figure_that_one_step_lacks_does_not_count() -> None:
    deaf = replace(BAD, mel_db=3.0, mcd_db=3.0, similarity=None, wer=None, cer=None)
    better = replace(BAD, mel_db=3.5, mcd_db=3.5, similarity=0.99, wer=0.0, cer=0.0)
    assert best({1: deaf, 2: better}) == 1


def test_no_pitch_at_all_is_no_reason_to_be_chosen() -> None:
    mute = replace(GOOD, f0_correlation=float("nan"))
    assert mute.value > GOOD.value
    assert best({1: mute, 2: GOOD}) == 2


def test_scores_are_told_in_words_rows_and_json() -> None:
    assert "5% of the words are lost" in GOOD.words
    assert "4.0 dB off" in GOOD.words
    head, rows = table({"held out": GOOD, "others": replace(GOOD, wer=None)})
    assert head[2] == MEASURES["mel_db"].label
    assert rows[0][0] == "held out"
    assert rows[1][head.index(MEASURES["wer"].label)] == "-"
    assert read_scores(json.loads(json.dumps(asdict(GOOD)))) == GOOD
    with pytest.raises(ValueError, match="loudness"):
        read_scores({"loudness": 1.0})
