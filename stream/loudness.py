"""Loudness match: the voice as loud as the speaker, from moment to moment."""

import numpy as np

from stream.audio import Audio

SMOOTH = 3  # frames of 20 ms over which both loudnesses are taken
FLOOR = 1e-3  # root mean square below which the voice is not raised any more
MOST = 10.0  # gain, 20 dB


class Loudness:
    """Gain that brings a voice's loudness towards the speaker's.

    In a frame it goes, in a straight line, to (speaker / voice) ^ share, both root mean squares
    over the last three frames: RVC's rule with a shorter memory. Laws: share 0 leaves every sample
    as it is; the gain of a frame depends on nothing later and not on how the frames are cut.
    """

    def __init__(self) -> None:
        self._powers = np.zeros((SMOOTH - 1, 2))
        self._gain = 1.0

    def step(self, speaker: Audio, voice: Audio, share: float) -> Audio:
        """`voice` [n, samples] with its gain; `speaker` [n, any] is what was heard meanwhile."""
        fresh = np.stack([_power(speaker), _power(voice)], axis=1)
        powers = np.concatenate([self._powers, fresh])
        self._powers = powers[len(powers) - (SMOOTH - 1) :]
        out = np.empty_like(voice)
        for i in range(len(voice)):
            heard, said = np.sqrt(powers[i : i + SMOOTH].mean(axis=0))
            wanted = min((heard / max(said, FLOOR)) ** share, MOST)
            ramp = np.linspace(self._gain, wanted, voice.shape[1] + 1, dtype=np.float32)[1:]
            out[i] = voice[i] * ramp
            self._gain = wanted
        return out


def _power(x: Audio) -> Audio:
    return np.mean(np.square(x, dtype=np.float64), axis=1)
