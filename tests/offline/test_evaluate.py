"""The figures of the starter's evaluation, on cases whose answer is known."""

import math

import numpy as np
import pytest

from offline.train.starter.evaluate import (
    Item,
    Tools,
    pitch_scores,
    score,
    table,
    word_errors,
    words,
)
from stream.audio import Audio


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [("", "", 0), ("a", "", 1), ("", "a b", 2), ("a b c", "a c", 1), ("a b c", "x b y c", 2)],
)
def test_word_errors_are_the_fewest_edits(said: str, heard: str, errors: int) -> None:
    assert word_errors(said.split(), heard.split()) == errors


def test_spelling_does_not_count_as_an_error() -> None:
    assert words("Mr. Dashwood's 2 ill-disposed cats.") == words(
        "mister dashwood\u2019s TWO ill disposed cats"
    )


def test_pitch_that_follows_correlates_fully() -> None:
    source = np.array([0, *np.geomspace(100, 200, 20), 0], np.float32)
    correlation, agreement = pitch_scores(source, 1.5 * source)
    assert correlation == pytest.approx(1.0)
    assert agreement == 1.0


def test_pitch_without_common_voice_has_no_correlation() -> None:
    voiced, silent = np.full(20, 100, np.float32), np.zeros(20, np.float32)
    correlation, agreement = pitch_scores(voiced, silent)
    assert math.isnan(correlation)
    assert agreement == 0.0


def test_a_perfect_conversion_scores_perfectly() -> None:
    items = [Item("one", np.full(3_200, level, np.float32), "a b") for level in (0.1, 0.2)]
    f0 = np.geomspace(100, 200, 20).astype(np.float32)

    def embed(clip: Audio) -> Audio:
        mine = float(clip[0]) == 0.5
        return np.array([1.0, 0.0] if mine else [0.0, 1.0], np.float32)

    tools = Tools(transcribe=lambda _: "A b.", embed=embed, f0=lambda _: f0)
    target = np.full(100, 0.5, np.float32)
    scores = score(items, target, lambda clip: np.full_like(clip, 0.5), tools)
    assert (scores.clips, scores.words) == (2, 4)
    assert scores.wer_source == scores.wer_converted == 0.0
    assert (scores.similarity_target, scores.similarity_source) == (1.0, 0.0)
    assert scores.f0_correlation == pytest.approx(1.0)
    assert table({"one": scores}).count("\n") == 2
