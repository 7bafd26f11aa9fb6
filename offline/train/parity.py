"""Whether the exported voice says what the trained network says: torch, ONNX Runtime, streaming."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from stream.audio import Audio
from stream.errors import BadExport
from stream.models.synth import Speaker, Speech

CUTS: Final = (2, 4, 10)  # frames of 10 ms a call
WORST_EXPORT_DB: Final = -40.0  # weights of 16 bits are near -64, RVC's graphs near -50
WORST_STREAM_DB: Final = -60.0
WORST_ROUNDED_DB: Final = -15.0  # weights and activations of 8 bits are near -34

Reference = Callable[[Audio, Audio, int], Audio]
"""(features [T, dim], f0 [T], seed) -> [T hop]: the trained network in one pass, in torch."""


class Speaks(Protocol):
    """A synthesizer that opens stretches of speech."""

    @property
    def delay_frames(self) -> int: ...
    def open(self, seed: int, context: int) -> Speech: ...


@dataclass(frozen=True)
class Parity:
    """Distances in dB of what differs to what is said; the lower the better.

    export   ONNX Runtime from torch, before weights are rounded to 8 bits
    stream   hops of 20, 40 and 100 ms from one call; -inf where they are equal bit for bit
    rounded  the voice as it is kept from torch, where that is in 8 bits; else -inf
    """

    export_db: float
    stream_db: float
    rounded_db: float = -float("inf")

    @property
    def told(self) -> str:
        """In words, for a card."""
        exact = "bit for bit" if self.stream_db == -np.inf else f"to {self.stream_db:.0f} dB"
        text = f"ONNX Runtime equals torch to {self.export_db:.0f} dB, streaming one pass {exact}"
        if self.rounded_db > -float("inf"):
            text += f"; 8-bit weights are {self.rounded_db:.0f} dB off"
        return text


def compare(
    synth: Speaks,
    reference: Reference,
    features: Audio,
    f0: Audio,
    hop: int,
    *,
    window: int = 0,
    edge: int = 0,
) -> Parity:
    """Say `features` [T, dim] with `f0` [T] in torch, in one call, and in calls of 20 to 100 ms.

    hop     samples a frame of 10 ms
    window  for voices that hear what follows: how many frames they hear at once; 0 for others
    edge    frames at the end that hear what follows, of which torch and they know nothing alike

    Law: what passes `check` sounds live as it did in training. A voice that hears ahead streams
    like one pass as far as its window reaches; beyond it the profile decides.
    """
    frames = len(f0) // (2 * CUTS[-1]) * 2 * CUTS[-1]
    features, f0 = features[:frames], f0[:frames]
    late = 2 * synth.delay_frames
    whole = _said(synth, features, f0, frames, 0)
    wanted = reference(features, f0, 0)[: (frames - late - edge) * hop]
    export = _apart(whole[late * hop :][: len(wanted)], wanted)
    if window:
        features, f0 = features[:window], f0[:window]
        whole = _said(synth, features, f0, window, 0)
    cuts = [_said(synth, features, f0, cut, window) for cut in CUTS]
    return Parity(export, max(_apart(said, whole) for said in cuts))


def check(parity: Parity) -> Parity:
    """The same; raises `BadExport` when one of the distances is too large."""
    than = "the exported graph says something else"
    limits = (
        (f"{than} than the trained network", parity.export_db, WORST_EXPORT_DB),
        (f"{than} in pieces than in one", parity.stream_db, WORST_STREAM_DB),
        (f"{than} in 8 bits than the trained network", parity.rounded_db, WORST_ROUNDED_DB),
    )
    for what, found, most in limits:
        if not found <= most:
            raise BadExport(f"{what}: {found:.1f} dB apart, {most:.0f} at most")
    return parity


def _said(synth: Speaks, features: Audio, f0: Audio, cut: int, ahead: int) -> Audio:
    """In calls of `cut` frames, each of which hears up to `ahead` more."""
    speech, said = synth.open(0, len(f0)), list[Audio]()
    for at in range(0, len(f0), cut):
        until = min(len(f0), at + cut + ahead)
        more = until - min(len(f0), at + cut)
        said.append(speech.step(features[at:until], f0[at:until], more, at, Speaker()))
    return np.concatenate(said)


def _apart(one: Audio, other: Audio) -> float:
    """Level of the difference under that of `other`, dB."""
    power = float(np.sum(np.square(other.astype(np.float64))))
    left = float(np.sum(np.square(one.astype(np.float64) - other)))
    if not np.isfinite(left) or power <= 0.0:
        return float("inf")
    return 10.0 * float(np.log10(left / power)) if left else -float("inf")
