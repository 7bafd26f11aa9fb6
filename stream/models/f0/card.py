"""What an installed pitch detector says of itself: `f0.json` in its folder."""

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stream.controls import F0Method
from stream.errors import ModelMismatch, ModelNotFound
from stream.models.digest import sha256

CARD, GRAPH = "f0.json", "f0.onnx"

DetectorKind = Literal["crepe", "fcpe", "rmvpe", "rmvpe-mel", "rmvpe-sound"]


class DetectorCard(BaseModel):
    """`f0.json`.

    kind  how the graph is called: "crepe" frames -> salience; "fcpe", "rmvpe" mel -> salience;
          "rmvpe-mel" mel -> Hz; "rmvpe-sound" 16 kHz audio -> Hz
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    id: F0Method
    kind: DetectorKind
    licence: str
    source: str
    files: dict[str, str] = Field(description="file name: sha256")


def read_card(folder: Path) -> DetectorCard:
    """The card in `folder`; raises `ModelNotFound` and `ModelMismatch`."""
    path = folder / CARD
    try:
        return DetectorCard.model_validate(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        raise ModelNotFound(path, f"Install it again: timbral models pull {folder.name}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelMismatch(path, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (OSError, ValueError) as error:
        raise ModelMismatch(path, f"it cannot be read ({error})") from error


def checked_graph(folder: Path) -> tuple[DetectorCard, Path]:
    """The card and the graph in `folder`, every file of which has the sha256 that the card lists.

    Raises `ModelNotFound` and `ModelMismatch`.
    """
    card = read_card(folder)
    again = f"Install it again: timbral models pull {card.id}"
    if GRAPH not in card.files:
        raise ModelMismatch(folder / CARD, f"it does not list {GRAPH}. {again}")
    for name, expected in card.files.items():
        path = folder / name
        if Path(name).name != name:
            raise ModelMismatch(folder / CARD, f"it lists a file outside the folder: {name!r}")
        if not path.is_file():
            raise ModelNotFound(path, again)
        if sha256(path) != expected:
            raise ModelMismatch(path, f"it was altered: its sha256 is not the card's. {again}")
    return card, folder / GRAPH
