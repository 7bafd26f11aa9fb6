"""The trained synthesizer as a voice's bundle: graph, retrieval index, preview and card."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from offline.train.starter import decoder, prior, target
from offline.train.starter.crops import normal
from offline.train.starter.run import weights_of
from offline.train.starter.target import RATE, Target
from offline.train.student import Student
from offline.train.synth import Synthesizer
from offline.train.synth_export import export_synth, spread_pitches
from offline.train.warm import keep_scale
from stream.models.digest import sha256
from stream.models.voice import CARD, INDEX, PREVIEW, SYNTH, VoiceCard
from stream.pitch import coarse

log = logging.getLogger(__name__)

ENCODER = "student-256"
NOISE_SCALE = 0.25
SHOWN = 2
"""Held-out sentences in the preview."""
CENTROIDS = 256
HEARD = (0.5, 99.5)
"""Percentiles of the target's pitch between which the pitch embedding counts as trained."""


def assembled(folder: Path) -> Synthesizer:
    """The prior and the best decoder there is, as one synthesizer."""
    synth = Synthesizer()
    tuned = folder / decoder.TUNED
    decoding = weights_of(tuned if tuned.exists() else folder / decoder.NAME)
    synth.load_state_dict(
        {
            **synth.state_dict(),
            **_under(weights_of(folder / prior.NAME), "enc_p.", "flow."),
            **_under(decoding, "dec.", "emb_g"),
        }
    )
    pitches = np.concatenate([u.f0 for u in target.load(folder)])
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


def card_of(spoken: Target, folder: Path, f0_median_hz: float) -> VoiceCard:
    """The card of the voice whose files are in `folder`."""
    delay = Student().delay_frames
    return VoiceCard(
        name=spoken.name,
        description=spoken.description,
        rvc_version="v1",
        sample_rate=RATE,
        speakers=(spoken.name,),
        encoder=ENCODER,
        feature_dim=256,
        look_ahead_ms=20 * delay,
        latent=80,
        noise_scale=NOISE_SCALE,
        f0_median_hz=f0_median_hz,
        f0_min_hz=60.0,
        f0_max_hz=500.0,
        licence="MIT",
        consent="No person was imitated: the voice is a blend of two synthetic voices.",
        source="timbral",
        files={name: sha256(folder / name) for name in (SYNTH, INDEX, PREVIEW)},
    )


def bundle(folder: Path, spoken: Target, into: Path) -> None:
    """Write what is trained in `folder` as the voice's bundle `into`."""
    into.mkdir(parents=True, exist_ok=True)
    utterances = target.load(folder)
    statistics = normal(folder, utterances)
    export_synth(assembled(folder), into / SYNTH)
    keep_scale(into / SYNTH, (statistics.mean.numpy(), statistics.std.numpy()))
    heard = [lesson.features[0].astype(np.float32) for lesson in prior.lessons(folder)]
    write_index(centroids(np.concatenate(heard)), into / INDEX)
    shown = [u.sound for u in utterances if u.held_out][:SHOWN]
    soundfile.write(into / PREVIEW, np.concatenate(shown), RATE, subtype="PCM_16")
    pitches = np.concatenate([u.f0 for u in utterances])
    card = card_of(spoken, into, round(float(np.median(pitches[pitches > 0])), 1))
    text = card.model_dump_json(indent=2)
    (into / CARD).write_text(text + "\n", encoding="utf-8")
    log.info("%s: %.1f MB", spoken.name, (into / SYNTH).stat().st_size / 1e6)
