"""The models of the package audio-separator, for people who have it: an adapter, nothing more.

It works on whole files, fetches its models itself and is slower than our own loop. Three things are
put right here: its MDX models give wrong levels unless the song's peak is exactly 1; it turns down
stems that are louder than the song; and it imports torchvision, which it does not need.
"""

import logging
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from offline.separate.protocol import Progress, Song
from offline.separate.roles import Parted, Roles, roles_of
from offline.separate.windowed import Reader, at_rate, measure
from offline.sound import pieces, writing
from stream.audio import Audio
from stream.errors import ConfigError, ModelError

PREFIX = "audio-separator:"  # before the names of its models
RATE = 44_100  # Hz, what it works at
PIECE = 2.0  # seconds read back at a time
NEVER = 1e9  # a peak that nothing reaches: stems are not turned down
UNUSED = "onnx2torch"  # what asks for torchvision; MDX models of the usual size do without


class Tool(Protocol):
    """As much as is needed of `audio_separator.separator.Separator`."""

    model_instance: Any

    def load_model(self, model_filename: str) -> None: ...

    def separate(self, audio_file_path: str) -> list[str]: ...


@dataclass(frozen=True)
class AudioSeparator(Parted):
    """A `Separator` that has `tool` do the work on files in `folder`.

    tool    with its model loaded, writing 32-bit stems called `..._(Stem)_...` to `folder`
    """

    tool: Tool
    folder: Path
    roles: Roles
    digest: str

    def stream(self, song: Song, *, progress: Progress | None = None) -> Iterator[Audio]:
        """The stems in pieces [2, n, 2], at the song's rate; `progress` moves only at the end."""
        frames, _ = measure(song)
        names: list[str] = []
        with tempfile.TemporaryDirectory(dir=self.folder) as own:
            level = Path(own) / f"{Path(own).name}.wav"  # stems are called after it: never the same
            peak = _write(song, level)
            if progress:
                progress(0, frames)
            try:
                names += self.tool.separate(str(level))
                yield from self._joined(song, frames, names, peak, progress)
            finally:
                for name in names:
                    (self.folder / Path(name).name).unlink(missing_ok=True)

    def _joined(
        self, song: Song, frames: int, names: list[str], peak: float, progress: Progress | None
    ) -> Iterator[Audio]:
        """What was written, at the song's level and rate, with the song less of it."""
        found, given = self._found(names)
        read = (block[np.newaxis] * np.float32(peak) for block in pieces(found, PIECE, RATE))
        mix, done = Reader(song.blocks(song.rate)), 0
        for part in at_rate(read, RATE, song.rate, frames):
            other = mix.read(part.shape[1]) - part[0]
            pair = [part[0], other] if given == self.target else [other, part[0]]
            done += part.shape[1]
            yield np.stack(pair)
            if progress:
                progress(done, frames)

    def _found(self, names: list[str]) -> tuple[Path, str]:
        """The file with the target, else with the rest, among those that were written."""
        for wanted in (self.target, self.rest):
            for name in names:
                stem = Path(name).name.rpartition("_(")[2].partition(")")[0]
                if wanted in _ours(stem, self.roles):
                    return self.folder / Path(name).name, wanted
        raise ModelError(f"audio-separator wrote {', '.join(names)}, none of which is known.")


def open_tool(name: str, folder: Path, models: Path) -> Tool:
    """audio-separator with its model `name` loaded, which it fetches into `models` if need be.

    folder   where its stems go

    Raises `ConfigError` when the package is missing, `ModelError` with what it says otherwise.
    """
    with _without_torchvision():
        try:
            from audio_separator.separator import Separator  # pyright: ignore
        except ImportError as error:
            raise ConfigError(
                f"{PREFIX}{name} needs a package that is not here ({error.name}): "
                "pip install audio-separator[cpu]"
            ) from error
        try:
            tool = Separator(
                log_level=logging.ERROR,
                model_file_dir=str(models),
                output_dir=str(folder),
                output_format="WAV",
                normalization_threshold=1.0,
                use_soundfile=True,
            )
            tool.load_model(name)
        except (Exception, SystemExit) as error:  # it raises bare exceptions, and leaves at times
            raise ModelError(f"audio-separator cannot open {name}: {error}") from error
    tool.model_instance.normalization_threshold = NEVER
    return tool


def adapt(name: str, tool: Tool, folder: Path, digest: str) -> AudioSeparator:
    """The `Separator` that `tool` is; raises `ConfigError` when its stems are unknown."""
    model = tool.model_instance
    names = [str(model.primary_stem_name), str(model.secondary_stem_name)]
    roles, _ = roles_of([stem for stem in names if stem != "None"])
    return AudioSeparator(tool, folder, roles, digest)


def _ours(stem: str, roles: Roles) -> tuple[str, ...]:
    try:
        found, ours = roles_of([stem])
    except ConfigError:
        return ()
    return ours if found == roles else ()


def _write(song: Song, path: Path) -> float:
    """The song with a peak of exactly 1, at 44.1 kHz; returns the peak that it had there."""
    peak = max(float(np.abs(block).max(initial=0.0)) for block in song.blocks(RATE)) or 1.0
    with writing(path, RATE, 2) as sink:
        for block in song.blocks(RATE):
            sink.write(block / np.float32(peak))
    return peak


@contextmanager
def _without_torchvision() -> Generator[None, None, None]:
    """An empty module in place of the one that imports torchvision, where that is missing."""
    missing = find_spec("torchvision") is None and UNUSED not in sys.modules
    if missing:
        sys.modules[UNUSED] = ModuleType(UNUSED)
    try:
        yield
    finally:
        if missing:
            sys.modules.pop(UNUSED, None)
