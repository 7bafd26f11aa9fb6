"""Content: what is said, without who says it."""

from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from stream.audio import CONTENT_HOP, Audio
from stream.models.onnx import EXACT_FRAMES, Device, OnnxModel, State

SETTLE_BLOCKS = 100  # blocks of silence, 2 s, after which the memory no longer changes


class EncoderCard(BaseModel):
    """`encoder.json`: what must be known of a content encoder before it is loaded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = Field(default=1, ge=1, le=1)
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    dim: int = Field(ge=1, le=4096, description="features a frame")
    delay_frames: int = Field(
        ge=0, le=50, description="content frames of 20 ms that the output lags behind the input"
    )
    licence: str
    files: dict[str, str] = Field(description="file name: sha256")


class ContentEncoder:
    """Hears 16 kHz audio in blocks of 20 ms and says what is spoken in each.

    Law: the features are the same however the blocks are grouped into calls; the frame that comes
    out with block `j` describes block `j - delay_frames`.
    """

    def __init__(self, path: Path, card: EncoderCard, device: Device) -> None:
        self.card = card
        self.dim, self.delay_frames = card.dim, card.delay_frames
        self._model = OnnxModel(
            path, {"audio": (1, None)}, {"features": (1, None, card.dim)}, device=device
        )
        self.provider = self._model.provider

    @cached_property
    def quiet(self) -> State:
        """The memory after two seconds of silence: where every stretch of speech begins."""
        silence = np.zeros(SETTLE_BLOCKS * CONTENT_HOP, np.float32)
        return self.step(self._model.initial_state(), silence)[1]

    def step(self, state: State, audio: Audio) -> tuple[Audio, State]:
        """[320 n] samples at 16 kHz -> [n, dim] features, and the memory for the next call."""
        blocks = np.ascontiguousarray(audio, np.float32)
        features = np.empty((len(blocks) // CONTENT_HOP, self.dim), np.float32)
        for at in range(0, len(features), EXACT_FRAMES):
            part = blocks[at * CONTENT_HOP : (at + EXACT_FRAMES) * CONTENT_HOP]
            outputs, state = self._model.step(state, audio=part[np.newaxis])
            features[at : at + EXACT_FRAMES] = outputs["features"][0]
        return features, state
