"""`timbral say`: a text, spoken by one of the voices."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from offline.convert import convert
from offline.say.engines import Speaks
from offline.say.speak import Said, speak
from offline.say.text import READERS, Line, checked, paragraphs, read_text
from offline.sound import check_target
from stream.controls import Controls
from stream.errors import AudioError
from stream.models.voice import Voice

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Spoken:
    """What became of a text: how it was spoken, by what, and how long the result is in s."""

    said: Said
    engine: str
    seconds: float


def lines_of(text: str) -> tuple[Line, ...]:
    """The lines of a file, where `text` is the name of one, else of `text` itself.

    Raises `AudioError` and `ConfigError`.
    """
    path = Path(text)
    named = len(text) < 1000 and "\n" not in text and path.suffix.lower() in READERS
    if named and path.is_file():
        return read_text(path)
    if named and not any(map(str.isspace, text)):
        raise AudioError(f"No file {text}.")
    return checked(tuple(paragraphs(text)))


def say(
    lines: tuple[Line, ...],
    target: Path,
    voice: Voice,
    engine: Speaks,
    *,
    controls: Controls | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Spoken:
    """Write `lines` to `target`, spoken by `engine` and turned into `voice`.

    `progress` is told lines, twice as many as there are: spoken, then converted. Raises
    `AudioError` and `ConfigError`; `target` is then as it was.
    """
    check_target(target)
    many = len(lines)

    def told(done: int, total: int) -> None:
        if progress:
            progress(many + round(many * min(1.0, done / max(total, 1))), 2 * many)

    def spoken(done: int, _total: int) -> None:
        if progress:
            progress(done, 2 * many)

    with TemporaryDirectory(prefix="timbral-") as folder:
        speech = Path(folder) / "speech.wav"
        said = speak(lines, engine, speech, spoken)
        summary = convert(speech, target, voice, controls=controls, seed=seed, progress=told)
    return Spoken(said, engine.name, summary.seconds)
