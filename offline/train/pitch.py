"""Makes `stream/models/assets/harmonic-f0.onnx`, the light pitch detector, from recordings.

    python -m offline.train.pitch RECORDINGS harmonic-f0.onnx --work WORK --steps 3000

It learns from SwiftF0 (`offline.train.swift`), which hears each recording as a whole, what to
answer from 40 ms of what follows; and from made singing, whose pitch is known exactly.
`stream.models.f0.harmonic` computes the spectra that it hears, here as in a live stream.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.jit._trace import TracerWarning
from torch.nn import functional as F

from offline.train.pitch_sound import MARGIN, PAIRS, Crop, Crops, load
from stream.audio import CONTENT_HOP, FRAME_HOP, FRAMES_PER_CONTENT, Audio
from stream.models.f0 import Detectors
from stream.models.f0.harmonic import (
    FIRST_HZ,
    FUTURE,
    OCTAVE,
    PARTIALS,
    PAST,
    PITCHES,
    SHIFTS,
    SPECTRA,
    STEPS,
    heard,
)

log = logging.getLogger(__name__)

BAND, HIDDEN = 16, 32  # steps of a band; the voice's hidden layer
BESIDE = 3  # steps on either side of the best one that the pitch is the mean of
WIDTH = 0.8  # steps: the deviation of what the network shall answer around the pitch
CUT_SHARE = 0.12  # of the crops: one content frame of what follows; as many with none
PICKED = 12  # pairs of a crop that a step learns from: neighbours teach much the same


class Harmonic(nn.Module):
    """Levels [B, SPECTRA, STEPS] -> salience logits [B, 2, PITCHES] and voice logits [B, 2].

    The spectra are laid on top of each other, shifted by as much as each partial lies above the
    pitch. What then stands in one column belongs to one pitch, whatever it is: convolutions along
    the pitch need not learn every pitch by itself. One of them compares each pitch to those an
    octave below and above. Whether there is voice is told from the most and the mean of what they
    say, and from the bands of each spectrum.
    """

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        stacked = SPECTRA * len(PARTIALS)
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(stacked, width, (1, 3), padding=(0, 1)),
                nn.Conv2d(width, width, (1, 5), padding=(0, 2)),
                nn.Conv2d(width, width, (1, 3), padding=(0, OCTAVE), dilation=(1, OCTAVE)),
                nn.Conv2d(width, width, (1, 5), padding=(0, 2)),
            ]
        )
        self.norms = nn.ModuleList([nn.BatchNorm2d(width) for _ in self.layers])
        self.pitch = nn.Conv2d(width, FRAMES_PER_CONTENT, 1)
        self.bands = nn.AvgPool2d((1, BAND))
        inputs = 2 * width + SPECTRA * (STEPS // BAND)
        self.voice = nn.Sequential(
            nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, FRAMES_PER_CONTENT)
        )

    def forward(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        row = levels[:, :, None]
        x = torch.cat([row[..., shift : shift + PITCHES] for shift in SHIFTS], 1)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = norm(layer(x)).relu()
        told = [x.amax(dim=(2, 3)), x.mean(dim=(2, 3)), self.bands(row).flatten(1)]
        return self.pitch(x)[:, :, 0], self.voice(torch.cat(told, 1))


class Answer(nn.Module):
    """The network with what turns its answer into a pitch: log2 of Hz and confidence, [B, 2]."""

    def __init__(self, network: Harmonic) -> None:
        super().__init__()
        self.network = network

    def forward(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        salience, voice = self.network(levels)
        steps = torch.arange(PITCHES, dtype=torch.float32)
        octaves = math.log2(FIRST_HZ) + steps / OCTAVE
        best = salience.argmax(2, keepdim=True).to(torch.float32)
        far = ((steps - best).abs() - BESIDE).relu()
        return torch.softmax(salience - 1e4 * far, 2) @ octaves, torch.sigmoid(voice)


def pairs_of(crop: Crop, ahead: int, at: NDArray[np.int64]) -> Audio:
    """What the network hears of the pairs `at` of a crop, [n, SPECTRA, STEPS].

    ahead  content frames of what follows, 0 to 2; beyond them there is silence
    """
    begins = MARGIN + FRAME_HOP // 2 - PAST + CONTENT_HOP * at
    blocks = crop.sound[begins[:, np.newaxis] + np.arange(PAST + FUTURE)]
    blocks[:, PAST + FUTURE - CONTENT_HOP * (2 - ahead) :] = 0.0
    return np.concatenate([heard(block, 1) for block in blocks])


def batches(crops: Crops, size: int, seed: int = 0) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """levels [size PICKED, SPECTRA, STEPS], f0 and known [size PICKED, 2], without end."""
    chance = np.random.default_rng(seed)
    while True:
        drawn = [crops() for _ in range(size)]
        aheads = np.where(chance.random(size) < 2 * CUT_SHARE, chance.integers(0, 2, size), 2)
        parts: list[tuple[Audio, Audio, NDArray[np.bool_]]] = []
        for crop, ahead in zip(drawn, aheads.tolist(), strict=True):
            at = chance.choice(PAIRS, PICKED, replace=False).astype(np.int64)
            f0, known = crop.f0.reshape(-1, 2), crop.known.reshape(-1, 2)
            parts.append((pairs_of(crop, ahead, at), f0[at], known[at]))
        levels, f0, known = (np.concatenate(part) for part in zip(*parts, strict=True))
        yield torch.from_numpy(levels), torch.from_numpy(f0), torch.from_numpy(known)


def loss(salience: Tensor, voice: Tensor, f0: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """How far the pitch (of voiced frames) and the voicing are off: two means of cross entropy."""
    voiced = f0 > 0.0
    place = OCTAVE * (torch.log2(f0.clamp(min=FIRST_HZ)) - math.log2(FIRST_HZ))
    apart = torch.arange(PITCHES) - place.unsqueeze(2)
    wanted = torch.softmax(-0.5 * (apart / WIDTH) ** 2, 2)
    off = -(wanted * torch.log_softmax(salience, 2)).sum(2)
    say = (voiced & known).float()
    pitch = (off * say).sum() / say.sum().clamp(min=1.0)
    doubt = F.binary_cross_entropy_with_logits(voice, voiced.float(), reduction="none")
    return pitch, (doubt * known).sum() / known.sum().clamp(min=1)


def train(network: Harmonic, crops: Crops, steps: int, *, size: int, rate: float) -> None:
    """Train for `steps` steps of `size` crops; the learning rate falls from `rate` to 0."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-3)
    network.train()
    for step, (levels, f0, known) in enumerate(islice(batches(crops, size), steps)):
        for group in optimiser.param_groups:
            slower = 0.5 + 0.5 * math.cos(math.pi * step / steps)
            group["lr"] = rate * slower * min(1.0, (step + 1) / 50)
        salience, sure = network(levels)
        pitch, voice = loss(salience, sure, f0, known)
        optimiser.zero_grad()
        (pitch + 2.0 * voice).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        if step % 50 == 0:
            off = pitch.item(), voice.item()
            log.info("step %d: pitch %.3f, voice %.3f", step, *off)
    network.eval()


