"""Content: what is said, without who says it."""

from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from stream.audio import CONTENT_HOP, Audio
from stream.device import Device
from stream.models.onnx import EXACT_FRAMES, OnnxModel, State
from stream.models.providers import Span

SETTLE_BLOCKS = 100  # blocks of silence, 2 s, after which the memory no longer changes
WARM_FRAMES = 10  # content frames heard before speech starts, so that the encoder has a past


class EncoderCard(BaseModel):
    """`encoder.json`: what must be known of a content encoder before it is loaded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = Field(default=1, ge=1, le=1)
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    kind: Literal["student", "hubert", "window"] = "student"
    dim: int = Field(ge=1, le=4096, description="features a frame")
    delay_frames: int = Field(
        default=0,
        ge=0,
        le=50,
        description="content frames of 20 ms that a student's output lags behind its input; "
        "the other kinds take any look-ahead",
    )
    channels: int = Field(default=512, ge=1, description="of a hubert's convolutions")
    width: int = Field(default=768, ge=1, description="numbers a frame in a hubert's transformer")
    licence: str
    source: str = Field(default="", description="the file it was made from")
    files: dict[str, str] = Field(description="file name: sha256")


class Hearing(Protocol):
    """What an encoder has heard of one stretch of speech: its memory, which belongs to a stream.

    A content frame is 20 ms. `warm` is the number of frames to hear before the first one that is
    to be described. The first `delay` frames that come out describe what lies before the stretch.
    """

    @property
    def warm(self) -> int: ...

    def hear(self, audio: Audio) -> None:
        """[320 k] next samples at 16 kHz that need not be described: the past of what follows."""
        ...

    def step(self, audio: Audio) -> Audio:
        """[320 n] next samples at 16 kHz -> [n + p, dim] features.

        First the n frames of which the last lies `delay` frames behind the newest sample, then p
        provisional ones up to the newest, which later calls will describe better.
        """
        ...


class ContentEncoder(Protocol):
    """Weights that turn 16 kHz audio into features; shared by streams and threads.

    whole_hops   True: wants the same number of frames in every call of a hearing; False: any cut
    """

    @property
    def card(self) -> EncoderCard: ...
    @property
    def dim(self) -> int: ...
    @property
    def provider(self) -> str: ...
    @property
    def whole_hops(self) -> bool: ...

    def open(self, delay: int, context: int) -> Hearing:
        """A new stretch of speech: `delay` content frames of look-ahead, `context` of past."""
        ...


class StudentEncoder:
    """A small network that hears on and on: its memory is its context. Its weights only."""

    whole_hops = False

    def __init__(self, path: Path, card: EncoderCard, device: Device) -> None:
        self.card, self.dim = card, card.dim
        self.model = OnnxModel(
            path,
            {"audio": (1, None)},
            {"features": (1, None, card.dim)},
            device=device,
            spans={"samples": Span(1, 2, EXACT_FRAMES).times(CONTENT_HOP)},
        )
        self.provider = self.model.provider

    def open(self, delay: int, context: int) -> "StudentHearing":
        """A stretch of speech that begins in silence; `delay` is the one it was trained with."""
        if delay != self.card.delay_frames:
            own = self.card.delay_frames
            raise ValueError(f"{self.card.id} looks {own} frames ahead, not {delay}")
        return StudentHearing(self.model, self.quiet)

    @cached_property
    def quiet(self) -> State:
        """The memory after two seconds of silence: where every stretch of speech begins."""
        hearing = StudentHearing(self.model, self.model.initial_state())
        hearing.hear(np.zeros(SETTLE_BLOCKS * CONTENT_HOP, np.float32))
        return hearing.state


class StudentHearing:
    """A `Hearing` of the student, in blocks of 20 ms.

    Law: the features are the same however the blocks are grouped into calls; the frame that comes
    out with block `j` describes block `j - delay`. Nothing is provisional.

    state   the memory to begin with, and after each step the one to go on with
    """

    warm = WARM_FRAMES

    def __init__(self, model: OnnxModel, state: State) -> None:
        self._model, self.state = model, state

    def hear(self, audio: Audio) -> None:
        """[320 k] samples that need not be described; see `Hearing`."""
        if len(audio):
            self.step(audio)

    def step(self, audio: Audio) -> Audio:
        """[320 n] samples at 16 kHz -> [n, dim] features; see `Hearing`."""
        blocks = np.ascontiguousarray(audio, np.float32)
        parts: list[Audio] = []
        for at in range(0, len(blocks), EXACT_FRAMES * CONTENT_HOP):
            part = blocks[np.newaxis, at : at + EXACT_FRAMES * CONTENT_HOP]
            outputs, self.state = self._model.step(self.state, audio=part)
            parts.append(np.asarray(outputs["features"][0], np.float32))
        return np.concatenate(parts)
