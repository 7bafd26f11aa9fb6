"""Conversion along a given pitch, and of more than one channel."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from offline import sound
from offline.convert import convert, pitch_of, settled
from offline.curve import Curve, frame_times, read_curve, write_curve
from stream.audio import Audio
from stream.controls import Controls
from stream.device import CPU
from stream.files import SoundFile
from stream.models.store import Store
from stream.models.voice import Voice

SPEECH = Path(__file__).parents[1] / "speech" / "sense-and-sensibility-0880.wav"
RATE = 44_100
PLAIN = Controls(auto_pitch=False)


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Voice:
    return Store(tmp_path_factory.mktemp("home")).load("starter", CPU)


@pytest.fixture(scope="module")
def spoken() -> Audio:
    """1.2 s of speech at 44.1 kHz."""
    return SoundFile(SPEECH, least_rate=RATE).read()[: RATE * 6 // 5]


def saved(folder: Path, *channels: Audio) -> Path:
    soundfile.write(folder / "in.wav", np.stack(channels, axis=1), RATE, subtype="FLOAT")
    return folder / "in.wav"


def read(path: Path) -> Audio:
    return sound.read(path).samples


def cents(sung: Audio, wanted: Audio) -> Audio:
    """Distances where both are voiced."""
    both = (sung > 0.0) & (wanted > 0.0)
    assert np.count_nonzero(both) > 20
    return np.abs(1200.0 * np.log2(sung[both] / wanted[both]))


def test_a_file_follows_a_curve_that_was_edited(
    tmp_path: Path, starter: Voice, spoken: Audio
) -> None:
    source, file = saved(tmp_path, spoken), tmp_path / "f0.csv"
    heard = pitch_of(source, starter.detectors, PLAIN)
    write_curve(file, heard)
    lines = file.read_text().splitlines()
    edited = [lines[0]]
    for line in lines[1:]:
        time, hz = map(float, line.split(","))
        factor = 1.26 if 0.4 < time < 0.9 else 1.0  # four semitones up, for half a second
        edited.append(f"{time},{hz * factor}")
    file.write_text("\n".join(edited))
    wanted = read_curve(file)
    convert(source, tmp_path / "out.wav", starter, controls=PLAIN, curve=wanted)
    sung = pitch_of(tmp_path / "out.wav", starter.detectors, PLAIN)
    inside = (wanted.times > 0.45) & (wanted.times < 0.85)
    followed = cents(sung.hz, wanted.hz)
    assert np.median(followed) < 20.0
    assert np.median(cents(sung.hz[inside], wanted.hz[inside])) < 20.0
    assert np.median(cents(sung.hz[inside], heard.hz[inside])) > 300.0


@pytest.mark.parametrize(
    ("median", "target", "keep_key", "pitch", "moved"),
    [
        (100.0, 200.0, True, 0.0, 12.0),
        (130.0, 200.0, True, 3.0, 15.0),
        (170.0, 200.0, True, -2.0, -2.0),
        (400.0, 100.0, True, -5.0, -17.0),  # two octaves would leave the range
        (100.0, 150.0, False, 0.0, 12.0 * float(np.log2(1.5))),
        (100.0, None, True, 1.0, 1.0),
    ],
)
def test_the_pitch_is_matched_once_for_the_whole_file(
    starter: Voice, median: float, target: float | None, keep_key: bool, pitch: float, moved: float
) -> None:
    card = starter.card.model_copy(update={"f0_median_hz": target})
    voice = Voice(
        card=card,
        encoder=starter.encoder,
        detectors=starter.detectors,
        synth=starter.synth,
        index=None,
    )
    curve = Curve(frame_times(3), np.array([0.0, median, median], np.float32))
    found = settled(Controls(pitch=pitch), curve, voice, keep_key=keep_key)
    assert (found.auto_pitch, found.pitch) == (False, pytest.approx(moved, abs=1e-4))
    left = settled(Controls(pitch=pitch, auto_pitch=False), curve, voice, keep_key=keep_key)
    assert left.pitch == pitch


def test_a_voice_is_converted_where_it_stands(
    tmp_path: Path, starter: Voice, spoken: Audio
) -> None:
    def placed(*channels: Audio) -> Audio:
        source = saved(tmp_path, *channels)
        convert(source, tmp_path / "out.wav", starter, channels="placed", subtype="FLOAT")
        return read(tmp_path / "out.wav")

    middle = placed(spoken, spoken)
    np.testing.assert_array_equal(middle[:, 0], middle[:, 1])
    assert middle.shape == (len(spoken), 2)
    opposite = placed(spoken, -spoken)  # whose mean is silence
    np.testing.assert_allclose(np.abs(opposite), np.abs(middle), atol=1e-2)
    np.testing.assert_allclose(opposite[:, 0], -opposite[:, 1], atol=1e-6)
    left = placed(spoken, np.zeros_like(spoken))
    assert np.abs(left[:, 0]).max() > 0.05
    assert np.abs(left[:, 1]).max() < 1e-5


def test_each_channel_may_be_converted_for_itself(
    tmp_path: Path, starter: Voice, spoken: Audio
) -> None:
    source = saved(tmp_path, spoken, spoken[::-1].copy(), np.zeros_like(spoken))
    convert(source, tmp_path / "out.wav", starter, channels="each", subtype="FLOAT")
    out = read(tmp_path / "out.wav")
    alone = saved(tmp_path, spoken)
    convert(alone, tmp_path / "one.wav", starter, subtype="FLOAT")
    np.testing.assert_array_equal(out[:, 0], read(tmp_path / "one.wav")[:, 0])
    assert np.abs(out[:, 1]).max() > 0.05
    assert not out[:, 2].any()


def test_the_rate_may_be_given(tmp_path: Path, starter: Voice, spoken: Audio) -> None:
    summary = convert(saved(tmp_path, spoken), tmp_path / "out.wav", starter, rate=48_000)
    assert summary.rate == soundfile.info(str(tmp_path / "out.wav")).samplerate == 48_000
    assert summary.seconds == pytest.approx(1.2, abs=1e-4)


def test_a_detector_that_needs_the_whole_recording_works_on_files(
    tmp_path: Path, starter: Voice, spoken: Audio
) -> None:
    pytest.importorskip("parselmouth")
    source = saved(tmp_path, spoken)
    controls = Controls(f0_methods=("pm",), auto_pitch=False)
    convert(source, tmp_path / "out.wav", starter, controls=controls)
    heard = pitch_of(source, starter.detectors, controls)
    sung = pitch_of(tmp_path / "out.wav", starter.detectors, PLAIN)
    assert np.median(cents(sung.hz, heard.hz)) < 30.0
