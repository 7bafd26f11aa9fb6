"""A song's file into one file for each stem, piece by piece."""

from contextlib import ExitStack
from pathlib import Path

from offline.separate.protocol import Progress, Separator, SongFile
from offline.sound import MOST_IN_WAV, check_target, facts, writing

FLOATS = 4  # bytes


def separate(
    source: Path,
    folder: Path,
    separator: Separator,
    *,
    suffix: str = "",
    progress: Progress | None = None,
) -> dict[str, Path]:
    """Write the stems of `source` to `folder`, which is made if need be; returns them by name.

    All appear at the end, or none. They have the song's rate and length and two channels; memory
    does not grow with the song. `progress` may raise to end it.

    suffix   of the files: .flac, .mp3 and so on; empty for floats (.wav, above 4 GB .w64)

    Raises `AudioError` and `ConfigError`, and what the separator raises.
    """
    about = facts(source)
    if not suffix:
        suffix = ".w64" if about.frames * 2 * FLOATS > MOST_IN_WAV else ".wav"
    folder.mkdir(parents=True, exist_ok=True)
    paths = {stem: folder / f"{stem}{suffix}" for stem in separator.stems}
    for path in paths.values():
        check_target(path, source)
    song = SongFile(source)
    with ExitStack() as open_files:
        sinks = [
            open_files.enter_context(writing(path, about.rate, 2, source=source))
            for path in paths.values()
        ]
        for piece in separator.stream(song, progress=progress):
            for sink, stem in zip(sinks, piece, strict=True):
                sink.write(stem)
    return paths
