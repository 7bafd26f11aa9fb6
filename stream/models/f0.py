"""Pitch detectors: a window of 16 kHz audio in, the fundamental of two synthesizer frames out."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream.audio import CONTENT_HOP, FRAME_HOP, FRAMES_PER_CONTENT, Audio
from stream.controls import F0Method
from stream.models.onnx import OnnxModel

ASSETS = Path(__file__).parent / "assets"
LOWEST_HZ, HIGHEST_HZ = 50.0, 1100.0  # the range of RVC's pitch embedding
FAINT = 2e-4  # peak, full scale 1: below it there is no pitch, whatever a model says
NEAR_OCTAVE = 0.15  # octaves: a jump this close to an octave looks like a detector's mistake


class F0Detector(Protocol):
    """Finds f0 at the two frames of one content frame.

    windows [n, window]  16 kHz audio; the newest sample is the last
    Returns [n, 2] in Hz, 0 where there is no voice. A row depends on its own window alone, bit for
    bit: neither the past nor how many windows a call has changes it. It holds nothing, so one
    detector serves every stream and thread.

    window     samples that it needs
    lookahead  samples between the later frame's centre and the newest sample
    """

    window: int
    lookahead: int

    def __call__(self, windows: Audio) -> Audio: ...


def frame_centres(delay_frames: int) -> tuple[int, int]:
    """How many samples before the window's end the two frames' centres lie, the earlier one first.

    delay_frames  content frames that follow in the window: the encoder's look-ahead

    >>> frame_centres(2)
    (880, 720)
    """
    if delay_frames < 0:
        raise ValueError(f"delay_frames must not be negative, got {delay_frames}")
    begin = CONTENT_HOP * (delay_frames + 1)
    earlier, later = (begin - FRAME_HOP // 2 - i * FRAME_HOP for i in range(FRAMES_PER_CONTENT))
    return earlier, later


class SwiftF0:
    """SwiftF0: small, steady, 16 ms frames. The graph starts at the spectra (offline.train.swift).

    Its frames lie 64, 320, 576 … samples before the window's end, so that they hear as much as
    there is; what is beyond the end is silence to them. f0 is interpolated between them.

    Distance to a pass over the whole recording, with 40 ms of content look-ahead, 25 s of speech
    (and the same played 1.5 and 2 times as fast): the same voicing in 98.5 % (97, 97) of the
    frames, median difference 2.8 cents (3.1, 3.5), beyond 200 cents 0.3 % (0.1, 0.1). A newest
    frame that lies 256 instead of 64 samples before the end misses onsets: 97 %. It needs 20 ms of
    look-ahead at least; with none, it finds little voice.

    The model wants a certain level: speech 30 dB lower than this loses 22 % of its voiced frames.
    So quiet windows are raised first, by 40 dB at most; noise is not taken for voice by that.
    """

    HOP = 256  # samples between its frames
    NEWEST = 64  # samples from the newest frame's centre to the window's end
    CONTEXT = 3  # frames before those that the result is read from
    SPECTRA = MappingProxyType({"short": 512, "middle": 1024, "long": 2048})  # samples
    VOICED = 0.5  # confidence
    LEVEL = 0.1  # root mean square to which quieter windows are raised
    MOST_GAIN = 100.0

    def __init__(self, centres: tuple[int, int], path: Path = ASSETS / "swift-f0.onnx") -> None:
        frames = math.ceil((centres[0] - self.NEWEST) / self.HOP) + 1 + self.CONTEXT
        reach = max(self.SPECTRA.values()) // 2
        distances = self.NEWEST + self.HOP * np.arange(frames)[::-1]  # to the window's end
        self._centres = np.array(centres)
        self._shares = shares(distances, self._centres)
        self._beyond = np.zeros(reach - self.NEWEST, np.float32)
        self._hann = {
            name: np.square(np.sin(np.pi * np.arange(size) / size)).astype(np.float32)
            for name, size in self.SPECTRA.items()
        }
        self._frames = {  # positions in the window of the samples of each frame, [frames, size]
            name: reach + self.HOP * np.arange(frames)[:, np.newaxis] + np.arange(size) - size // 2
            for name, size in self.SPECTRA.items()
        }
        self.window = int(distances[0]) + reach
        self.lookahead = centres[1]
        self._range = {
            "fmin": np.array(LOWEST_HZ, np.float32),
            "fmax": np.array(HIGHEST_HZ, np.float32),
        }
        self._model = OnnxModel(
            path,
            {name: (None, None, size // 2 + 1) for name, size in self.SPECTRA.items()}
            | {"fmin": (), "fmax": ()},
            {"pitch": (None, None), "confidence": (None, None)},
        )

    def __call__(self, windows: Audio) -> Audio:
        rows = [self._detect(window) for window in windows]
        return np.array(rows, np.float32).reshape(-1, FRAMES_PER_CONTENT)

    def _detect(self, window: Audio) -> Audio:
        outputs = self._model(**self.spectra(window), **self._range)
        pitch = np.log2(np.asarray(outputs["pitch"][0], np.float64))
        confidence = np.asarray(outputs["confidence"][0], np.float64)
        pitch = repair_octaves(pitch, confidence >= self.VOICED)
        octaves, sure = between(self._shares, pitch, confidence)
        voiced = (sure >= self.VOICED) & ~_faint(window, self._centres, self.HOP)
        return np.where(voiced, np.exp2(octaves), 0.0)

    def spectra(self, window: Audio) -> dict[str, Audio]:
        """Magnitudes [1, frames, bins] of every length of transform, of audio of even level."""
        level = math.sqrt(float(np.mean(np.square(window))))
        raised = window * np.float32(min(max(self.LEVEL / (level + 1e-9), 1.0), self.MOST_GAIN))
        audio = np.concatenate([raised, self._beyond])
        spectra: dict[str, Audio] = {}
        for name in self.SPECTRA:
            bins = np.fft.rfft(audio[self._frames[name]] * self._hann[name])
            spectra[name] = np.abs(bins)[np.newaxis].astype(np.float32)
        return spectra


class CrepeTiny:
    """CREPE tiny: hears 64 ms around each frame and nothing else (offline.train.crepe).

    An alternative where SwiftF0 misreads a voice; it costs nearly twice as much and, without
    context, errs more: against SwiftF0 over whole recordings of a low voice (95 Hz), the same
    voicing in 91 % of the frames, median difference 9 cents, 3 % beyond 200 cents (7 % without
    the step to the lower octave in `_decode`).
    """

    FRAME = 1024  # samples
    BINS = 360
    CENTS = 1997.3794084376191 + 20.0 * np.arange(BINS)  # of each bin, above 10 Hz
    BESIDE = 4  # bins on either side of the best one that are averaged
    OCTAVE = 60  # bins
    NEIGHBOUR = 0.5  # say of the other frame, 10 ms away, in which peak is the pitch
    LOWER = 0.35  # salience, in parts of the best, at which the octave below is preferred
    VOICED = 0.3  # salience

    def __init__(self, centres: tuple[int, int], path: Path = ASSETS / "crepe-tiny.onnx") -> None:
        half = self.FRAME // 2
        self._centres = np.array(centres)
        self._beyond = np.zeros(max(0, half - centres[1]), np.float32)
        self.window = centres[0] + half
        self.lookahead = centres[1]
        octaves = self.CENTS / 1200.0 + math.log2(10.0)
        self._allowed = (octaves >= math.log2(LOWEST_HZ)) & (octaves <= math.log2(HIGHEST_HZ))
        self._model = OnnxModel(
            path, {"frames": (None, self.FRAME)}, {"salience": (None, self.BINS)}
        )

    def __call__(self, windows: Audio) -> Audio:
        rows = [self._detect(window) for window in windows]
        return np.array(rows, np.float32).reshape(-1, FRAMES_PER_CONTENT)

    def _detect(self, window: Audio) -> Audio:
        audio = np.concatenate([window, self._beyond])
        starts = self.window - self._centres - self.FRAME // 2
        frames = np.stack([audio[start : start + self.FRAME] for start in starts])
        salience = np.asarray(self._model(frames=frames)["salience"], np.float64)
        octaves, sure = self._decode(np.where(self._allowed, salience, 0.0))
        voiced = (sure >= self.VOICED) & ~_faint(window, self._centres, self.FRAME // 4)
        return np.where(voiced, np.exp2(octaves), 0.0)

    def _decode(self, salience: Audio) -> tuple[Audio, Audio]:
        """[2, bins] -> log2 of the pitch in Hz [2], and how sure it is [2].

        CREPE tiny tends to answer a low voice with its second harmonic, but then shows the
        fundamental as a lesser peak. High voices show none there.
        """
        together = (salience + self.NEIGHBOUR * salience[::-1]) / (1.0 + self.NEIGHBOUR)
        frames = np.arange(len(together))
        best = np.argmax(together, axis=1)
        sure = together[frames, best]
        about = best - self.OCTAVE + np.arange(-2, 3)[:, np.newaxis]  # [5, 2]
        lower = np.where(about >= 0, together[frames, np.maximum(about, 0)], 0.0)
        below = about[np.argmax(lower, axis=0), frames]
        best = np.where(lower.max(axis=0) > self.LOWER * sure, below, best)
        apart = np.abs(np.arange(self.BINS) - best[:, np.newaxis])
        weights = np.where(apart <= self.BESIDE, salience, 0.0) + 1e-12 * (apart == 0)
        cents = (weights @ self.CENTS) / weights.sum(axis=1)
        return cents / 1200.0 + math.log2(10.0), sure


class Detectors(Mapping[F0Method, F0Detector]):
    """Every detector by the name it has in `Controls`.

    Loads the graphs, about 0.1 s. Immutable afterwards: one object serves every stream and thread.

    delay_frames  the content encoder's look-ahead, which the detectors use too
    """

    def __init__(self, delay_frames: int) -> None:
        centres = frame_centres(delay_frames)
        self._named: dict[F0Method, F0Detector] = {
            "swift": SwiftF0(centres),
            "crepe-tiny": CrepeTiny(centres),
        }

    def __getitem__(self, method: F0Method) -> F0Detector:
        return self._named[method]

    def __iter__(self) -> Iterator[F0Method]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)


def repair_octaves(pitch: Audio, voiced: NDArray[np.bool_]) -> Audio:
    """`pitch` [n] (log2 Hz) with short jumps of an octave undone.

    A voiced frame is moved by one octave when that brings it to the median of the voiced frames
    among the five around it, itself included (of an even number, the lower of the middle two; of
    fewer than three, nothing is said). So an error of up to two frames goes, and a leap that stays
    is kept.
    """
    if not voiced.any() or np.ptp(pitch[voiced]) < 1.0 - NEAR_OCTAVE:
        return pitch
    padded = np.full(len(pitch) + 4, np.inf)
    padded[2:-2] = np.where(voiced, pitch, np.inf)
    around = np.sort(np.stack([padded[i : i + len(pitch)] for i in range(5)]), axis=0)
    known = np.isfinite(around).sum(axis=0)
    median = around[np.maximum(known - 1, 0) // 2, np.arange(len(pitch))]
    judged = voiced & (known >= 3)
    jump = np.where(judged, pitch, 0.0) - np.where(judged, median, 0.0)
    wrong = np.abs(np.abs(jump) - 1.0) <= NEAR_OCTAVE
    return np.where(wrong, pitch - np.sign(jump), pitch)


def shares(distances: NDArray[np.int64], at: NDArray[np.int64]) -> Audio:
    """Linear interpolation as a matrix, [m, n]: how much each frame counts at each of `at` [m].

    distances [n]  where the frames lie, evenly spaced. Rows sum to 1; shares @ distances == at.
    """
    away = np.abs(at[:, np.newaxis] - distances)
    return np.maximum(0.0, 1.0 - away / abs(int(distances[0] - distances[1])))


def between(weights: Audio, pitch: Audio, confidence: Audio) -> tuple[Audio, Audio]:
    """Pitch and confidence between frames, [m] each; weights [m, n] from `shares`.

    In the pitch, a frame counts by its confidence too: next to a voiced frame, what an unvoiced
    one takes for its pitch has no say.
    """
    say = weights * (confidence + 1e-9)
    return (say @ pitch) / say.sum(axis=1), weights @ confidence


def _faint(window: Audio, centres: NDArray[np.int64], reach: int) -> NDArray[np.bool_]:
    """Whether there is next to no sound within `reach` samples of each centre, [2]."""
    size = np.abs(window)
    peaks = [size[max(0, middle - reach) : middle + reach].max() for middle in len(size) - centres]
    return np.array(peaks) < FAINT
