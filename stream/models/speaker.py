"""Who speaks: the speaker model of Resemblyzer (GE2E, Wan et al. 2018) on ONNX Runtime."""

import json
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stream.audio import ANALYSIS_RATE, Audio
from stream.device import CPU, Device
from stream.errors import ModelMismatch, ModelNotFound
from stream.models.digest import sha256
from stream.models.f0.mel import bands
from stream.models.onnx import OnnxModel

CARD, GRAPH = "speaker.json", "speaker.onnx"
BANDS, FRAMES, WIDTH = 40, 160, 256  # mel bands; frames that are heard at once; of an embedding
SIZE, STEP = 400, 160  # samples of a frame, and from one to the next
APART = 77  # frames from one piece to the next: 1.3 pieces a second
COVERED = 0.75  # of the last piece must be sound, or it is left out


class SpeakerCard(BaseModel):
    """`speaker.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    id: str
    licence: str
    source: str
    files: dict[str, str] = Field(description="file name: sha256")


class SpeakerModel:
    """Speech -> 256 numbers of length 1 that tell the speaker, whatever is said.

    Law: equals Resemblyzer's `embed_utterance` of the same samples to 1e-4.
    Raises `ModelNotFound` and `ModelMismatch`.
    """

    def __init__(self, folder: Path, device: Device = CPU, threads: int = 1) -> None:
        self.card = _read(folder)
        path = folder / GRAPH
        if not path.is_file() or sha256(path) != self.card.files.get(GRAPH):
            again = f"Install it again: timbral models pull {self.card.id}"
            raise ModelMismatch(path, f"it is missing or was altered. {again}")
        self._model = OnnxModel(
            path,
            inputs={"mel": (None, FRAMES, BANDS)},
            outputs={"embedding": (None, WIDTH)},
            device=device,
            threads=threads,
        )
        self._bands = bands("slaney", 0.0, ANALYSIS_RATE / 2, count=BANDS, size=SIZE).T
        self._hann = np.square(np.sin(np.pi * np.arange(SIZE) / SIZE)).astype(np.float32)

    def __call__(self, audio: Audio) -> Audio:
        """The embedding [256] of `audio` [n] at 16 kHz.

        The model hears power, not its logarithm: the level matters (see offline.judge.similarity).
        """
        starts = pieces(len(audio))
        samples = (starts[-1] + FRAMES) * STEP
        mel = self._mel(np.pad(audio, (0, max(0, samples - len(audio)))))
        heard = np.stack([mel[start : start + FRAMES] for start in starts])
        mean = self._model(mel=heard)["embedding"].mean(axis=0)
        return (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)

    def _mel(self, audio: Audio) -> Audio:
        """Power in bands, [n // 160 + 1, 40]; frames are centred, silence lies beyond the ends."""
        padded = np.pad(audio, SIZE // 2).astype(np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(padded, SIZE)[::STEP]
        power = np.square(np.abs(np.fft.rfft(frames * self._hann))).astype(np.float32)
        return power @ self._bands


def pieces(samples: int) -> list[int]:
    """The first mel frame of each piece of 1.6 s that `samples` at 16 kHz are heard in.

    >>> pieces(0), pieces(16_000), pieces(48_000)
    ([0], [0], [0, 77, 154])
    """
    frames = -(-(samples + 1) // STEP)
    starts = list(range(0, max(1, frames - FRAMES + APART + 1), APART))
    covered = (samples - starts[-1] * STEP) / (FRAMES * STEP)
    return starts[:-1] if covered < COVERED and len(starts) > 1 else starts


def _read(folder: Path) -> SpeakerCard:
    path = folder / CARD
    try:
        return SpeakerCard.model_validate(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        raise ModelNotFound(path, f"Get it: timbral models pull {folder.name}") from None
    except (OSError, ValueError, ValidationError) as error:
        raise ModelMismatch(path, f"it cannot be read ({error})") from error
