"""What has to be known of a model file that says nothing of itself: a JSON file beside it.

`kim.onnx` is described by `kim.json`. Models that are published often need none: those in
`mdx_models.json` are known by their content, and checkpoints come with a YAML file.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from offline.separate.roles import Task
from stream.errors import ConfigError, ModelError

KNOWN = Path(__file__).parent / "mdx_models.json"
HASHED = 10_240_000  # bytes at a file's end that UVR tells models by

Overlap = Annotated[float, Field(ge=0.0, le=0.95, description="of a window, with the next one")]


class Strict(BaseModel):
    """Frozen, and refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MdxSettings(Strict):
    """An MDX-Net (Kim et al. 2021) as UVR runs it: spectra in, the spectra of one stem out."""

    kind: Literal["mdx"] = "mdx"
    stem: str = Field(description="which one it gives, such as Vocals, Instrumental, Reverb")
    task: Task | None = Field(default=None, description="what for, where the stem does not say")
    n_fft: int = Field(ge=256, le=65_536, description="samples of a spectrum")
    bins: int = Field(ge=16, description="the lowest bins, which it hears")
    frames: int = Field(ge=2, le=65_536, description="spectra that it hears at once")
    hop: int = Field(default=1024, ge=64, description="samples from one spectrum to the next")
    compensate: float = Field(default=1.0, gt=0, le=4, description="what its output is taken times")
    rate: int = Field(default=44_100, ge=8_000, le=192_000, description="Hz")
    denoise: bool = Field(default=False, description="hear everything twice, once upside down")
    overlap: Overlap = 0.25

    @model_validator(mode="after")
    def _fits(self) -> "MdxSettings":
        if self.bins > self.n_fft // 2 + 1:
            raise ValueError(
                f"{self.n_fft // 2 + 1} bins are in a spectrum of {self.n_fft} samples"
            )
        if self.hop > self.n_fft // 2:
            raise ValueError("the hop is at most half of n_fft")
        if self.hop * (self.frames - 1) <= self.n_fft:
            raise ValueError("frames x hop is to be more than n_fft")
        return self


class CheckpointSettings(Strict):
    """A checkpoint of an architecture that the package pymss-core knows, with its YAML file."""

    kind: Literal["checkpoint"] = "checkpoint"
    config: str = Field(default="", description="the YAML file beside it; empty: of the same name")
    architecture: str = Field(default="auto", description="as in pymss-core, such as bs_roformer")
    task: Task | None = Field(default=None, description="what for, where the stems do not say")
    overlap: Overlap = 0.5


Settings = Annotated[MdxSettings | CheckpointSettings, Field(discriminator="kind")]


def settings_of(path: Path) -> MdxSettings | CheckpointSettings:
    """The settings of the model file `path`: beside it, known, or, of checkpoints, the usual ones.

    Raises `ConfigError` when they are wrong, and where nothing is known of an ONNX file: it says
    what to write beside it.
    """
    beside = path.with_suffix(".json")
    if beside.is_file():
        try:
            return TypeAdapter[MdxSettings | CheckpointSettings](Settings).validate_python(
                json.loads(beside.read_text("utf-8"))
            )
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(map(str, part['loc'][1:])) or 'kind'}: {part['msg']}"
                for part in error.errors()
            )
            raise ConfigError(f"{beside}: {wrong}.") from error
        except (OSError, ValueError) as error:
            raise ConfigError(f"{beside} cannot be read: {error}.") from error
    if path.suffix.lower() != ".onnx":
        return CheckpointSettings()
    known = known_models().get(fingerprint(path))
    if known is None:
        raise ConfigError(
            f"{path.name} is no MDX model that is known. Say what it is in {beside}: "
            '{"kind": "mdx", "stem": "Vocals", "n_fft": 6144, "bins": 3072, "frames": 256, '
            '"compensate": 1.0}. UVR calls these mdx_n_fft_scale_set, mdx_dim_f_set and '
            "2 ** mdx_dim_t_set."
        )
    return known


def known_models(path: Path = KNOWN) -> dict[str, MdxSettings]:
    """Published MDX models by the MD5 that UVR tells them by."""
    return TypeAdapter(dict[str, MdxSettings]).validate_json(path.read_bytes())


def fingerprint(path: Path) -> str:
    """The MD5 of a file's last 10 240 000 bytes, as hexadecimal text. Raises `ModelError`."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - HASHED))
            return hashlib.md5(file.read(), usedforsecurity=False).hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error}.") from error
