"""The retrieval index: features of the voice itself, to lend the converted speech its detail."""

from pathlib import Path
from typing import Any

import numpy as np

from stream.audio import Audio
from stream.errors import ModelMismatch, ModelNotFound

NEIGHBOURS = 8


class RetrievalIndex:
    """Nearest features of the target voice, from a faiss index of its training material.

    Raises `ModelNotFound`, and `ModelMismatch` when the file is no index of `dim` columns.
    """

    def __init__(self, path: Path, dim: int) -> None:
        if not path.is_file():
            raise ModelNotFound(path, "Add the voice again, with its index.")
        import faiss  # takes a fifth of a second to load, which voices without an index save

        try:
            index: Any = faiss.read_index(str(path))
        except RuntimeError as error:
            raise ModelMismatch(path, f"no faiss index ({error})") from error
        if index.d != dim:
            raise ModelMismatch(path, f"index of {index.d} columns, the voice has {dim}")
        if not index.ntotal:
            raise ModelMismatch(path, "the index is empty")
        faiss.omp_set_num_threads(1)  # the server's workers are the threads
        self._index = index
        self._rows: Audio = index.reconstruct_n(0, index.ntotal)  # [rows, dim]

    def blend(self, features: Audio, rate: float) -> Audio:
        """Move `features` [n, dim] towards their nearest rows by `rate` 0..1.

        RVC's rule: 8 neighbours weighted by 1/d^4 (the index returns squared distances, which are
        squared once more). Slots that the index could not fill (-1) count nothing.
        """
        if rate == 0.0 or not len(features):
            return features
        squared, found = self._index.search(np.ascontiguousarray(features), NEIGHBOURS)
        weight = np.where(found >= 0, np.maximum(squared, 1e-8), np.inf) ** -2.0
        total = weight.sum(axis=1, keepdims=True)
        weight = weight / np.where(total > 0.0, total, 1.0)
        near = np.einsum("nk,nkd->nd", weight, self._rows[np.maximum(found, 0)])
        near = np.where(total > 0.0, near, features)
        return ((1.0 - rate) * features + rate * near).astype(np.float32)
