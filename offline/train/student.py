"""The content student: what is said, from 16 kHz audio, 50 feature vectors a second.

A causal stack of time-delay blocks. Every module is written in streaming form: `forward(x, state)`
returns `(y, next_state)` with a state of fixed size that starts as zeros. Training gives it zeros
and a whole crop, streaming gives it block after block, so that both are one computation (the tests
cut the audio anywhere and compare).

Look-ahead is an output delay: a block with `right=1` needs one future frame, so it answers one
frame late. The student's whole delay is `Student.delay_frames`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SAMPLE_RATE = 16_000
"""Hz."""
FRAME_SAMPLES = 320
"""Samples of one feature frame (20 ms)."""
MEL_HOP = 160
"""Samples between mel frames (10 ms): two mel frames a feature frame."""
MEL_WINDOW = 400
"""Samples one mel frame sees (25 ms)."""
FFT_SIZE = 512
MEL_BINS = 80
MEL_RANGE = (40.0, 7_800.0)
"""Hz."""
AUDIO_PAST = MEL_WINDOW - MEL_HOP
"""Samples of the past that the next mel frame still needs."""
AUDIO_DELAY = 40
"""Samples by which the mel frames of a push lie later than those centred on its own samples."""
MEL_PAST = 4
"""Mel frames of the past that a feature frame starts from, beside its own two."""

State: TypeAlias = dict[str, Tensor]


@dataclass(frozen=True)
class BlockShape:
    """One time-delay block: taps `dilation` frames apart, `right` of them in the future."""

    dilation: int
    right: int = 0


STUDY_BLOCKS = tuple(BlockShape(d, int(i == 0)) for i, d in enumerate((1, 2, 4, 8, 1, 2, 4)))
"""The seven blocks of the study whose weights training started from."""


@dataclass(frozen=True)
class Growth:
    """A stack of blocks that continues a smaller one.

    blocks      the stack
    grown_from  for each of them the smaller stack's block that it continues; None is a new block
    """

    blocks: tuple[BlockShape, ...]
    grown_from: tuple[int | None, ...]


GROWTHS = (
    Growth(
        (
            *STUDY_BLOCKS[:4],
            BlockShape(1, 1),
            *STUDY_BLOCKS[4:],
            BlockShape(8),
            BlockShape(1),
            BlockShape(2),
        ),
        (0, 1, 2, 3, None, 4, 5, 6, None, None, None),
    ),
    Growth(
        (
            *STUDY_BLOCKS[:4],
            BlockShape(1, 1),
            BlockShape(1),
            *STUDY_BLOCKS[4:],
            BlockShape(1),
            BlockShape(8),
            BlockShape(1),
            BlockShape(2),
            BlockShape(4),
        ),
        (0, 1, 2, 3, 4, None, 5, 6, 7, None, 8, 9, 10, None),
    ),
)
"""How the shipped student grew from the study's: one more future frame and a second more of the
past, then three blocks more. It hears 40 ms ahead."""


@dataclass(frozen=True)
class StudentShape:
    """Sizes of a student."""

    width: int = 256
    hidden: int = 512
    blocks: tuple[BlockShape, ...] = GROWTHS[-1].blocks
    features: int = 256
    phones: int = 160

    @property
    def delay_frames(self) -> int:
        """Frames by which the output lags behind the audio that was pushed."""
        return sum(b.right * b.dilation for b in self.blocks)


def mel_filters() -> Tensor:
    """Slaney-style mel filter bank, area-normalised: [80, 257]."""

    def to_mel(hz: Tensor) -> Tensor:
        log = 15 + torch.log(hz.clamp(min=1e-9) / 1000) * (27 / math.log(6.4))
        return torch.where(hz < 1000, hz * 3 / 200, log)

    def to_hz(mel: Tensor) -> Tensor:
        return torch.where(
            mel < 15, mel * 200 / 3, 1000 * torch.exp((mel - 15) * math.log(6.4) / 27)
        )

    ends = to_mel(torch.tensor(MEL_RANGE, dtype=torch.float64))
    edges = to_hz(torch.linspace(float(ends[0]), float(ends[1]), MEL_BINS + 2, dtype=torch.float64))
    bins = torch.linspace(0, SAMPLE_RATE / 2, FFT_SIZE // 2 + 1, dtype=torch.float64)
    low, mid, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - low) / (mid - low), (high - bins) / (high - mid)
    triangles = torch.minimum(rising, falling).clamp(min=0)
    return (triangles * 2 / (high - low)).float()


class LogMel(nn.Module):
    """16 kHz audio [B, 320 n] -> normalised log-mel [B, 2 n, 80], through convolutions that export.

    The frames of a push end with its last sample; the state [B, 240] is the `AUDIO_PAST` samples
    before it.
    """

    cosine: Tensor
    sine: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        window = torch.hann_window(MEL_WINDOW, dtype=torch.float64)
        k = torch.arange(FFT_SIZE // 2 + 1, dtype=torch.float64)[:, None]
        angle = 2 * math.pi * k * torch.arange(MEL_WINDOW, dtype=torch.float64) / FFT_SIZE
        # not in the checkpoint: they follow from the constants above
        self.register_buffer("cosine", (angle.cos() * window).float()[:, None], persistent=False)
        self.register_buffer("sine", (angle.sin() * window).float()[:, None], persistent=False)
        self.register_buffer("filters", mel_filters(), persistent=False)

    def magnitude(self, audio: Tensor) -> Tensor:
        """[B, 240 + 320 n] -> STFT magnitude [B, 257, 2 n]."""
        real = F.conv1d(audio[:, None], self.cosine, stride=MEL_HOP)
        imag = F.conv1d(audio[:, None], self.sine, stride=MEL_HOP)
        return torch.sqrt(real * real + imag * imag + 1e-9)

    def compress(self, magnitude: Tensor) -> Tensor:
        """STFT magnitude [B, 257, T] -> normalised log-mel [B, T, 80]."""
        mel = torch.matmul(self.filters, magnitude)
        return ((torch.log(mel + 1e-4) + 4.0) / 2.5).transpose(1, 2)

    def forward(self, audio: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([past, audio], 1)
        return self.compress(self.magnitude(x)), x[:, -AUDIO_PAST:]


class Block(nn.Module):
    """Residual time-delay block of three taps, [B, T, width] -> [B, T, width].

    State: the taps' past [B, 2 dilation, width], and for a block with a future tap the residual's
    past [B, dilation, width] (empty otherwise).
    """

    def __init__(self, width: int, hidden: int, shape: BlockShape) -> None:
        super().__init__()
        self.dilation = shape.dilation
        self.delay = shape.right * shape.dilation
        self.ln = nn.LayerNorm(width)
        self.a = nn.Linear(3 * width, hidden)
        self.b = nn.Linear(hidden, width)
        self.g = nn.Parameter(torch.full((width,), 0.2))

    def forward(self, x: Tensor, past: Tensor, late: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        d = self.dilation
        h = torch.cat([past, self.ln(x)], 1)
        taps = torch.cat([h[:, : -2 * d], h[:, d:-d], h[:, 2 * d :]], -1)
        change = self.g * self.b(F.relu(self.a(taps)))
        if self.delay == 0:
            return x + change, h[:, -2 * d :], late
        x = torch.cat([late, x], 1)
        return x[:, : -self.delay] + change, h[:, -2 * d :], x[:, -self.delay :]


class Student(nn.Module):
    """16 kHz audio [B, 320 n] -> content features [B, n, 256], 50 a second, `delay_frames` late.

    Law: pushing the audio in pieces of any multiple of 320 samples, with the state handed on, gives
    the frames of one push of the whole.
    """

    def __init__(self, shape: StudentShape | None = None) -> None:
        super().__init__()
        self.shape = shape or StudentShape()
        s = self.shape
        self.mel = LogMel()
        self.c1 = nn.Linear((MEL_PAST + 2) * MEL_BINS, s.width)
        self.blocks = nn.ModuleList(Block(s.width, s.hidden, b) for b in s.blocks)
        self.ln = nn.LayerNorm(s.width)
        self.out = nn.Linear(s.width, s.features)
        self.ph = nn.Linear(s.features, s.phones)

    @property
    def delay_frames(self) -> int:
        """Frames by which the output lags behind the audio that was pushed."""
        return self.shape.delay_frames

    def zero_state(self, batch: int = 1, device: torch.device | str = "cpu") -> State:
        """The state before any audio: zeros."""

        def zeros(*sizes: int) -> Tensor:
            return torch.zeros(batch, *sizes, device=device)

        width = self.shape.width
        state = {"audio": zeros(AUDIO_PAST), "mel": zeros(MEL_PAST, MEL_BINS)}
        for i, b in enumerate(self.shape.blocks):
            state[f"taps{i}"] = zeros(2 * b.dilation, width)
            if b.right:
                state[f"late{i}"] = zeros(b.right * b.dilation, width)
        return state

    def forward(self, audio: Tensor, state: State) -> tuple[Tensor, State]:
        mel, past = self.mel(audio, state["audio"])
        features, after = self.from_mel(mel, state)
        after["audio"] = past
        return features, after

    def from_mel(self, mel: Tensor, state: State) -> tuple[Tensor, State]:
        """Log-mel [B, 2 n, 80] -> features [B, n, 256]; training enters here, augmented."""
        m = torch.cat([state["mel"], mel], 1)
        after: State = {"audio": state["audio"], "mel": m[:, -MEL_PAST:]}
        pairs = m.reshape(m.shape[0], -1, 2 * MEL_BINS)
        x = F.relu(self.c1(torch.cat([pairs[:, :-2], pairs[:, 1:-1], pairs[:, 2:]], -1)))
        for i, block in enumerate(self.blocks):
            late = state.get(f"late{i}", x[:, :0])
            x, after[f"taps{i}"], late = block(x, state[f"taps{i}"], late)
            if block.delay:
                after[f"late{i}"] = late
        return self.out(self.ln(x)), after


def grow(weights: dict[str, Tensor], seed: int = 0) -> Student:
    """The student of `GROWTHS[-1]` that computes what the smaller one with `weights` does.

    New blocks start with an output of 0, new hidden units with output weights of 0, so the function
    is the same, one frame later for each new block with a future tap; training then moves them.
    """
    torch.manual_seed(seed)
    for growth in GROWTHS:
        if _blocks(weights) < len(growth.blocks):
            weights = _grown(weights, growth)
    student = Student()
    student.load_state_dict(weights)
    return student


def _blocks(weights: Mapping[str, Tensor]) -> int:
    return sum(name.startswith("blocks.") and name.endswith(".g") for name in weights)


def _grown(smaller: Mapping[str, Tensor], growth: Growth) -> dict[str, Tensor]:
    weights = Student(StudentShape(blocks=growth.blocks)).state_dict()
    for name in ("c1", "ln", "out", "ph"):
        for part in ("weight", "bias"):
            weights[f"{name}.{part}"] = smaller[f"{name}.{part}"].clone()
    for i, source in enumerate(growth.grown_from):
        here, there = f"blocks.{i}.", f"blocks.{source}."
        weights[here + "b.weight"].zero_()
        if source is None:
            weights[here + "b.bias"].zero_()
            continue
        units = smaller[there + "a.weight"].shape[0]
        weights[here + "a.weight"][:units] = smaller[there + "a.weight"]
        weights[here + "a.bias"][:units] = smaller[there + "a.bias"]
        weights[here + "b.weight"][:, :units] = smaller[there + "b.weight"]
        for name in ("b.bias", "ln.weight", "ln.bias", "g"):
            weights[here + name] = smaller[there + name].clone()
    return weights


def average(*checkpoints: dict[str, Tensor]) -> dict[str, Tensor]:
    """The mean of checkpoints of one shape, weight by weight."""
    return {k: torch.stack([c[k].float() for c in checkpoints]).mean(0) for k in checkpoints[0]}
