"""An index is what RVC makes and whole, or it is refused before faiss reads it."""

import struct
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.errors import BadCheckpoint
from stream.importer.indices import IndexFacts, inspect_index, is_index

faiss.omp_set_num_threads(1)  # its threads spin, which is slow on a busy machine
DIM, ROWS = 16, 400
VECTORS = np.random.default_rng(0).normal(size=(ROWS, DIM)).astype(np.float32)


def make(path: Path, spec: str, rows: int = ROWS, metric: int = faiss.METRIC_L2) -> Path:
    index: Any = faiss.index_factory(DIM, spec, metric)
    index.train(VECTORS)
    index.add(VECTORS[:rows])
    faiss.write_index(index, str(path))
    return path


@pytest.mark.parametrize(("spec", "rows"), [("IVF8,Flat", ROWS), ("IVF8,Flat", 2), ("Flat", ROWS)])
def test_what_rvc_makes_is_recognised(tmp_path: Path, spec: str, rows: int) -> None:
    path = make(tmp_path / "any.name", spec, rows)
    assert is_index(path)
    assert inspect_index(path) == IndexFacts(path, DIM, rows)


@pytest.mark.parametrize("spec", ["IVF8,Flat", "Flat"])
def test_an_index_without_vectors_is_explained(tmp_path: Path, spec: str) -> None:
    with pytest.raises(BadCheckpoint, match=r"without vectors.*added_"):
        inspect_index(make(tmp_path / "trained.index", spec, 0))


def test_other_kinds_and_measures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="IxSQ"):
        inspect_index(make(tmp_path / "a.index", "SQ8"))
    with pytest.raises(BadCheckpoint, match="Euclidean"):
        inspect_index(make(tmp_path / "a.index", "Flat", metric=faiss.METRIC_INNER_PRODUCT))
    (tmp_path / "a.index").write_bytes(b"not an index")
    with pytest.raises(BadCheckpoint, match="no faiss index"):
        inspect_index(tmp_path / "a.index")
    with pytest.raises(BadCheckpoint, match="cannot be read"):
        inspect_index(tmp_path / "nowhere.index")


def test_numbers_that_are_none_and_rows_beyond_the_last_are_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "a.index", "IVF8,Flat")
    whole = path.read_bytes()
    at = whole.index(VECTORS[5].tobytes())
    path.write_bytes(whole[:at] + struct.pack("<f", np.nan) + whole[at + 4 :])
    with pytest.raises(BadCheckpoint, match="NaN"):
        inspect_index(path)
    path.write_bytes(whole[:-8] + struct.pack("<q", ROWS))
    with pytest.raises(BadCheckpoint, match="beyond their count"):
        inspect_index(path)


def test_a_size_that_the_file_does_not_have_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "a.index", "Flat")
    data = bytearray(path.read_bytes())
    struct.pack_into("<q", data, 8, 1 << 33)
    path.write_bytes(data)
    with pytest.raises(BadCheckpoint, match="makes no sense"):
        inspect_index(path)
    path.write_bytes(make(path, "Flat").read_bytes() + b"more")
    with pytest.raises(BadCheckpoint, match="too many"):
        inspect_index(path)


with tempfile.TemporaryDirectory() as made:
    ORIGINALS = [make(Path(made, "a"), spec, 40).read_bytes() for spec in ("IVF8,Flat", "Flat")]


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(range(2)),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
    st.one_of(st.none(), st.floats(0.0, 1.0, allow_subnormal=False)),
)
def test_whatever_passes_is_read_by_faiss(
    original: int, changes: list[tuple[int, int]], cut: float | None
) -> None:
    data = bytearray(ORIGINALS[original])
    for where, value in changes:
        data[where] = value
    if cut is not None:
        del data[int(cut * len(data)) :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.index")
        path.write_bytes(data)
        with suppress(BadCheckpoint):
            facts = inspect_index(path)
            index: Any = faiss.read_index(str(path))
            assert (index.d, index.ntotal) == (facts.dim, facts.rows)
            _, found = index.search(VECTORS[:3, : facts.dim], 8)
            assert found.max() < facts.rows
            assert np.isfinite(index.reconstruct_n(0, facts.rows)).all()
