"""What is heard in place of converted audio that did not come: a short echo of what came before."""

import numpy as np

from stream.audio import Audio

HEARD_S = 0.030  # of the past that a continuation is made from
FADE_S = 0.030  # after which it is silent
PERIODS_S = (0.0025, 0.0125)  # of voices between 80 and 400 Hz


def continuation(heard: Audio, rate: int) -> Audio:
    """[FADE_S] of sound that goes on where `heard` ends, and fades to silence.

    heard  [n] converted audio, its last sample the newest; of less than `HEARD_S` only that sample
           goes on
    rate   Hz

    It repeats the last period: the lag between `PERIODS_S` at which the end of `heard` is most
    like what came before (as in ITU-T G.711 appendix I). So there is neither a click where the
    audio stops nor a buzz while it goes on to be missing.
    """
    n = round(FADE_S * rate)
    least, most = (round(seconds * rate) for seconds in PERIODS_S)
    fall = np.linspace(1.0, 0.0, n, dtype=np.float32) ** 2
    if len(heard) < round(HEARD_S * rate):
        return fall * (heard[-1] if len(heard) else np.float32(0.0))
    newest = heard[-most:]
    lags = np.arange(least, most + 1)
    past = [heard[len(heard) - most - lag : len(heard) - lag] for lag in lags]
    size = np.linalg.norm(newest) * np.array([np.linalg.norm(piece) for piece in past]) + 1e-9
    likeness = np.array([np.dot(newest, piece) for piece in past]) / size
    period = heard[len(heard) - int(lags[np.argmax(likeness)]) :]
    return np.resize(period, n) * fall
