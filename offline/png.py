"""Pictures of numbers: an array as a PNG, with no imaging library."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from stream.audio import Audio

# Dark to bright with evenly rising lightness, so that it reads in grey and to colour-blind eyes.
STOPS = (
    (13, 8, 35), (52, 20, 98), (107, 28, 110), (165, 44, 96),
    (214, 75, 65), (244, 125, 29), (251, 185, 46), (252, 253, 191),
)  # fmt: skip


def coloured(values: Audio, low: float, high: float) -> NDArray[np.uint8]:
    """[height, width] -> RGB [height, width, 3]: `low` and below is dark, `high` and above bright.

    What is no number is drawn as `low`. Raises `ValueError` unless `low` < `high`.
    """
    if not low < high:
        raise ValueError(f"low {low} must be below high {high}")
    place = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) / (high - low)
    place = np.clip(place, 0.0, 1.0) * (len(STOPS) - 1)
    stops = np.array(STOPS, np.float64)
    at = np.arange(len(STOPS))
    channels = [np.interp(place, at, stops[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """The PNG file of RGB `pixels` [height, width, 3], row 0 on top (W3C PNG, 3rd edition)."""
    height, width, channels = pixels.shape
    if channels != 3 or not height or not width:
        raise ValueError(f"pixels must be [height, width, 3], got {pixels.shape}")
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each begins with its filter: 0, none
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB, not interlaced
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
