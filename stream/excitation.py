"""The excitation: the pulse train and noise that a synthesizer's filter shapes into speech."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stream.audio import Audio
from stream.noise import FrameNoise

F64 = NDArray[np.float64]

_HALF = 0.5  # the phase, in cycles, furthest from a pulse


class Excitation:
    """Band-limited pulses at f0 plus noise, one block after another.

    In a voiced frame the signal is a sum of cosines at the multiples of f0, equally strong, up to
    `limit` x sample rate: with N = limit * rate / f0, n = floor(N) and r = N - n,

        x = a * (cos p + cos 2p + ... + cos np + r cos (n+1)p)
        a = voiced_rms * sqrt(2 / (n + r^2))

    so the top harmonic fades in and out instead of switching as f0 moves. p advances by
    2 pi f0 / rate a sample and is carried in float64. An unvoiced frame (f0 = 0) is noise alone and
    sets p half a cycle from the next pulse, so that voicing starts where the pulses are near zero.
    f0 holds for a whole frame.

    Law: a frame's samples depend on the f0 up to it and on its absolute number, so any cut into
    blocks gives identical bits.
    """

    def __init__(
        self,
        sample_rate: int,
        hop: int,
        seed: int = 0,
        *,
        limit: float = 0.45,
        voiced_rms: float = 0.1,
        voiced_noise: float = 0.003,
        unvoiced_noise: float = 0.0333,
    ) -> None:
        self._rate = sample_rate
        self._drawn = FrameNoise(seed + 1, hop)  # the prior draws its noise with `seed` itself
        self._limit = limit
        self._voiced_rms = voiced_rms
        self._noise = (np.float32(unvoiced_noise), np.float32(voiced_noise))
        self._ramp = np.arange(1, hop + 1, dtype=np.float64) / sample_rate
        self._frame_s = float(self._ramp[-1])
        self._phase = _HALF

    def reset(self) -> None:
        """Forget the phase: the next frame starts a new stream."""
        self._phase = _HALF

    def step(self, f0: ArrayLike, first_frame: int) -> Audio:
        """f0 [T] in Hz, 0 = unvoiced, of frames `first_frame` ... -> [T * hop] samples."""
        pitches = np.asarray(f0, dtype=np.float64)
        voiced = pitches > 0
        out = self._drawn.rows(first_frame, len(pitches))
        out *= np.where(voiced, self._noise[1], self._noise[0])[:, np.newaxis]
        begins = np.empty(len(pitches))
        for i, pitch in enumerate(pitches.tolist()):
            begins[i] = self._phase
            ends = (self._phase + pitch * self._frame_s) % 1.0
            self._phase = ends if pitch > 0 else _HALF
        if voiced.any():
            sung = pitches[voiced, np.newaxis]
            out[voiced] += self._pulses(begins[voiced, np.newaxis] + sung * self._ramp, sung)
        return out.reshape(-1)

    def _pulses(self, cycles: F64, f0: F64) -> F64:
        """[n, hop] phases in cycles, f0 [n, 1] -> [n, hop]: the closed form of the cosines' sum."""
        wanted = np.maximum(1.0, self._limit * self._rate / f0)
        full = np.floor(wanted)
        part = wanted - full
        cycles = cycles - np.round(cycles)  # -1/2 .. 1/2: sin(pi c) is zero at a pulse only
        below = np.sin(np.pi * cycles)
        near = np.abs(below) < 1e-7
        ratio = np.sin((2 * full + 1) * np.pi * cycles) / np.where(near, 1.0, below)
        total = np.where(near, full, (ratio - 1.0) / 2)
        total = total + part * np.cos(2 * np.pi * (full + 1) * cycles)
        return total * (self._voiced_rms * np.sqrt(2.0 / (full + part * part)))


class Sine:
    """RVC's excitation: a sine at f0 with a little noise, and noise where there is no voice.

    amplitude 0.1; noise of standard deviation 0.003 in voiced frames, 0.1 / 3 in others, as its
    voices were trained with. The phase is the sum of f0 / rate up to and including a sample; an
    unvoiced frame (f0 = 0) halts it. It is carried in float64, and f0 holds for a whole frame.

    Law: a frame's samples depend on the f0 up to it and on its absolute number.
    """

    AMPLITUDE = 0.1
    VOICED_NOISE = 0.003

    def __init__(self, sample_rate: int, hop: int, seed: int = 0) -> None:
        self._drawn = FrameNoise(seed + 1, hop)  # the prior draws its noise with `seed` itself
        self._ramp = np.arange(1, hop + 1, dtype=np.float64) / sample_rate
        self._phase = 0.0  # cycles

    def step(self, f0: ArrayLike, first_frame: int, keep: int) -> Audio:
        """f0 [T] in Hz, 0 = unvoiced, of frames `first_frame` ... -> [T * hop] samples.

        Only the first `keep` frames advance the phase: the others are provisional.
        """
        pitches = np.asarray(f0, dtype=np.float64)
        begins = self._phase + np.concatenate([[0.0], np.cumsum(pitches)]) * self._ramp[-1]
        self._phase = float(begins[keep] % 1.0)
        cycles = begins[:-1, np.newaxis] + pitches[:, np.newaxis] * self._ramp
        voiced = (pitches > 0.0)[:, np.newaxis]
        noise = self._drawn.rows(first_frame, len(pitches))
        size = np.where(voiced, self.VOICED_NOISE, self.AMPLITUDE / 3.0)
        wave = np.where(voiced, self.AMPLITUDE * np.sin(2.0 * np.pi * cycles), 0.0)
        return (wave + size * noise).astype(np.float32).reshape(-1)