def export(network: Harmonic, path: Path) -> None:
    """Write the graph: `levels` in, `octaves` (log2 of Hz) and `sure` [batch, 2] out."""
    draft = path.with_suffix(".draft")
    names = ("levels", "octaves", "sure")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", TracerWarning)
        torch.onnx.export(
            Answer(network).eval(),
            (torch.zeros(1, SPECTRA, STEPS),),
            str(draft),
            input_names=names[:1],
            output_names=names[1:],
            dynamic_axes={name: {0: "batch"} for name in names},
            opset_version=17,
            dynamo=False,
        )
    onnx.checker.check_model(onnx.load(str(draft)), full_check=True)
    os.replace(draft, path)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="offline.train.pitch", description=__doc__)
    parser.add_argument("recordings", type=Path, help="a folder of speech, any rate")
    parser.add_argument("out", type=Path, help="the .onnx file to write")
    parser.add_argument("--work", type=Path, required=True, help="a folder for what was found")
    parser.add_argument("--steps", type=int, default=3_000, help="of training")
    parser.add_argument("--crops", type=int, default=24, help="crops of .8 s in a step")
    parser.add_argument("--rate", type=float, default=3e-3, help="of learning, at first")
    parser.add_argument("--start", type=Path, help="WORK/harmonic.pt of a training to go on from")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(args.seed)
    args.work.mkdir(parents=True, exist_ok=True)
    crops = Crops(load(args.recordings, args.work, Detectors(Path())["swift"]), args.seed)
    network = Harmonic()
    if args.start:
        network.load_state_dict(torch.load(args.start, weights_only=True))
    train(network, crops, args.steps, size=args.crops, rate=args.rate)
    torch.save(network.state_dict(), args.work / "harmonic.pt")
    export(network, args.out)


if __name__ == "__main__":
    main()
