"""A stream whose pitch is given and not heard."""

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.audio import Audio
from stream.controls import Controls
from stream.engine import Conversion
from stream.models.f0 import Detectors
from stream.models.voice import Voice
from stream.profiles import STEADY, Profile
from stream.resample import Resampler

PLAIN = Controls(auto_pitch=False)
STEP_AT, LOW_HZ, HIGH_HZ = 1.0, 150.0, 240.0


def stairs(times: NDArray[np.float64]) -> Audio:
    """Steps up at `STEP_AT` seconds."""
    return np.where(times < STEP_AT, LOW_HZ, HIGH_HZ).astype(np.float32)


def heard(voice: Voice, sound: Audio) -> Audio:
    """The pitch of `sound` at 16 kHz, 100 frames a second."""
    return voice.detectors["swift"].detect_file(sound)


def run(conversion: Conversion, x: Audio, size: int) -> Audio:
    pieces = [conversion.step(x[i : i + size]) for i in range(0, len(x), size)]
    return np.concatenate([*pieces, conversion.flush()])


@pytest.mark.parametrize("profile", STEADY.values(), ids=STEADY.keys())
def test_the_voice_sings_the_pitch_that_is_given_at_its_time(
    starter: Voice, speech: Audio, profile: Profile
) -> None:
    x = speech[: 2 * 16_000]
    out = run(Conversion(starter, 16_000, profile=profile, controls=PLAIN, curve=stairs), x, 5_000)
    f0 = heard(starter, out)
    times = (np.arange(len(f0)) + 0.5) / 100.0
    for hz, when in ((LOW_HZ, times < STEP_AT - 0.03), (HIGH_HZ, times > STEP_AT + 0.03)):
        sung = f0[when & (f0 > 0.0)]
        assert len(sung) > 30
        assert np.mean(np.abs(1200.0 * np.log2(sung / hz)) < 50.0) > 0.9


def test_frames_ask_for_their_own_centres(starter: Voice, speech: Audio) -> None:
    asked: list[NDArray[np.float64]] = []

    def listening(times: NDArray[np.float64]) -> Audio:
        asked.append(times)
        return stairs(times)

    controls = Controls(gate_db=-90.0)
    conversion = Conversion(
        starter, 48_000, profile=STEADY["quality"], controls=controls, curve=listening
    )
    run(conversion, np.repeat(speech[:16_000], 3), 4_800)
    every = np.unique(np.round(np.concatenate(asked), 6))
    np.testing.assert_allclose(np.diff(every), 0.01, atol=1e-6)
    lead = 0.005 - every[0]  # s: what stands before the sound, so that hops fit
    assert lead >= Resampler(48_000, 16_000).lookahead / 48_000
    assert every[-1] > 1.0


def test_how_the_stream_is_cut_changes_no_bit(starter: Voice, speech: Audio) -> None:
    x = speech[:20_000]

    def spoken(size: int) -> Audio:
        return run(Conversion(starter, 16_000, profile=STEADY["low"], curve=stairs), x, size)

    np.testing.assert_array_equal(spoken(64), spoken(20_000))


def test_controls_move_a_given_pitch_too(starter: Voice, speech: Audio) -> None:
    controls = Controls(auto_pitch=False, pitch=7.0)
    conversion = Conversion(
        starter, 16_000, profile=STEADY["relaxed"], controls=controls, curve=stairs
    )
    f0 = heard(starter, run(conversion, speech[:16_000], 16_000))
    wanted = LOW_HZ * 2 ** (7 / 12)
    assert np.median(f0[f0 > 0.0]) == pytest.approx(wanted, rel=0.02)


def test_nothing_is_detected_then(
    starter: Voice, speech: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Detectors, "live", lambda *_: pytest.fail("a detector was asked"))
    conversion = Conversion(starter, 16_000, profile=STEADY["relaxed"], curve=stairs)
    assert np.abs(run(conversion, speech[:16_000], 16_000)).max() > 0.01
