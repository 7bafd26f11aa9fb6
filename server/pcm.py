"""Samples on the wire <-> samples in the engine. Pure functions."""

import numpy as np

from server.protocol import HEADER, KIND_AUDIO, SAMPLE_BYTES, Encoding, Flag
from stream.audio import Audio, float_from_s16, s16_from_float

LOUDEST = 8.0  # 18 dB above full scale; beyond it a float is no sound but a fault


def decode(pcm: bytes | memoryview, encoding: Encoding) -> Audio:
    """Bytes of whole samples -> [n] float32. `encode` of it gives the same bytes for s16le."""
    if encoding == "f32le":
        return np.frombuffer(pcm, "<f4").astype(np.float32)
    return float_from_s16(np.frombuffer(pcm, "<i2"))


def sound(samples: Audio) -> bool:
    """Whether all samples are numbers that can be sound."""
    return bool((np.abs(samples) <= LOUDEST).all())  # NaN compares false


def encode(samples: Audio, encoding: Encoding, seq: int, position: int, flags: Flag) -> bytearray:
    """[n] float32 -> a whole audio frame, ready to send. s16le clips, f32le does not.

    Sets `Flag.SILENCE` when every sample on the wire is zero.
    """
    frame = bytearray(HEADER.size + len(samples) * SAMPLE_BYTES[encoding])
    if encoding == "f32le":
        body = np.frombuffer(frame, "<f4", offset=HEADER.size)
        body[:] = samples
    else:
        body = np.frombuffer(frame, "<i2", offset=HEADER.size)
        body[:] = s16_from_float(samples)
    if not body.any():
        flags |= Flag.SILENCE
    HEADER.pack_into(frame, 0, KIND_AUDIO, flags, 0, seq & 0xFFFFFFFF, position)
    return frame


def add_flags(frame: bytearray, flags: Flag) -> None:
    """Raise `flags` in a frame made by `encode`."""
    frame[1] |= flags


def fade_in(samples: Audio, length: int) -> Audio:
    """[n] -> [n], the first `length` samples (at most n) rising along sin^2."""
    out = samples.copy()
    n = min(length, len(out))
    out[:n] *= np.sin(np.linspace(0.0, np.pi / 2, n, dtype=np.float32)) ** 2
    return out
