from pathlib import Path

import faiss
import numpy as np
import pytest

from stream.errors import ModelMismatch, ModelNotFound
from stream.models.index import RetrievalIndex

ROWS = np.random.default_rng(3).standard_normal((200, 16)).astype(np.float32)


def saved(path: Path, rows: np.ndarray) -> Path:
    index = faiss.IndexFlatL2(16)
    index.add(rows)
    faiss.write_index(index, str(path))
    return path


def by_hand(feature: np.ndarray, rows: np.ndarray, rate: float) -> np.ndarray:
    squared = ((rows - feature) ** 2).sum(axis=1)
    near = np.argsort(squared)[:8]
    weight = 1 / squared[near] ** 2
    return (1 - rate) * feature + rate * (weight @ rows[near]) / weight.sum()


def test_features_move_towards_their_weighted_neighbours(tmp_path: Path) -> None:
    index = RetrievalIndex(saved(tmp_path / "i.faiss", ROWS), 16)
    features = np.random.default_rng(4).standard_normal((5, 16)).astype(np.float32)
    expected = [by_hand(feature, ROWS, 0.6) for feature in features]
    np.testing.assert_allclose(index.blend(features, 0.6), expected, rtol=1e-4, atol=1e-5)


def test_rate_zero_changes_nothing(tmp_path: Path) -> None:
    index = RetrievalIndex(saved(tmp_path / "i.faiss", ROWS), 16)
    assert index.blend(ROWS[:3], 0.0) is not ROWS
    np.testing.assert_array_equal(index.blend(ROWS[:3], 0.0), ROWS[:3])


def test_a_feature_that_is_in_the_index_stays(tmp_path: Path) -> None:
    index = RetrievalIndex(saved(tmp_path / "i.faiss", ROWS), 16)
    np.testing.assert_allclose(index.blend(ROWS[:3], 1.0), ROWS[:3], atol=1e-4)


def test_an_index_with_fewer_rows_than_neighbours_works(tmp_path: Path) -> None:
    index = RetrievalIndex(saved(tmp_path / "i.faiss", ROWS[:2]), 16)
    blended = index.blend(np.zeros((1, 16), np.float32), 1.0)
    weight = 1 / (ROWS[:2] ** 2).sum(axis=1) ** 2
    np.testing.assert_allclose(blended[0], weight @ ROWS[:2] / weight.sum(), rtol=1e-4)


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        RetrievalIndex(tmp_path / "none.faiss", 16)
    with pytest.raises(ModelMismatch, match="16 columns, the voice has 768"):
        RetrievalIndex(saved(tmp_path / "i.faiss", ROWS), 768)
    with pytest.raises(ModelMismatch, match="empty"):
        RetrievalIndex(saved(tmp_path / "e.faiss", ROWS[:0]), 16)
    (tmp_path / "junk.faiss").write_bytes(b"not an index")
    with pytest.raises(ModelMismatch, match="no faiss index"):
        RetrievalIndex(tmp_path / "junk.faiss", 16)
