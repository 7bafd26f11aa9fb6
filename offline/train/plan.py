"""A training run on disk: what was asked for, and where its files are."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from offline.dataset import DatasetSettings
from offline.train.settings import TrainSettings
from stream.errors import ConfigError, TrainingError

SETTINGS, DATA, SCALE, REPORT = "settings.json", "dataset.json", "latent.json", "report.html"


class Plan(BaseModel):
    """`settings.json`: all that was asked for, so that a run goes on with its name alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    files: tuple[str, ...] = Field(min_length=1)
    speakers: Literal["one", "folders"] = "one"
    training: TrainSettings
    dataset: DatasetSettings
    consent: str = Field(min_length=1)
    licence: str = "unknown"


def folder_of(home: Path, name: str) -> Path:
    """Where the run of that name has its files."""
    return home / "training" / name


def begin(plan: Plan, folder: Path) -> None:
    """Write the plan of a new run; raises `ConfigError` when there is one of that name."""
    if (folder / SETTINGS).exists():
        raise ConfigError(
            f"There is a training '{plan.name}' already. Go on with it: "
            f"timbral train --name {plan.name} --resume. To begin anew, remove {folder} first."
        )
    write_json(folder / SETTINGS, plan.model_dump(mode="json"))


def abandon(folder: Path) -> None:
    """Forget a run that never came to its first checkpoint."""
    if not (folder / "checkpoints").exists():
        shutil.rmtree(folder, ignore_errors=True)


def read_plan(folder: Path) -> Plan:
    """The plan in a run's folder; raises `ConfigError`, or `TrainingError` when it is damaged."""
    try:
        return Plan.model_validate_json((folder / SETTINGS).read_text("utf-8"))
    except FileNotFoundError:
        runs = sorted(path.parent.name for path in folder.parent.glob(f"*/{SETTINGS}"))
        raise ConfigError(
            f"There is no training '{folder.name}'. There are: {', '.join(runs) or 'none'}."
        ) from None
    except ValidationError as error:
        raise TrainingError(
            f"{folder / SETTINGS} cannot be read ({error.errors()[0]['msg']}). It was altered, or "
            "written by another version of timbral."
        ) from error


def write_json(path: Path, held: Mapping[str, Any]) -> None:
    """Write JSON beside and rename it; raises `TrainingError` when that fails."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(held, indent=1), "utf-8")
        os.replace(draft, path)
    except OSError as error:
        raise TrainingError(
            f"{path} cannot be written: {error.strerror or error}. Make room there."
        ) from error
