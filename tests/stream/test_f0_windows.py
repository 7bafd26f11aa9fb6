"""Detectors that hear one window a call: where their frames lie, and what is done at the edges."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.audio import CONTENT_HOP, FRAME_HOP, Audio
from stream.importer.graphs.builder import Graph
from stream.models.f0.fcpe import Fcpe
from stream.models.f0.mel import LogMel, Scale, bands
from stream.models.f0.one_window import OneWindow
from stream.models.f0.rmvpe import RmvpeFromSound
from stream.models.f0.salience import CREPE_CENTS, in_range, strongest

TIME = (0.2 + np.arange(160_000) / 400_000).astype(np.float32)  # audio that tells its position


class Clock(OneWindow):
    """Its f0 is the audio's own value at each frame's centre, and its frames are counted."""

    PAST, MULTIPLE, PIECE, MARGIN = 3, 32, 64, 32

    def __init__(self) -> None:
        self.frames: list[int] = []

    def hear(self, audio: Audio, centres: NDArray[np.int64]) -> Audio:
        self.frames.append(len(centres))
        return np.where(centres < len(audio), audio[np.minimum(centres, len(audio) - 1)], 0.0)


def centre_values(first: int, frames: int) -> Audio:
    return TIME[FRAME_HOP * (first + np.arange(frames)) + FRAME_HOP // 2]


@pytest.mark.parametrize(("n", "delay"), [(1, 0), (1, 2), (5, 2), (5, 9), (8, 10)])
def test_the_frames_asked_for_are_the_newest_ones(n: int, delay: int) -> None:
    clock = Clock()
    window = clock.window(n, delay)
    end = 100 * CONTENT_HOP
    f0 = clock(TIME[end - window : end], n, delay)
    np.testing.assert_array_equal(f0, centre_values(2 * (100 - n - delay), 2 * (n + delay)))
    assert clock.frames[0] % 32 == 0
    assert clock.frames[0] >= 2 * (n + delay) + 3
    assert window >= FRAME_HOP * clock.frames[0] + 432  # the first frame is heard whole


@pytest.mark.parametrize("length", [0, 1, 159, 160, 161, 10_239, 10_240, 30_000, 160_000])
def test_a_file_is_heard_in_pieces_that_do_not_show(length: int) -> None:
    clock = Clock()
    f0 = clock.detect_file(TIME[:length])
    assert f0.dtype == np.float32
    np.testing.assert_array_equal(f0, centre_values(0, length // FRAME_HOP))
    assert all(frames % 32 == 0 for frames in clock.frames)


def test_silence_has_no_pitch_whatever_the_model_says() -> None:
    clock = Clock()
    quiet = TIME[: clock.window(5, 2)] * np.float32(1e-4)
    assert not clock(quiet, 5, 2).any()
    assert not clock.detect_file(quiet).any()


@pytest.mark.parametrize("length", [480, 10_240, 30_000])
def test_a_model_with_frames_of_its_own_is_heard_at_the_same_places(
    tmp_path: Path, length: int
) -> None:
    """A stand-in for w-okada's RMVPE: frame t is about sample 160 t of the sound."""
    graph = Graph("stand-in")
    sound = graph.input("waveform", (1, "samples"))
    bounds = [graph.integers(n) for n in (0, np.iinfo(np.int64).max, 1, FRAME_HOP)]
    row = graph.reshape(graph.node("Slice", sound, *bounds), -1)
    graph.output(graph.mul(row, graph.number(1000.0)), "pitchf", ("frames",))
    graph.save(tmp_path / "f0.onnx")
    detector = RmvpeFromSound(tmp_path / "f0.onnx")
    found = detector.detect_file(TIME[:length])
    np.testing.assert_allclose(found, 1000.0 * centre_values(0, length // FRAME_HOP), rtol=1e-6)
    for n, delay in ((1, 2), (5, 2), (12, 5)):
        window = detector.window(n, delay)
        assert (window - 432) // FRAME_HOP % 32 == 29  # with three of its own before, 32
        f0 = detector(TIME[32_000 - window : 32_000], n, delay)
        expected = centre_values(200 - 2 * (n + delay), 2 * (n + delay))
        np.testing.assert_allclose(f0, 1000.0 * expected, rtol=1e-6)


def test_the_strongest_pitch_is_a_weighted_mean_of_nine_bins() -> None:
    salience = np.zeros((3, 360))
    salience[0, 100] = 0.5
    salience[1, [200, 201]] = 0.5, 0.25
    salience[1, 205] = 0.49  # five bins away: not heard
    salience[2, 0] = 0.1
    pitch = strongest(salience, CREPE_CENTS)
    cents = 1200.0 * (pitch.octaves - np.log2(10.0))
    np.testing.assert_allclose(cents - 1997.3794084376191, [2000, 4000 + 20 / 3, 0], atol=1e-6)
    np.testing.assert_allclose(pitch.sure, [0.5, 0.5, 0.1])


def test_what_no_voice_sings_is_unvoiced() -> None:
    f0 = np.array([np.nan, 49.9, 50.0, 1100.0, 1100.1, 0.0])
    assert in_range(f0).tolist() == [0.0, 0.0, 50.0, 1100.0, 0.0, 0.0]


def test_fcpes_pitches_are_spaced_evenly_from_its_lowest_to_its_highest() -> None:
    assert len(Fcpe.CENTS) == 360
    np.testing.assert_allclose(10.0 * 2 ** (Fcpe.CENTS[[0, -1]] / 1200), [32.7, 1975.5])


def hz_of(mel: float, scale: Scale) -> float:
    """The scales as their authors define them, one mel at a time."""
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    return mel * 200.0 / 3.0 if mel < 15.0 else 1000.0 * 6.4 ** ((mel - 15.0) / 27.0)


def mel_of(hz: float, scale: Scale) -> float:
    low, high = 0.0, 4_000.0
    while high - low > 1e-9:
        middle = (low + high) / 2.0
        low, high = (middle, high) if hz_of(middle, scale) < hz else (low, middle)
    return low


@pytest.mark.parametrize(("scale", "low"), [("htk", 30.0), ("slaney", 0.0)])
def test_each_band_is_a_triangle_of_area_one_between_its_neighbours_peaks(
    scale: Scale, low: float
) -> None:
    mels = np.linspace(mel_of(low, scale), mel_of(8_000.0, scale), 130)
    edges = [hz_of(mel, scale) for mel in mels]
    hz = np.linspace(0.0, 8_000.0, 513)
    for i, band in enumerate(bands(scale, low, 8_000.0)):
        peak = 2.0 / (edges[i + 2] - edges[i])
        expected = np.interp(hz, edges[i : i + 3], [0.0, peak, 0.0], left=0.0, right=0.0)
        np.testing.assert_allclose(band, expected, atol=1e-7)


def test_a_sine_shows_in_its_own_band_at_its_level() -> None:
    mel = LogMel("htk", 30.0, 8_000.0)
    sine = np.cos(2 * np.pi * 1_000.0 * np.arange(4_000) / 16_000).astype(np.float32)
    quiet, loud = (mel(np.float32(a) * sine, np.array([2_000])) for a in (0.1, 1.0))
    best = int(np.argmax(loud))
    weights = bands("htk", 30.0, 8_000.0)
    assert weights[best, 64] > 0.0  # bin 64 is 1 kHz
    np.testing.assert_allclose(loud[0, best] - quiet[0, best], np.log(10.0), rtol=1e-4)
    spectrum = np.zeros(513)
    spectrum[63:66] = 128, 256, 128  # a whole period of a Hann window: 1024 / 4
    np.testing.assert_allclose(np.exp(loud[0, best]), weights[best] @ spectrum, rtol=1e-3)
    assert mel(np.zeros(0, np.float32), np.zeros(0, np.int64)).shape == (0, 128)
    np.testing.assert_allclose(mel(np.zeros(10, np.float32), np.array([5])), np.log(1e-5))


def test_beyond_the_end_a_spectrum_hears_the_mirrored_sound() -> None:
    mel = LogMel("htk", 30.0, 8_000.0)
    x = np.random.default_rng(0).standard_normal(3_000).astype(np.float32)
    mirrored = np.concatenate([x, x[-2:-514:-1]])
    np.testing.assert_array_equal(mel(x, np.array([2_900])), mel(mirrored, np.array([2_900])))
