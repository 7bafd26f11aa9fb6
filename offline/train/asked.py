"""What somebody asked for on the command line, as settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from offline.dataset import DatasetSettings
from offline.train.options import DATA, TRAINING
from offline.train.plan import Plan
from offline.train.settings import Family, TrainSettings, defaults
from stream.errors import ConfigError
from stream.importer.voices import NAME

ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True)
class Asked:
    """The words of `timbral train`; `training` and `data` hold only what was given."""

    files: tuple[str, ...]
    name: str
    family: Family | Literal["auto"]
    where: Literal["auto", "cpu", "cuda", "mps"]
    speakers: Literal["one", "folders"]
    licence: str
    seed: int
    training: Mapping[str, Any]
    data: Mapping[str, Any]

    def checked(self) -> None:
        """Raise `ConfigError` when something cannot be."""
        if not self.files or not NAME.fullmatch(self.name):
            raise ConfigError(
                "Say what to train on and what to call it, in lower-case letters, digits, - "
                "and _: timbral train recordings/ --name ada"
            )
        _ = self.training_settings, self.data_settings

    @cached_property
    def training_settings(self) -> TrainSettings:
        """What the family is trained with, and what was given over it; raises `ConfigError`."""
        from offline.train.training import device_of

        family = self.family
        if family == "auto":
            family = "narrow" if device_of(self.where).type == "cpu" else "rvc-v2"
        given = dict(self.training)
        wanted = defaults(family, given.pop("sample_rate", None))
        if "minutes" in given:
            wanted.pop("steps")
        return _valid(TrainSettings, {**wanted, **given, "seed": self.seed}, TRAINING)

    @cached_property
    def data_settings(self) -> DatasetSettings:
        """The same for the recordings; the voice's rate and encoder are the family's."""
        own = self.training_settings
        given = {"sample_rate": own.sample_rate, "encoder": own.encoder, "seed": own.seed}
        return _valid(DatasetSettings, {**given, **self.data}, DATA)

    def plan(self, consent: str) -> Plan:
        """The whole; the files from wherever the run goes on."""
        self.checked()
        return Plan(
            name=self.name,
            files=tuple(_absolute(file) for file in self.files),
            speakers=self.speakers,
            training=self.training_settings,
            dataset=self.data_settings,
            consent=consent,
            licence=self.licence,
        )


def _valid(
    model: type[ModelT],
    values: Mapping[str, Any],
    options: Mapping[str, tuple[str, Any, str]],
) -> ModelT:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        setting = str(first["loc"][0]) if first["loc"] else ""
        option = options[setting][0].split("/")[0] + ": " if setting in options else ""
        raise ConfigError(f"{option}{first['msg'].removeprefix('Value error, ')}.") from error


def _absolute(file: str) -> str:
    """PATH, or NAME=PATH."""
    who, equals, path = file.partition("=")
    if equals and not Path(file).exists():
        return f"{who}={Path(path).resolve()}"
    return str(Path(file).resolve())
