"""Retrieval indices: what is kept, how it is searched, what is found."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

from offline.train.index import IndexPlan, Rows, make_index, sized
from stream.errors import ConfigError
from stream.importer.indices import inspect_index
from stream.models.index import RetrievalIndex


def rows(count: int, dim: int = 16, seed: int = 0) -> Rows:
    return np.random.default_rng(seed).standard_normal((count, dim), np.float32)


@pytest.mark.parametrize("count", [1, 7, 63, 64, 65])
def test_few_rows_are_all_kept_and_all_compared(count: int, tmp_path: Path) -> None:
    made = make_index([rows(count), rows(0)], tmp_path / "x.faiss")
    assert (made.heard, made.kept, made.lists, made.recall) == (count, count, 0, 1.0)
    assert inspect_index(tmp_path / "x.faiss").rows == count
    index = RetrievalIndex(tmp_path / "x.faiss", 16)
    assert np.allclose(index.blend(rows(count)[:1], 1.0), rows(count)[:1], atol=1e-3)


@pytest.mark.parametrize("recall", [0.5, 0.95])
def test_many_rows_lie_in_lists_and_enough_of_them_are_searched(
    recall: float, tmp_path: Path
) -> None:
    path = tmp_path / "x.faiss"
    made = make_index([rows(4_000)], path, plan=IndexPlan(exact=1_000, recall=recall))
    assert made.lists == sized(4_000) == 102
    assert made.recall >= recall
    import faiss

    apart = np.square(rows(4_000)[:, None] - rows(50, seed=3)).sum(2)
    truth = np.argsort(apart, axis=0)[:8].T

    index: Any = faiss.read_index(str(path))
    assert index.nprobe == made.probes
    found = index.search(rows(50, seed=3), 8)[1]
    share = np.mean([len(set(a) & set(b)) / 8 for a, b in zip(found, truth, strict=True)])
    assert share >= recall - 0.15
    assert inspect_index(path).rows == 4_000


def test_a_low_recall_searches_less() -> None:
    plan = IndexPlan(exact=1_000, recall=0.3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("offline.train.index._write", lambda index, path: None)
        few = make_index([rows(4_000)], Path("x"), plan=plan)
        many = make_index([rows(4_000)], Path("x"), plan=IndexPlan(exact=1_000, recall=0.9))
    assert few.probes < many.probes


def test_too_many_rows_become_the_centres_of_clusters(tmp_path: Path) -> None:
    plan = IndexPlan(most=2_000, centres=50)
    middles = np.float32(10.0) * rows(20)
    heard = np.concatenate([middles + np.float32(0.1) * rows(20, seed=s) for s in range(150)])
    made = make_index([heard], tmp_path / "x.faiss", plan=plan)
    assert (made.heard, made.kept) == (3_000, 50)
    near = RetrievalIndex(tmp_path / "x.faiss", 16).blend(middles, 1.0)
    assert np.median(np.abs(near - middles)) < 0.1


def test_the_same_rows_and_seed_give_the_same_file(tmp_path: Path) -> None:
    plan = IndexPlan(exact=100, most=800, centres=60)
    for name in ("a", "b"):
        make_index([rows(1_000)], tmp_path / name, plan=plan, seed=4)
    make_index([rows(1_000)], tmp_path / "c", plan=plan, seed=5)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_no_speech_makes_no_index(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no speech"):
        make_index([rows(0)], tmp_path / "x.faiss")
    assert not list(tmp_path.iterdir())


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 2_000_000))
def test_each_list_has_its_thirty_nine_rows(count: int) -> None:
    lists = sized(count)
    assert 1 <= lists <= max(1, count // 39)
    assert lists <= 16 * count**0.5
