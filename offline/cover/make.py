"""One song into a cover: hears it, plans, does what is missing, and writes the result."""

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from offline.cache import META, Cache
from offline.cover.mixdown import figures_of
from offline.cover.plan import Plan, Progress
from offline.cover.recipe import CURVE, MIX, looks, plan_cover
from offline.cover.run import Unwatched, Watcher, run
from offline.cover.settings import CoverSettings
from offline.cover.song import Song, listen
from offline.cover.tools import Tools
from offline.curve import check_target as check_curve
from offline.curve import read_curve, write_curve
from offline.sound import check_target, facts, pieces, writing
from stream.errors import AudioError, ConfigError

PIECE_SECONDS = 5.0
FILES_A_STEP = 2  # of the song's length that a step leaves in the cache, as a rule
SILENT_LUFS = -50.0  # a voice that is quieter is hardly there
HEARING, WRITING = "listen", "export"  # what is done beside the plan's steps


@dataclass(frozen=True)
class Cover:
    """What was made of a song.

    target   the file; None when only a step was asked for
    folders  by the name of each step that was asked for, where its files are
    figures  what was measured of the mix: LUFS, dBTP, gains
    took     s
    report   the page about it, when one was asked for
    """

    song: Song
    settings: CoverSettings
    plan: Plan
    target: Path | None
    folders: Mapping[str, Path]
    figures: Mapping[str, float]
    took: float
    report: Path | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a listener should know, in sentences."""
        quiet = self.figures.get("old_voice_lufs", 0.0) < SILENT_LUFS
        return (*self.song.notes, "There is hardly a voice in it.") if quiet else self.song.notes


@dataclass(frozen=True)
class Wanted:
    """What is asked for, beside the settings.

    target    the file to write
    step      go no further than this step, and write its files to the folder `target` instead
    again     make that step (or the mix) anew, even if it was made before
    f0_in     a file with the pitch to sing;  f0_out  one to write it to
    all_parts have every step's files at hand at the end
    report    write a page about the cover beside it, under its name with .html; not of a step
    """

    target: Path
    step: str | None = None
    again: bool = False
    f0_in: Path | None = None
    f0_out: Path | None = None
    all_parts: bool = False
    report: bool = False


def prepare(
    path: Path,
    settings: CoverSettings,
    tools: Tools,
    wanted: Wanted,
    watcher: Watcher | None = None,
) -> tuple[Song, Plan]:
    """The song, heard, and the plan for it; nothing is written.

    Raises `AudioError`, `ConfigError`, `VoiceError` and `ModelError`: whatever can be told before
    the work begins.
    """
    if wanted.step is None:
        check_target(wanted.target, path)
    elif wanted.target.is_file():
        raise ConfigError(f"{wanted.target} is a file. A step's files go into a folder.")
    if wanted.f0_out:
        check_curve(wanted.f0_out)
    given = read_curve(wanted.f0_in) if wanted.f0_in else None
    song = listen(path, _told(watcher or Unwatched(), HEARING))
    report = wanted.report and wanted.step is None
    plan = plan_cover(song, settings, tools, given=given, report=report)
    if wanted.step:
        plan.task(wanted.step)
    return song, plan


def make_cover(
    path: Path,
    settings: CoverSettings,
    wanted: Wanted,
    *,
    tools: Tools,
    cache: Cache,
    workers: int | None = None,
    watcher: Watcher | None = None,
) -> Cover:
    """The cover of one song. What was made before is taken from the cache.

    workers  steps that may run at once; by default as many as there are cores, 4 at most

    Raises the errors of `prepare`, and `Cancelled` when the watcher raises it. Then there is
    nothing under the target's name, and what was finished is found the next time.
    """
    begun, told = time.monotonic(), watcher or Unwatched()
    song, plan = prepare(path, settings, tools, wanted, told)
    goal = wanted.step or "mix"
    if wanted.again:
        cache.forget(plan.task(goal).step)
    later = looks(plan)
    goals = [*(plan.names if wanted.all_parts else ()), goal, *(["f0"] if wanted.f0_out else ())]
    goals = [name for name in dict.fromkeys(goals) if name not in later]
    _check_room(song, plan, cache, goals)
    many = workers or min(4, os.cpu_count() or 1)
    folders = run(plan, cache, goals, workers=many, watcher=told)
    if wanted.f0_out:
        write_curve(wanted.f0_out, read_curve(folders["f0"] / CURVE))
    if wanted.step:
        _copy(folders[goal], wanted.target)
        return Cover(song, settings, plan, None, folders, {}, time.monotonic() - begun)
    export(folders["mix"] / MIX, wanted.target, song.path, _told(told, WRITING))
    figures = figures_of(folders["mix"])
    cover = Cover(song, settings, plan, wanted.target, folders, figures, time.monotonic() - begun)
    if not later:
        return cover
    from offline.cover.report import write

    shown = run(plan, cache, ("f0", *later), workers=many, watcher=told)
    return replace(cover, report=write(cover, shown, wanted.target.with_suffix(".html")))


def export(mix: Path, target: Path, source: Path, progress: Progress | None = None) -> None:
    """Write the mix to `target`, in the format of its name, with the tags and cover of `source`."""
    found, done = facts(mix), 0
    tags = facts(source).tags
    with writing(target, found.rate, found.channels, tags=tags, source=source) as out:
        for piece in pieces(mix, PIECE_SECONDS):
            out.write(piece)
            done += len(piece)
            if progress:
                progress(done, found.frames)


def _copy(folder: Path, target: Path) -> None:
    """The files of a step, each whole or not at all."""
    try:
        target.mkdir(parents=True, exist_ok=True)
        for file in sorted(folder.iterdir()):
            if file.name != META:
                beside = target / f".{file.name}.{os.getpid()}.tmp"
                try:
                    shutil.copyfile(file, beside)
                    os.replace(beside, target / file.name)
                finally:
                    beside.unlink(missing_ok=True)
    except OSError as error:
        raise AudioError(f"{target} cannot be written to: {error}.") from error


def _check_room(song: Song, plan: Plan, cache: Cache, goals: list[str]) -> None:
    """Raise `ConfigError` when the disk has no room for what is to be made."""
    missing = plan.missing(cache, goals)
    needed = len(missing) * FILES_A_STEP * round(song.seconds * song.rate) * 2 * 4
    place = next(path for path in (cache.folder, *cache.folder.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise ConfigError(
            f"{song.path} needs up to {needed / 1e9:.1f} GB for its {len(missing)} steps, and the "
            f"disk with {cache.folder} has {free / 1e9:.1f} GB left. Make room, for example by "
            "`timbral cache prune --to 0`, or let TIMBRAL_HOME name another folder."
        )


def _told(watcher: Watcher, name: str) -> Progress:
    return lambda done, total: watcher.progress(name, done, total)


def rows(plan: Plan, cache: Cache, goals: list[str]) -> list[tuple[str, str, str]]:
    """The plan for people: name, what it does, and whether it is to be done."""
    missing = {task.name for task in plan.missing(cache, goals)}
    reached = _reached(plan, goals)
    return [
        (task.name, task.says, "to do" if task.name in missing else "kept")
        for task in plan.tasks
        if task.name in reached
    ]


def _reached(plan: Plan, goals: list[str]) -> set[str]:
    found = set(goals)
    for task in reversed(plan.tasks):
        if task.name in found:
            found |= set(task.needs)
    return found


def plan_json(plan: Plan) -> str:
    """Every step with its key and parameters, as JSON: for reports."""
    return json.dumps(
        [
            {"name": task.name, "key": task.step.key} | json.loads(task.step.text)
            for task in plan.tasks
        ],
        indent=1,
    )
