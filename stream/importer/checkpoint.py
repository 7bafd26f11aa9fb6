"""What an RVC checkpoint holds, whatever file it came in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class RvcShape:
    """The sizes of one of RVC's networks, as its published `config` lists them."""

    version: Literal["v1", "v2"]
    sample_rate: int  # Hz
    dim: int  # content features a frame: 256 (v1) or 768 (v2)
    upsample_rates: tuple[int, ...]
    upsample_kernels: tuple[int, ...]
    speakers: int  # rows of the speaker embedding
    f0: bool  # whether the voice takes a pitch
    inter: int = 192  # channels of the latent
    hidden: int = 192
    filter: int = 768
    heads: int = 2
    layers: int = 6
    kernel: int = 3
    upsample_initial: int = 512
    resblock_kernels: tuple[int, ...] = (3, 7, 11)
    resblock_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5),) * 3
    gin: int = 256  # size of the speaker embedding

    @property
    def hop(self) -> int:
        """Samples of a 10 ms frame."""
        return self.sample_rate // 100


@dataclass(frozen=True, kw_only=True)
class RvcCheckpoint:
    """The weights of a voice, weight norm folded, under the names of the published state dict.

    speakers  a name for each row of the speaker embedding
    embedder  id of the content encoder that it needs
    about     what the file says of its making: author, epochs, ...
    """

    shape: RvcShape
    weights: Weights
    speakers: tuple[str, ...]
    embedder: str
    f0_median_hz: float | None
    about: Mapping[str, str]
