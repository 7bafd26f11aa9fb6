"""Several separators as one: each one's target, joined sample by sample or bin by bin."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from offline.separate.digest import digest_of
from offline.separate.overlap import overlap_add
from offline.separate.protocol import Progress, Separator, Song
from offline.separate.spectra import istft, stft
from offline.separate.windowed import Reader, measure
from stream.audio import Audio
from stream.errors import ConfigError

Method = Literal["mean", "median", "min", "max"]
Domain = Literal["wave", "bins"]
SIZE, HOP = 4096, 1024  # of the spectra whose bins are joined
STEP = 1 << 18  # frames that all members are asked for at a time: 6 s
Values = NDArray[Any]


@dataclass(frozen=True)
class Ensemble:
    """A `Separator` of several, which work side by side.

    Law: members that agree are left as they are (bins: to -90 dB); one of which all but one have
    no part in the result (weight 0) is that one.

    method   mean, median (of real and imaginary parts, each), min or max (the member nearest to or
             farthest from silence)
    domain   wave: samples; bins: complex spectra, in which quiet places of each pitch are found
             apart. The mean is the same in both and is taken of samples.
    weights  one for each member, for mean and median; empty: all the same
    """

    members: tuple[Separator, ...]
    method: Method = "mean"
    domain: Domain = "wave"
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.members:
            raise ConfigError("An ensemble needs a model.")
        for member in self.members[1:]:
            if (member.target, member.rest) != (self.target, self.rest):
                raise ConfigError(
                    f"An ensemble is of models for the same task: one gives {self.target}, "
                    f"another {member.target}."
                )
        if not self.weights:
            return
        if self.method in ("min", "max"):
            raise ConfigError(f"Weights have no meaning for {self.method}; for mean and median.")
        if len(self.weights) != len(self.members):
            held = f"{len(self.members)} models and {len(self.weights)} weights"
            raise ConfigError(f"An ensemble of {held}: give one weight for each model.")
        if min(self.weights) < 0 or sum(self.weights) <= 0 or not np.isfinite(self.weights).all():
            raise ConfigError("Weights are 0 or more, and not all 0.")

    @property
    def target(self) -> str:
        """What is wanted."""
        return self.members[0].target

    @property
    def rest(self) -> str:
        """The song without it."""
        return self.members[0].rest

    @property
    def stems(self) -> tuple[str, ...]:
        """`target` and `rest`: what else members may give is not joined."""
        return (self.target, self.rest)

    @property
    def digest(self) -> str:
        """Of the members and how they are joined."""
        parts = [member.digest for member in self.members]
        how = {"method": self.method, "domain": self.domain, "weights": self._weights().tolist()}
        return digest_of("ensemble", how, *parts)

    def stream(self, song: Song, *, progress: Progress | None = None) -> Iterator[Audio]:
        """The two stems in pieces [2, n, 2], at the song's rate."""
        frames, _ = measure(song)
        joined = self._in_bins(song) if self._binned() else self._in_samples(song)
        mix, done = Reader(song.blocks(song.rate)), 0
        for target in joined:
            piece = target[: frames - done]
            done += len(piece)
            yield np.stack([piece, mix.read(len(piece)) - piece])
            if progress:
                progress(done, frames)

    def _binned(self) -> bool:
        return self.domain == "bins" and self.method != "mean" and len(self.members) > 1

    def _weights(self) -> Audio:
        given = self.weights or (1.0,) * len(self.members)
        return (np.array(given) / sum(given)).astype(np.float32)

    def _in_samples(self, song: Song) -> Iterator[Audio]:
        weights = self._weights()
        for targets in self._together(song):
            yield join(targets, self.method, weights).astype(np.float32)

    def _in_bins(self, song: Song) -> Iterator[Audio]:
        net = _Bins(len(self.members), self.method, self._weights())
        beside = (x.transpose(1, 0, 2).reshape(x.shape[1], -1) for x in self._together(song))
        for part in overlap_add(beside, net):
            yield part[0]

    def _together(self, song: Song) -> Iterator[Audio]:
        """What the members give for the target, [members, n, 2], the members in threads."""

        def targets(member: Separator) -> Iterator[Audio]:
            place = member.stems.index(self.target)
            return (part[place] for part in member.stream(song))

        readers = [Reader(targets(member)) for member in self.members]
        with ThreadPoolExecutor(len(readers), "separate") as pool:
            while True:
                parts = list(pool.map(partial(Reader.read, n=STEP), readers))
                if not len(parts[0]):
                    return
                yield np.stack(parts)


@dataclass(frozen=True)
class _Bins:
    """Joins bins: a `Net` that hears the members' targets side by side, [window, members * 2]."""

    members: int
    method: Method
    weights: Audio
    rate: int = 0  # any
    stems: tuple[str, ...] = ("joined",)
    window: int = SIZE + 63 * HOP
    edge: int = SIZE - HOP

    def __call__(self, x: Audio) -> Audio:
        spectra = stft(x, SIZE, HOP)
        apart = spectra.reshape(self.members, -1, *spectra.shape[1:])
        return istft(join(apart, self.method, self.weights), SIZE, HOP)[np.newaxis]


def join(values: Values, method: Method, weights: Audio) -> Values:
    """`values` [members, ...], real or complex, as one, [...]; `weights` [members] sum to 1.

    The median is the weighted one: where half of the weight lies below, of complex numbers the real
    and imaginary parts each; between two it is their mean.
    """
    if method == "mean":
        return np.tensordot(weights, values, axes=1)
    if method == "median":
        if np.iscomplexobj(values):
            parts = (_median(np.real(values), weights), _median(np.imag(values), weights))
            return parts[0] + 1j * parts[1]
        return _median(values, weights)
    sizes = np.abs(values)
    chosen = sizes.argmin(axis=0) if method == "min" else sizes.argmax(axis=0)
    return np.take_along_axis(values, chosen[np.newaxis], axis=0)[0]


def _median(values: Values, weights: Audio) -> Values:
    order = np.argsort(values, axis=0)
    ranked = np.take_along_axis(values, order, axis=0)
    below = np.cumsum(weights[order], axis=0)
    low = np.argmax(below >= 0.5 - 1e-6, axis=0)[np.newaxis]
    high = np.argmax(below > 0.5 + 1e-6, axis=0)[np.newaxis]
    pair = [np.take_along_axis(ranked, place, axis=0)[0] for place in (low, high)]
    return (pair[0] + pair[1]) / 2


def together(
    members: Sequence[Separator], method: Method, domain: Domain, weights: Sequence[float]
) -> Separator:
    """The only member, or an `Ensemble` of several."""
    if len(members) == 1 and not weights:
        return members[0]
    return Ensemble(tuple(members), method, domain, tuple(weights))
