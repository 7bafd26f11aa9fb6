"""The figures of the starter's evaluation, on cases whose answer is known."""

import numpy as np
import pytest

from offline.train.starter.evaluate import Item, Tools, score, source_of, table
from stream.audio import Audio


def test_a_perfect_conversion_scores_perfectly() -> None:
    items = [Item("one", np.full(3_200, level, np.float32), "a b") for level in (0.1, 0.2)]
    f0 = np.geomspace(100, 200, 20).astype(np.float32)

    def embed(clip: Audio) -> Audio:
        mine = float(clip[0]) == 0.5
        return np.array([1.0, 0.0] if mine else [0.0, 1.0], np.float32)

    tools = Tools(transcribe=lambda _: "A b.", embed=embed, f0=lambda _: f0)
    target = np.full(100, 0.5, np.float32)
    sources = [source_of(item, tools) for item in items]
    scores = score(sources, target, lambda clip: np.full_like(clip, 0.5), tools)
    assert (scores.clips, scores.words) == (2, 4)
    assert scores.wer_source == scores.wer_converted == 0.0
    assert (scores.similarity_target, scores.similarity_source) == (1.0, 0.0)
    assert scores.f0_correlation == pytest.approx(1.0)
    assert table({"ada": {"one": scores}}).count("\n") == 2


def test_where_nobody_wrote_down_what_is_said_the_source_is_the_reference() -> None:
    flat = np.zeros(20, np.float32)
    tools = Tools(transcribe=lambda _: "A b.", embed=lambda _: np.ones(2), f0=lambda _: flat)
    source = source_of(Item("one", np.zeros(3_200, np.float32), ""), tools)
    assert list(source.said) == list(source.heard) == ["a", "b"]
    written = source_of(Item("one", np.zeros(3_200, np.float32), "A c."), tools)
    assert list(written.said) == ["a", "c"]
