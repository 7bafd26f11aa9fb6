"""The trained synthesizer as the voice's files: graph, retrieval index and preview."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offline.train.starter import decoder, prior, target
from offline.train.starter.run import weights_of
from offline.train.synth import Synthesizer
from offline.train.synth_export import export_synth, spread_pitches
from stream.models.voice import INDEX, SYNTH
from stream.pitch import coarse

log = logging.getLogger(__name__)

CENTROIDS = 1_024
HEARD = (0.5, 99.5)
"""Percentiles of the target's pitch between which the pitch embedding counts as trained."""


def assembled(work: Path) -> Synthesizer:
    """The prior and the best decoder there is, as one synthesizer."""
    synth = Synthesizer()
    tuned = work / decoder.TUNED
    synth.load_state_dict(
        {
            **synth.state_dict(),
            **_under(weights_of(work / prior.NAME), "enc_p.", "flow."),
            **_under(weights_of(tuned if tuned.exists() else work / decoder.NAME), "dec.", "emb_g"),
        }
    )
    pitches = np.concatenate([u.f0 for u in target.load(work)])
    lowest, highest = coarse(np.percentile(pitches[pitches > 0], HEARD))
    spread_pitches(synth, int(lowest), int(highest))
    return synth.eval()


def _under(weights: dict[str, Any], *prefixes: str) -> dict[str, Any]:
    return {name: value for name, value in weights.items() if name.startswith(prefixes)}


def centroids(features: NDArray[np.float32], count: int = CENTROIDS) -> NDArray[np.float32]:
    """[n, F] -> at most `count` of their cluster centres."""
    import faiss

    count = min(count, len(features) // 40)
    kmeans: Any = faiss.Kmeans(features.shape[1], count, niter=20, seed=0, verbose=False)
    kmeans.train(np.ascontiguousarray(features, np.float32))
    return np.asarray(kmeans.centroids, np.float32)


def write_index(rows: NDArray[np.float32], path: Path) -> None:
    """A flat faiss index of `rows` [n, F], replacing the file in one go."""
    import faiss

    index: Any = faiss.IndexFlatL2(rows.shape[1])
    index.add(np.ascontiguousarray(rows))
    draft = path.with_suffix(".draft")
    faiss.write_index(index, str(draft))
    os.replace(draft, path)


def bundle(work: Path, folder: Path) -> None:
    """Write synth.onnx and index.faiss into `folder`."""
    export_synth(assembled(work), folder / SYNTH)
    heard = [lesson.features[0].astype(np.float32) for lesson in prior.lessons(work)]
    write_index(centroids(np.concatenate(heard)), folder / INDEX)
    log.info("%s: %.1f MB", SYNTH, (folder / SYNTH).stat().st_size / 1e6)
