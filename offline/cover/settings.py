"""What a cover shall be like."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stream.controls import Controls
from stream.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_SEPARATOR = "spleeter"
BIGGEST = 64 * 1024  # bytes of a file of settings
SUNG = Controls(loudness=1.0, gate_db=-50.0)
"""What a song wants: the singer's own dynamics, and nothing said where only the band's rest is."""

Gain = Annotated[float, Field(ge=-60.0, le=24.0)]
Formats = Literal["wav", "flac", "mp3", "ogg", "m4a"]


class Separation(BaseModel):
    """What takes a sound apart: one model, or several as an ensemble, of samples or of bins."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    models: tuple[str, ...] = Field(min_length=1)
    ensemble: Literal["mean", "median", "min", "max"] = "mean"
    domain: Literal["wave", "bins"] = "wave"
    weights: tuple[float, ...] = ()


class CoverSettings(BaseModel):
    """Everything that decides how a song becomes a cover; frozen, unknown keys are errors.

    voice, backing_voice   who sings the lead, and the backing; without the latter it stays as it is
    controls               of the voice: pitch, autotune, how the pitch is detected ..
    separate, lead, dereverb, denoise   what takes the song apart: the voice from the band, the
                           lead from the backing, reverb and noise from the lead; None: not done
    key                    semitones by which the whole song is moved, the voice included
    effects                a preset of effects for the new voice, or its file; "" for none
    voice_db, backing_db, band_db   in the mix, beside what makes the new voice as loud as the old
    lufs                   how loud the result is: as the song, a number, or "off"
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    voice: str = "starter"
    backing_voice: str | None = None
    controls: Controls = SUNG
    seed: int = 0
    separate: Separation = Separation(models=(DEFAULT_SEPARATOR,))
    lead: Separation | None = None
    dereverb: Separation | None = None
    denoise: Separation | None = None
    key: int = Field(default=0, ge=-12, le=12)
    effects: str = ""
    backing_effects: str = ""
    voice_db: Gain = 0.0
    backing_db: Gain = 0.0
    band_db: Gain = 0.0
    lufs: Literal["song", "off"] | Annotated[float, Field(ge=-40.0, le=-5.0)] = "song"
    ceiling_db: float = Field(default=-1.0, ge=-12.0, le=0.0)


def checked(values: Mapping[str, Any]) -> CoverSettings:
    """Settings of `values`, whose `controls` may be some of them: the others are as in `SUNG`.

    Raises `ConfigError` that names the first wrong one.
    """
    given = dict(values)
    given["controls"] = _controls(given.get("controls", {}))
    try:
        settings = CoverSettings.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"The setting {where} of a cover: {first['msg']}.") from error
    if settings.backing_voice and settings.lead is None:
        raise ConfigError(
            "A backing voice needs something that tells the backing from the lead: name a model "
            "with --lead."
        )
    return settings


def _controls(values: Mapping[str, Any]) -> Controls:
    unknown = sorted(set(values) - set(Controls.names()))
    if unknown:
        raise ConfigError(
            f"There is no control {unknown[0]}. Known: {', '.join(Controls.names())}."
        )
    exact = {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
    try:
        return replace(SUNG, **exact)
    except TypeError as error:
        raise ConfigError(f"A control has no such value: {error}.") from error


def read_settings(path: Path) -> dict[str, Any]:
    """The keys in a TOML file, as yet unchecked; raises `ConfigError`."""
    try:
        if path.stat().st_size > BIGGEST:
            raise ConfigError(f"{path} is too big for settings.")
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"No file {path}.") from None
    except (ValueError, RecursionError, OSError) as error:
        raise ConfigError(f"{path} holds no settings: {error}.") from error
