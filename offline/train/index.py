"""The retrieval index of a voice: its own content features, as few and as fast as they need be."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream.errors import ConfigError
from stream.models.index import NEIGHBOURS

Rows = NDArray[np.float32]
Progress = Callable[[int, int], None]

QUERIES: Final = 256  # rows that the search is tried with
PER_LIST: Final = 39  # rows that faiss wants at least to place a list's centre


@dataclass(frozen=True, kw_only=True)
class IndexPlan:
    """When which kind of index is made.

    exact    numbers (rows times columns) up to which every row is compared: 8 MB, read each hop
    most     rows above which only the centres of clusters are kept, as RVC does
    centres  how many of them
    recall   share of the true neighbours that a search must find at least
    """

    exact: int = 2_000_000
    most: int = 200_000
    centres: int = 10_000
    recall: float = 0.95


@dataclass(frozen=True)
class Made:
    """The index that was made.

    heard   rows that the recordings gave; kept: those in the index
    lists   0 for an exact one
    probes  lists that a search looks at
    recall  share of the 8 true neighbours that it finds, 0..1; measured
    """

    heard: int
    kept: int
    columns: int
    lists: int
    probes: int
    recall: float

    @property
    def told(self) -> str:
        """In words, for a card."""
        kept = f"{self.kept} of {self.heard} frames" if self.kept < self.heard else "all frames"
        found = f"finds {self.recall:.1%} of the 8 nearest"
        how = (
            f"in {self.lists} lists, {self.probes} searched" if self.lists else "every row compared"
        )
        return f"{kept} ({self.kept} rows of {self.columns}), {how}; {found}"


def make_index(
    rows: Iterable[Rows],
    path: Path,
    *,
    plan: IndexPlan | None = None,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> Made:
    """Write a faiss index of `rows`, arrays [n, columns], to `path`, which appears whole.

    Laws: the same rows and seed give the same index; its search finds at least `plan.recall` of
    what comparing with every row would find, or compares with every row. Raises `ConfigError` when
    there are no rows.
    """
    plan = plan or IndexPlan()
    parts = [np.asarray(part, np.float32) for part in rows if len(part)]
    if not parts:
        raise ConfigError("There is no speech to make an index of.")
    heard = np.ascontiguousarray(np.concatenate(parts))
    del parts
    progress(1, 4)
    kept = heard
    if len(heard) > plan.most:
        kept = clusters(heard, plan.centres, seed)
    progress(2, 4)
    asked = _asked(heard, seed)
    index, lists, probes, recall = _searchable(kept, asked, plan, seed)
    progress(3, 4)
    _write(index, path)
    progress(4, 4)
    return Made(len(heard), len(kept), heard.shape[1], lists, probes, recall)


def clusters(rows: Rows, count: int, seed: int = 0) -> Rows:
    """The centres of `count` clusters of `rows` [n, F], fewer where there are not 39 to each."""
    import faiss

    count = max(1, min(count, len(rows) // PER_LIST))
    means: Any = faiss.Kmeans(
        rows.shape[1], count, niter=20, seed=seed + 1, max_points_per_centroid=64
    )
    means.train(rows)
    return np.asarray(means.centroids, np.float32)


def sized(count: int) -> int:
    """Lists for `count` rows, as RVC has them: 16 sqrt(n), and 39 rows in each.

    >>> sized(30_000), sized(1_000_000), sized(10)
    (769, 16000, 1)
    """
    return max(1, min(int(16 * math.sqrt(count)), count // PER_LIST))


def _asked(rows: Rows, seed: int) -> Rows:
    """Rows like those of speech to come: between two of the voice's own."""
    chance = np.random.default_rng(seed)
    pairs = chance.integers(0, len(rows), (2, min(QUERIES, len(rows))))
    share = chance.uniform(0.05, 0.5, (pairs.shape[1], 1)).astype(np.float32)
    between = rows[pairs[0]] * (1 - share) + rows[pairs[1]] * share
    return np.ascontiguousarray(between, np.float32)


def _searchable(rows: Rows, asked: Rows, plan: IndexPlan, seed: int) -> tuple[Any, int, int, float]:
    """The index, its lists, how many of them are searched, and how much is found."""
    import faiss

    flat: Any = faiss.IndexFlatL2(rows.shape[1])
    flat.add(rows)
    if rows.size <= plan.exact:
        return flat, 0, 0, 1.0
    lists = sized(len(rows))
    near = min(NEIGHBOURS, len(rows))
    truth = flat.search(asked, near)[1]
    index: Any = faiss.IndexIVFFlat(faiss.IndexFlatL2(rows.shape[1]), rows.shape[1], lists)
    index.cp.seed = seed + 1
    index.train(rows)
    index.add(rows)
    probes = 1
    while True:
        index.nprobe = probes
        found = index.search(asked, near)[1]
        recall = float(
            np.mean([len(set(a) & set(b)) / near for a, b in zip(found, truth, strict=True)])
        )
        if recall >= plan.recall:
            return index, lists, probes, recall
        if probes == lists:
            return flat, 0, 0, 1.0
        probes = min(lists, 2 * probes)


def _write(index: Any, path: Path) -> None:
    import faiss

    draft = path.with_name(f".{path.name}.draft")
    try:
        faiss.write_index(index, str(draft))
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
