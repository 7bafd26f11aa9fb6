"""What an installed separator of voice and band says of itself: `separator.json` in its folder."""

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stream.errors import ModelMismatch, ModelNotFound
from stream.models.digest import sha256

CARD, GRAPH, LICENCE = "separator.json", "separator.onnx", "LICENSE"


class SeparatorCard(BaseModel):
    """`separator.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    id: str
    kind: Literal["spleeter"]
    licence: str
    source: str
    files: dict[str, str] = Field(description="file name: sha256")


def checked_separator(folder: Path) -> tuple[SeparatorCard, Path]:
    """The card and the graph in `folder`; raises `ModelNotFound` and `ModelMismatch`."""
    path = folder / CARD
    again = f"Install it again: timbral models pull {folder.name}"
    try:
        card = SeparatorCard.model_validate(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        raise ModelNotFound(path, again) from None
    except (ValidationError, OSError, ValueError) as error:
        raise ModelMismatch(path, f"it cannot be read ({error}). {again}") from error
    graph = folder / GRAPH
    if not graph.is_file() or sha256(graph) != card.files.get(GRAPH):
        raise ModelMismatch(graph, f"it is missing or was altered. {again}")
    return card, graph
