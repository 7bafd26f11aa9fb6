"""Sample-rate conversion of a live stream: a short linear-phase filter in polyphase form.

Measured on the tables of `design`, all pairs of the rates a client may send and 16 or 24 kHz:

    conversion            look-ahead  level up to 0.85 of the    70 dB down from
                                      lower Nyquist frequency    (x that Nyquist frequency)
    8, to or from any     <= 2.0 ms   within 0.003 dB            1.15
    16, to or from 22-48  <= 1.6 ms   within 0.003 dB            1.05
    24, to or from 22-48  <= 1.5 ms   within 0.003 dB            1.00

So nothing folds back below 0.85 of the Nyquist frequency. `tests/stream/test_resample.py` holds
these figures.
"""

import math
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from stream.audio import Audio

STOP_DB = 74.0  # attenuation that the Kaiser window is designed for
PASS = 0.85  # part of the lower rate's Nyquist frequency that must pass unharmed
AIM_S = 0.0015  # half of the filter, and so the look-ahead; more only where it must be, for 8 kHz
SLICE = 4096  # output samples computed at once; bounds the memory of long blocks
FEW = 8  # phases: with so few, each is worth a pass of its own


class Resampler:
    """Converts `rate_in` to `rate_out` (Hz), sample by sample on one clock.

    Output sample n lies at time n / rate_out of the input's own clock (no delay, no drift), and
    `flush` completes it to exactly ceil(samples in * rate_out / rate_in) samples. However the
    input is cut,

        concat(step(block) for block in blocks) + flush() == the same input in one step

    bit for bit. `lookahead` is what it must hear beyond an output sample's time, in input samples.
    Equal rates pass everything unchanged.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        if rate_in < 1 or rate_out < 1:
            raise ValueError(f"rates must be positive, got {rate_in} and {rate_out} Hz")
        common = math.gcd(rate_in, rate_out)
        self._up, self._down = rate_out // common, rate_in // common  # outputs per inputs
        self._taps = design(rate_in, rate_out)  # [phases, 2 * lookahead]
        self.lookahead = self._taps.shape[1] // 2
        self.reset()

    def count(self, samples_in: int) -> int:
        """Output samples that have come out once `samples_in` were fed, before `flush`."""
        return max(0, -(-(samples_in - self.lookahead) * self._up // self._down))

    def step(self, x: Audio) -> Audio:
        """The output samples that `x` [n] completes."""
        if self._up == self._down:
            return x.copy()
        self._fed += len(x)
        self._held = np.concatenate([self._held, x])
        return self._advance(self.count(self._fed))

    def flush(self) -> Audio:
        """The rest, as if silence followed; leaves the stream as new."""
        total = -(-self._fed * self._up // self._down)
        self._held = np.concatenate([self._held, np.zeros(self.lookahead, np.float32)])
        rest = self._advance(total)
        self.reset()
        return rest

    def reset(self) -> None:
        """Drop what is inside; the next sample is the stream's first."""
        self._fed = 0  # input samples taken in
        self._made = 0  # output samples given out
        self._first = 1 - self.lookahead  # position of _held[0]; before 0 there is silence
        self._held: Audio = np.zeros(max(self.lookahead - 1, 0), np.float32)

    def _advance(self, until: int) -> Audio:
        """Output samples _made .. until - 1; drops the input that no later sample needs."""
        parts = [self._compute(a, min(a + SLICE, until)) for a in range(self._made, until, SLICE)]
        self._made = max(self._made, until)
        oldest = self._made * self._down // self._up - self.lookahead + 1
        self._held = self._held[oldest - self._first :].copy()
        self._first = oldest
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def _compute(self, a: int, b: int) -> Audio:
        """Output samples a .. b - 1.

        Each is the sum over one row, added up in an order that depends on the row's length alone
        (a matrix product's order depends on the number of rows: it would not be cut-invariant).
        """
        if self._up <= FEW:
            return self._phase_by_phase(a, b)
        at = np.arange(a, b, dtype=np.int64) * self._down
        whole, phase = at // self._up, at % self._up
        windows = sliding_window_view(self._held, self._taps.shape[1])
        rows = windows[whole - self.lookahead + 1 - self._first]  # a copy, [b - a, width]
        return np.einsum("ij,ij->i", rows, self._taps[phase])

    def _phase_by_phase(self, a: int, b: int) -> Audio:
        """The same without a copy: the samples of one phase lie evenly, and have the same taps."""
        width, step = self._taps.shape[1], self._held.itemsize
        out = np.empty(b - a, np.float32)
        for k in range(min(self._up, b - a)):
            whole, phase = divmod((a + k) * self._down, self._up)
            begin, count = whole - self.lookahead + 1 - self._first, (b - a - 1 - k) // self._up + 1
            strides = step * self._down, step
            rows = np.ndarray((count, width), np.float32, self._held, step * begin, strides)
            np.einsum("ij,j->i", rows, self._taps[phase], out=out[k :: self._up])
        return out


@cache
def design(rate_in: int, rate_out: int) -> NDArray[np.float32]:
    """Filter taps, [phases, 2 * half], half in input samples; [1, 0] for equal rates.

    Row p holds the filter for output samples that lie p / phases of an input sample after input
    sample i: it weighs the samples i - half + 1 .. i + half. Each row sums to 1, so a constant
    stays constant.

    A Kaiser-windowed sinc. Its transition begins at 0.85 of the lower Nyquist frequency and is as
    narrow as 1.5 ms of look-ahead allow (2 ms at 8 kHz, where more would fold back below 0.85), but
    no narrower than needed to end at the Nyquist frequency itself.
    """
    if rate_in == rate_out:
        return np.zeros((1, 0), np.float32)
    nyquist = min(rate_in, rate_out) / 2.0
    gap = (1.0 - PASS) * nyquist

    def half_length(transition_hz: float) -> float:
        return (STOP_DB - 7.95) / (14.36 * transition_hz) / 2.0  # seconds; Kaiser's formula

    seconds = min(half_length(gap), max(AIM_S, half_length(2.0 * gap)))
    half = math.ceil(seconds * rate_in)
    seconds = half / rate_in
    transition = (STOP_DB - 7.95) / (14.36 * 2.0 * seconds)
    cutoff = PASS * nyquist + transition / 2.0
    phases = rate_out // math.gcd(rate_in, rate_out)
    offsets = np.arange(1 - half, half + 1)[None, :] - np.arange(phases)[:, None] / phases
    beta = 0.1102 * (STOP_DB - 8.7)
    window = np.i0(beta * np.sqrt(np.maximum(1.0 - (offsets / half) ** 2, 0.0))) / np.i0(beta)
    taps = window * np.sinc(2.0 * cutoff / rate_in * offsets)
    taps = (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)
    taps.flags.writeable = False  # every stream between these rates has the same
    return taps
