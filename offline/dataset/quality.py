"""How good a recording is, in numbers that a person can act on."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from stream.audio import ANALYSIS_RATE, FRAME_HOP, SILENCE_DB, Audio, frame_levels, rms_db
from stream.models.f0 import HIGHEST_HZ, LOWEST_HZ

FRAMES_A_SECOND = 50  # levels are taken over 20 ms
GATED_DB = -100.0  # below it there is no room, only digits
FLAT = 4  # samples of one value in a row at the top: a clipped peak
NEAR_TOP = 0.98  # of the largest sample
STANDS_OUT_DB = 12.0  # what is said, above what is there anyway, in a band
TONE = 16.0  # times the power around it: a tone, which noise does not have
TONE_WINDOW, TONE_STEP = 2048, 1024  # samples at 16 kHz
LOWEST_TONE, HIGHEST_TONE = 150.0, 4000.0  # Hz; below is what mains hum has
SURE_WINDOWS = 8
STEADY = 0.7  # correlation from one period to the next that one voice alone keeps
MOST_PERIODS = 3_000  # frames looked at

PITCH_EDGES = tuple(
    float(f"{LOWEST_HZ * 2 ** (step / 12):.2f}")
    for step in range(int(np.ceil(12 * np.log2(HIGHEST_HZ / LOWEST_HZ))) + 1)
)
"""Hz: edges of the pitch histogram, a semitone apart."""


class Quality(BaseModel):
    """What is known of a recording's sound. Levels are dBFS: a full-scale square wave is 0."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: float
    source_rate: int = Field(description="Hz, of the file")
    bandwidth_hz: float = Field(description="up to where there is speech")
    peak_db: float
    clipped: float = Field(description="share of samples in flat tops")
    speech_db: float = Field(description="while somebody speaks")
    noise_db: float = Field(description="what is there in the pauses")
    threshold_db: float = Field(description="between the two: above it is speech")
    silence: float = Field(description="share of frames without speech")
    tonal: float | None = Field(
        description="share of what is heard in the pauses that is tones; None without pauses"
    )

    @property
    def snr_db(self) -> float:
        """By how much speech stands above what else is there."""
        return self.speech_db - self.noise_db


