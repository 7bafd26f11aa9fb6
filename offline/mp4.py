"""AAC in an MP4 container, which soundfile does not write and PyAV does."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from stream.audio import Audio
from stream.errors import AudioError

M4A_BITS = 256_000  # bits a second of AAC


@contextmanager
def writing_mp4(
    av: ModuleType, path: Path, rate: int, channels: int
) -> Generator["Encoder", None, None]:
    """A file to write; `av` is PyAV. Raises `AudioError`."""
    layouts = {1: "mono", 2: "stereo", 6: "5.1"}
    if channels not in layouts:
        raise AudioError(f"M4A is written with 1, 2 or 6 channels, not {channels}. Write .flac.")
    try:
        with av.open(str(path), "w", format="mp4") as container:
            stream = container.add_stream("aac", rate=rate, layout=layouts[channels])
            stream.bit_rate = M4A_BITS
            yield Encoder(av, container, stream, layouts[channels])
            container.mux(stream.encode(None))
    except av.FFmpegError as error:
        raise AudioError(f"{path} cannot be written: {error}.") from error


@dataclass
class Encoder:
    """Writes blocks into a stream of an open container."""

    av: ModuleType
    container: Any
    stream: Any
    layout: str
    frames: int = 0

    def write(self, block: Audio) -> None:
        """Append `block` [n, channels] or, of one channel, [n]."""
        planes = np.ascontiguousarray(block.reshape(len(block), -1).T, np.float32)
        if not planes.size:
            return
        frame = self.av.AudioFrame.from_ndarray(planes, format="fltp", layout=self.layout)
        frame.sample_rate = self.stream.rate
        frame.pts = self.frames
        self.frames += planes.shape[1]
        self.container.mux(self.stream.encode(frame))
