"""From the settings of effects to stages."""

from functools import partial

import numpy as np

from offline.effects.chain import Board, Chain, Clipping, Gain, Limiter, Own, PitchShift
from offline.filters import Filters
from offline.keyshift import Shifter
from offline.limiter import Limiter as TruePeakLimiter
from offline.stage import Blockwise, Series, Stage
from stream.audio import Audio, gain


def build(chain: Chain, rate: int, channels: int) -> Stage:
    """The chain for sound of `channels` (1 or 2) at `rate` Hz.

    Raises `ConfigError` and `AudioError` where an effect cannot be made here.
    """
    return Series(stage(effect, rate, channels) for effect in chain.effects)


def stage(effect: Own | Board, rate: int, channels: int) -> Stage:
    """One effect for sound of `channels` (1 or 2) at `rate` Hz."""
    if isinstance(effect, Gain):
        return Blockwise(partial(_louder, factor=gain(effect.gain_db)), channels, rate=rate)
    if isinstance(effect, Clipping):
        return Blockwise(partial(_cut, most=gain(effect.threshold_db)), channels, rate=rate)
    if isinstance(effect, Limiter):
        return TruePeakLimiter(rate, channels, effect.ceiling_db, effect.release_ms)
    if isinstance(effect, PitchShift):
        return Shifter(rate, channels, effect.semitones, effect.keep_formants)
    if isinstance(effect, Board):
        from offline.effects import board

        return board.stage(effect, rate, channels)
    return Filters([effect], rate, channels)


def _louder(x: Audio, factor: float) -> Audio:
    return x * np.float32(factor)


def _cut(x: Audio, most: float) -> Audio:
    return np.clip(x, np.float32(-most), np.float32(most))