class Pitch(BaseModel):
    """What is known of a recording's melody."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    voiced: float = Field(description="share of frames")
    median_hz: float = Field(description="0 where nothing is voiced, as the next two")
    low_hz: float = Field(description="5 % of the voiced frames are lower")
    high_hz: float = Field(description="5 % are higher")
    counts: tuple[int, ...] = Field(description="frames between `PITCH_EDGES`")
    unsteady: float | None = Field(
        description="share of voiced frames that do not repeat with their own period, as one "
        "voice alone does; None where there is too little voice"
    )


def quality(raw: Audio, clean: Audio, rate: int, source_rate: int) -> tuple[Quality, Audio]:
    """Of a recording at `rate`, as it is [n] and without rumble [n]; also its levels [frames].

    Levels are those of frames of 20 ms. Speech is what lies above a threshold 6 dB over the noise,
    but never less than 12 nor more than 30 dB below the loud parts; the noise is the level that
    5 % of the frames do not reach.
    """
    size = rate // FRAMES_A_SECOND
    count = len(clean) // size
    levels = frame_levels(clean[: count * size], size)
    heard = levels[levels > GATED_DB]
    low, loud = (
        (float(np.quantile(heard, 0.05)), float(np.quantile(heard, 0.95)))
        if len(heard)
        else (SILENCE_DB, SILENCE_DB)
    )
    gated = len(heard) < 0.95 * len(levels)  # a gate, or an editor, made the pauses digital
    noise = GATED_DB if gated else low
    threshold = max(loud - 30.0, min(low + 6.0, loud - 12.0)) if len(heard) else SILENCE_DB
    speaks = levels > threshold
    return Quality(
        seconds=len(raw) / rate,
        source_rate=source_rate,
        bandwidth_hz=_bandwidth(clean, rate, speaks),
        peak_db=20.0 * float(np.log10(max(np.abs(raw).max(initial=0.0), 1e-6))),
        clipped=clipped(raw),
        speech_db=rms_db(clean[: count * size].reshape(count, size)[speaks].reshape(-1)),
        noise_db=noise,
        threshold_db=threshold,
        silence=float(1.0 - speaks.mean()) if count else 1.0,
        tonal=None,
    ), levels


def clipped(x: Audio) -> float:
    """Share of the samples in `x` [n] that lie in flat tops: four or more equal ones up there."""
    top = float(np.abs(x).max(initial=0.0))
    if top < 0.1:
        return 0.0
    high = np.abs(x) >= NEAR_TOP * top
    same = np.concatenate([[False], high[1:] & (np.abs(np.diff(x)) <= 1e-5 * top), [False]])
    begins, ends = np.flatnonzero(~same[:-1] & same[1:]), np.flatnonzero(same[:-1] & ~same[1:])
    sizes = ends - begins + 1
    return float(sizes[sizes >= FLAT].sum() / max(1, len(x)))


def _bandwidth(x: Audio, rate: int, speaks: NDArray[np.bool_]) -> float:
    """Hz up to where speech stands out of what is there anyway, or out of nothing.

    In bands of a sixth of an octave, the power that one frame in fifty exceeds is compared with
    the power that one in ten does not reach.
    """
    size = 2 * (rate // FRAMES_A_SECOND)
    frames = np.lib.stride_tricks.sliding_window_view(x, size)[:: size // 2] if len(x) > size else x
    if frames.ndim < 2 or not speaks.any():
        return 0.0
    step = max(1, len(frames) // 3_000)
    power = np.square(np.abs(np.fft.rfft(frames[::step] * np.hanning(size))))
    hz = np.fft.rfftfreq(size, 1 / rate)
    edges = 500.0 * 2.0 ** (np.arange(0, 6 * np.log2(rate / 2 / 500.0) + 1) / 6.0)
    reached = 0.0
    for low, high in pairwise(edges):
        band = 10 * np.log10(power[:, (hz >= low) & (hz < high)].mean(axis=1) + 1e-20)
        loud, quiet = np.quantile(band, 0.98), np.quantile(band, 0.1)
        top = 10 * np.log10(np.quantile(power.mean(axis=1), 0.98) + 1e-20)
        if loud - max(quiet, top - 90.0) > STANDS_OUT_DB:
            reached = min(float(high), rate / 2)
    return reached


def tonal(heard: Audio, levels: Audio, threshold_db: float) -> float | None:
    """Share of the power between 150 and 4000 Hz in the pauses of `heard` (16 kHz) in tones.

    levels  of its frames of 20 ms; pauses are where a window lies below the threshold with all of
    itself, and above digital silence. None when there are too few to say anything.
    """
    quiet = (levels <= threshold_db) & (levels > GATED_DB)
    frame = ANALYSIS_RATE // FRAMES_A_SECOND
    starts = np.arange(0, len(heard) - TONE_WINDOW + 1, TONE_STEP)
    ends = np.minimum((starts + TONE_WINDOW - 1) // frame + 1, len(quiet))
    sums = np.concatenate([[0], np.cumsum(quiet)])
    first = starts // frame
    inside = (sums[ends] - sums[np.minimum(first, len(quiet))] == ends - first) & (ends > first)
    chosen = starts[inside]
    if len(chosen) < SURE_WINDOWS:
        return None
    chosen = chosen[:: max(1, len(chosen) // 200)]
    windows = np.stack([heard[at : at + TONE_WINDOW] for at in chosen])
    power = np.square(np.abs(np.fft.rfft(windows * np.hanning(TONE_WINDOW))))
    hz = np.fft.rfftfreq(TONE_WINDOW, 1 / ANALYSIS_RATE)
    around = np.lib.stride_tricks.sliding_window_view(
        np.pad(power, ((0, 0), (19, 19)), mode="edge"), 39, axis=1
    )
    band = (hz > LOWEST_TONE) & (hz < HIGHEST_TONE)
    tones = power * (power > TONE * np.median(around, axis=-1))
    return float(tones[:, band].sum() / max(power[:, band].sum(), 1e-20))


def pitch(heard: Audio, f0: Audio) -> Pitch:
    """Of a recording at 16 kHz [160 k] and its f0 [k] in Hz, 0 unvoiced."""
    voiced = f0[f0 > 0.0]
    if not len(voiced):
        none = (0,) * (len(PITCH_EDGES) - 1)
        return Pitch(voiced=0.0, median_hz=0.0, low_hz=0.0, high_hz=0.0, counts=none, unsteady=None)
    low, middle, high = (float(np.quantile(voiced, share)) for share in (0.05, 0.5, 0.95))
    return Pitch(
        voiced=len(voiced) / len(f0),
        median_hz=middle,
        low_hz=low,
        high_hz=high,
        counts=tuple(np.histogram(voiced, PITCH_EDGES)[0].tolist()),
        unsteady=unsteady(heard, f0),
    )


def unsteady(heard: Audio, f0: Audio) -> float | None:
    """Share of the voiced frames that do not repeat with their own period.

    Below 1.5 kHz, a piece of 20 ms or a period, if that is longer, is compared with the one a
    period later: normalised correlation below 0.7. Of 25 s of one man reading .11 of the frames
    are like that; with white or pink noise 10 dB below him .17; with music 10 dB below him .31,
    with a second voice as loud .27 to .36, in a strong echo .28.
    """
    at = np.flatnonzero(f0 > 0.0)
    if len(at) < 100:
        return None
    at = at[:: max(1, len(at) // MOST_PERIODS)]
    size = 1 << (len(heard) - 1).bit_length()
    spectrum = np.fft.rfft(heard, size)
    hz = np.fft.rfftfreq(size, 1 / ANALYSIS_RATE)
    spectrum[(hz > 1_500.0) | (hz < 60.0)] = 0.0
    low = np.fft.irfft(spectrum, size)[: len(heard)]
    alike: list[float] = []
    for frame in at.tolist():
        period = ANALYSIS_RATE / float(f0[frame])
        wide = max(320, int(period) + 1)
        begin = frame * FRAME_HOP + FRAME_HOP // 2 - (wide + int(period)) // 2
        if begin < 0 or begin + wide + int(period) + 1 > len(low):
            continue
        one = low[begin : begin + wide]
        others = (low[begin + lag :][:wide] for lag in (int(period), int(period) + 1))
        alike.append(max(_correlation(one, other) for other in others))
    return float(np.mean(np.array(alike) < STEADY)) if alike else None


def _correlation(x: Audio, y: Audio) -> float:
    return float(x @ y / (np.sqrt((x @ x) * (y @ y)) + 1e-12))
