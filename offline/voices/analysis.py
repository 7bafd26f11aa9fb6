"""What a voice consists of, and what is known of its making."""

from dataclasses import dataclass
from pathlib import Path

from stream.importer.indices import inspect_index
from stream.importer.mixture import read_weights
from stream.models.store import Store
from stream.models.voice import INDEX, PREVIEW, VoiceCard


@dataclass(frozen=True)
class Analysis:
    """A voice looked into.

    numbers  weights in each graph
    rows     of the retrieval index; 0 without one
    size     bytes of the bundle
    """

    card: VoiceCard
    folder: Path
    numbers: dict[str, int]
    rows: int
    size: int

    @property
    def told(self) -> list[tuple[str, str]]:
        """Names and values, as they are shown."""
        card = self.card
        lines = [
            (key, ", ".join(value) if isinstance(value, tuple) else str(value))
            for key, value in card.model_dump().items()
            if not isinstance(value, dict)
        ]
        lines += sorted(card.about.items())
        for name, count in self.numbers.items():
            lines.append((name, f"{count / 1e6:.2f} million weights"))
        kept = f"{self.rows} rows of {card.feature_dim}" if self.rows else "none"
        lines += [
            ("index", kept),
            ("preview", "yes" if PREVIEW in card.files else "no"),
            ("size", f"{self.size / 1e6:.1f} MB"),
            ("folder", str(self.folder)),
        ]
        return list(dict(lines).items())


def analyse(name: str, store: Store) -> Analysis:
    """Look into a voice; raises `VoiceNotFound`, `BadBundle`, `BadCheckpoint`."""
    card, folder = store.card(name), store.folder(name)
    files = [folder / file for file in card.files]
    numbers = {path.name: read_weights(path).count for path in files if path.suffix == ".onnx"}
    rows = inspect_index(folder / INDEX).rows if INDEX in card.files else 0
    return Analysis(card, folder, numbers, rows, sum(path.stat().st_size for path in files))
