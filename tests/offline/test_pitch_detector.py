"""What the light pitch detector learns from, and that what it learns is what it does live."""

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

torch = pytest.importorskip("torch")

from offline.train import pitch  # noqa: E402
from offline.train.pitch_sound import (  # noqa: E402
    MARGIN,
    PAIRS,
    SAMPLES,
    Crop,
    Crops,
    Recording,
    between,
    load,
    sung,
)
from stream.audio import ANALYSIS_RATE, CONTENT_HOP, Audio  # noqa: E402
from stream.models.f0 import Detectors, Harmonic  # noqa: E402

torch.set_num_threads(1)
SWIFT = Detectors(Path())["swift"]


def voice(seconds: float) -> Recording:
    """A gliding voice with a pause in every second."""
    time = np.arange(round(seconds * ANALYSIS_RATE)) / ANALYSIS_RATE
    hz = 180.0 * 2.0 ** (0.5 * np.sin(2 * np.pi * 0.5 * time))
    phase = 2 * np.pi * np.cumsum(hz) / ANALYSIS_RATE
    on = time % 1.0 < 0.7
    sound = 0.1 * on * np.sum([np.cos(k * phase) / k for k in range(1, 14)], axis=0)
    f0 = np.where(on, hz, 0.0)[80::160][: len(time) // 160]
    return Recording(sound.astype(np.float32), f0.astype(np.float32))


def apart(crop: Crop) -> Audio:
    """Cents between what a crop says of its pitch and what SwiftF0 hears in it."""
    found = SWIFT.detect_file(crop.sound[MARGIN % 160 :])[MARGIN // 160 :][: 2 * PAIRS]
    both = (found > 0.0) & (crop.f0[: len(found)] > 0.0) & crop.known[: len(found)]
    return 1200.0 * np.log2(found[both] / crop.f0[: len(found)][both])


def test_made_singing_has_the_pitch_that_it_says() -> None:
    chance = np.random.default_rng(3)
    crops = [sung(chance) for _ in range(8)]
    cents = np.concatenate([apart(crop) for crop in crops])
    assert len(cents) > 200
    assert np.median(np.abs(cents)) < 5.0
    assert abs(np.median(cents)) < 2.0
    assert {len(crop.sound) for crop in crops} == {SAMPLES}
    assert all(crop.f0[crop.known].max() <= 1_100.0 for crop in crops)


def test_a_crop_that_is_played_faster_has_a_higher_pitch() -> None:
    crops = Crops([voice(8.0)], seed=1)
    drawn = [crops() for _ in range(16)]
    spoken = [crop for crop in drawn if crop.f0.any()]
    assert {len(crop.f0) for crop in drawn} == {2 * PAIRS}
    cents = np.concatenate([apart(crop) for crop in spoken])
    assert np.median(np.abs(cents)) < 6.0
    highest = [crop.f0.max() for crop in spoken]
    assert max(highest) > 1.2 * 180.0 * 2**0.5  # as it can only be where it was played faster


def test_between_two_frames_the_pitch_lies_on_a_line_and_never_between_voice_and_none() -> None:
    f0 = np.array([100.0, 120.0, 0.0, 90.0])
    places = np.array([0.0, 0.25, 1.4, 1.6, 2.9, 9.0])
    assert between(f0, places).tolist() == [100.0, 105.0, 120.0, 0.0, 90.0, 90.0]


def test_what_it_learns_to_hear_is_what_it_hears_live(tmp_path: Path) -> None:
    """Law: a row of a crop is the live call that ends `ahead` content frames after it."""
    torch.manual_seed(0)
    network = pitch.Harmonic().eval()
    path = tmp_path / "harmonic.onnx"
    pitch.export(network, path)
    detector = Harmonic(path)
    detector.VOICED = 0.0  # the random network's pitches, all of them
    crop = sung(np.random.default_rng(5))
    sound, at = crop.sound.astype(np.float32), np.array([3, 20])
    crop = Crop(sound, crop.f0, crop.known)
    for ahead in (0, 1, 2):
        with torch.no_grad():
            octaves, _ = pitch.Answer(network)(torch.from_numpy(pitch.pairs_of(crop, ahead, at)))
        for row, pair in enumerate(at.tolist()):
            end = MARGIN + CONTENT_HOP * (pair + 1 + ahead)
            live = detector(sound[end - detector.window(1, ahead) : end], 1, ahead)[:2]
            expected = np.exp2(octaves[row].numpy())
            inside = (expected >= 50.0) & (expected <= 1_100.0)
            assert inside.any()
            np.testing.assert_allclose(live[inside], expected[inside], rtol=1e-3)


def test_a_few_steps_make_it_better_and_leave_a_detector(tmp_path: Path) -> None:
    folder, work, out = tmp_path / "speech", tmp_path / "work", tmp_path / "harmonic.onnx"
    folder.mkdir()
    sf.write(folder / "ada.wav", voice(8.0).sound, ANALYSIS_RATE)
    pitch.main([str(folder), str(out), "--work", str(work), "--steps", "25", "--crops", "4"])
    assert sorted(p.name for p in work.iterdir()) == ["ada.f0.npy", "harmonic.pt"]
    trained = pitch.Harmonic()
    trained.load_state_dict(torch.load(work / "harmonic.pt", weights_only=True))
    levels, f0, known = next(pitch.batches(Crops(load(folder, work, SWIFT), 7), 6, 7))
    off: list[float] = []
    for network in (pitch.Harmonic(), trained):
        with torch.no_grad():
            salience, sure = network.eval()(levels)
        off.append(float(pitch.loss(salience, sure, f0, known)[0]))
    assert off[1] < 0.93 * off[0]
    assert Harmonic(out).detect_file(voice(1.0).sound).shape == (100,)


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no \.wav, \.flac or \.ogg"):
        load(tmp_path, tmp_path, SWIFT)
