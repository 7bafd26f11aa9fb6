"""The effects of the package pedalboard.

pedalboard is under the GNU GPL, version 3: it belongs to the extra `offline` only, is imported
when one of its effects is used, and by this module alone.
"""

from types import ModuleType
from typing import Any

import numpy as np

from offline.effects.chain import (
    Bitcrush,
    Board,
    Chorus,
    Compressor,
    Convolution,
    Delay,
    Distortion,
    Gsm,
    Ladder,
    Mp3,
    NoiseGate,
    Phaser,
    Resample,
    Reverb,
)
from offline.sound import facts, read, stereo
from offline.stage import SIZE, Blockwise
from stream.audio import Audio
from stream.errors import AudioError, ConfigError

PAUSE_S = 0.25  # what rings on is never silent for longer, but in echoes
HIGHEST = 0.45  # of the rate: the highest frequency that can be set
MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
NORMAL = 0.125  # to what pedalboard (JUCE) scales a room's root of energy; here it is to be 1
LONGEST_ROOM_S = 60  # of the recording of one
QUALITIES = {"hold": "ZeroOrderHold", "linear": "Linear", "sinc": "WindowedSinc32"}


def stage(effect: Board, rate: int, channels: int) -> Blockwise:
    """The effect for sound of `channels` (1 or 2) at `rate` Hz.

    Its tail is kept: reverbs, echoes and resonances ring on after the end until they are below
    -90 dBFS, at most for a minute. Raises `ConfigError` without pedalboard and `AudioError` for
    what the effect cannot be given.
    """
    board = _pedalboard()
    pause = 0.0
    if isinstance(effect, Convolution):
        impulse = _impulse(effect, rate, channels)
        plugin = board.Convolution(impulse, 1.0, rate)
        pause = PAUSE_S + impulse.shape[1] / rate
    elif isinstance(effect, Delay):
        plugin = board.Delay(effect.delay_ms / 1000.0, effect.feedback, effect.mix)
        pause = PAUSE_S + effect.delay_ms / 1000.0
    elif isinstance(effect, Chorus | Phaser | Ladder | Reverb):
        plugin = _ringing(board, effect, rate)
        pause = PAUSE_S
    else:
        plugin = _dry(board, effect, rate)

    def work(block: Audio) -> Audio:
        planes = np.ascontiguousarray(block.T)
        done = plugin.process(planes, rate, buffer_size=SIZE, reset=False)
        made = np.ascontiguousarray(done.T)
        if isinstance(effect, Convolution):
            return made * np.float32(effect.mix / NORMAL) + block * np.float32(1.0 - effect.mix)
        return made

    return Blockwise(work, channels, rate=rate, pause=round(pause * rate))


def _ringing(board: ModuleType, effect: Chorus | Phaser | Ladder | Reverb, rate: int) -> Any:
    if isinstance(effect, Chorus):
        e = effect
        return board.Chorus(e.rate_hz, e.depth, e.centre_delay_ms, e.feedback, e.mix)
    if isinstance(effect, Phaser):
        hz = min(effect.centre_hz, HIGHEST * rate)
        return board.Phaser(effect.rate_hz, effect.depth, hz, effect.feedback, effect.mix)
    if isinstance(effect, Ladder):
        mode = getattr(board.LadderFilter.Mode, effect.mode)
        hz = min(effect.hz, HIGHEST * rate)
        return board.LadderFilter(mode, hz, effect.resonance, effect.drive)
    return board.Reverb(effect.room, effect.damping, effect.wet, effect.dry, effect.width)


def _dry(
    board: ModuleType,
    effect: Distortion | Compressor | NoiseGate | Gsm | Mp3 | Resample | Bitcrush,
    rate: int,
) -> Any:
    if isinstance(effect, Distortion):
        return board.Distortion(effect.drive_db)
    if isinstance(effect, Compressor | NoiseGate):
        kind = board.Compressor if isinstance(effect, Compressor) else board.NoiseGate
        return kind(effect.threshold_db, effect.ratio, effect.attack_ms, effect.release_ms)
    if isinstance(effect, Gsm):
        return board.GSMFullRateCompressor()
    if isinstance(effect, Mp3):
        if rate not in MP3_RATES:
            raise AudioError(
                f"The effect mp3 knows no rate of {rate} Hz. Give it sound of 44100 or 48000 Hz."
            )
        return board.MP3Compressor(effect.vbr_quality)
    if isinstance(effect, Resample):
        quality = getattr(board.Resample.Quality, QUALITIES[effect.quality])
        return board.Resample(effect.rate_hz, quality)
    return board.Bitcrush(effect.bits)


def _impulse(effect: Convolution, rate: int, channels: int) -> Audio:
    """The recorded impulse, [channels, n], at `rate` Hz."""
    known = facts(effect.impulse)
    if known.frames > LONGEST_ROOM_S * known.rate:
        raise AudioError(f"{effect.impulse} is too long for a room: at most 60 s.")
    heard = stereo(read(effect.impulse, rate).samples)
    kept = heard if channels == 2 else heard.mean(axis=1, dtype=np.float32, keepdims=True)
    return np.ascontiguousarray(kept.T)


def _pedalboard() -> ModuleType:
    try:
        import pedalboard
    except ImportError as error:
        raise ConfigError(
            "This effect needs pedalboard (GPL-3): pip install 'timbral[offline]'."
        ) from error
    return pedalboard
