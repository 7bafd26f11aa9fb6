"""Recordings to a data set: heard, judged, cut, described. On all cores, nothing twice."""

import os
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from offline.cache import Cache
from offline.dataset.clips import Clip, Dataset, Stored, dataset_key
from offline.dataset.duplicates import Shared, shared
from offline.dataset.features import Ears, describe, intone, open_ears, parts
from offline.dataset.quality import Pitch, pitch
from offline.dataset.recordings import Collection, Source, Speakers, collect
from offline.dataset.settings import DatasetSettings
from offline.dataset.slices import FRAMES_A_SECOND, Slice, slices
from offline.dataset.sound import Recording, listen, say
from offline.dataset.split import Material, Split, split
from stream.audio import Audio
from stream.device import CPU, Device
from stream.errors import AudioError
from stream.models.digest import sha256

Progress = Callable[[int, int], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Found:
    """What is known before anything is trained.

    recordings  those that can be used, and what was heard in each: pitch [2 n], slices
    copies      names of files that are byte for byte another one, and of that one
    alike       pairs of `recordings` with the same sound in them
    """

    collection: Collection
    recordings: tuple[Recording, ...]
    f0: tuple[Audio, ...]
    pitches: tuple[Pitch, ...]
    slices: tuple[tuple[Slice, ...], ...]
    refused: tuple[tuple[str, str], ...]
    copies: tuple[tuple[str, str], ...]
    alike: tuple[Shared, ...]

    @property
    def usable_seconds(self) -> float:
        """Of speech in slices."""
        return sum(end - begin for each in self.slices for begin, end in each) / FRAMES_A_SECOND


class Crew:
    """Threads that work on a list of things; ONNX Runtime and NumPy let them run side by side.

    Law: when a job raises, or `progress` does, those that wait are dropped, those that run end
    soon (`halt`), and the error is raised here.
    """

    def __init__(self, progress: Progress | None) -> None:
        self.halt = threading.Event()
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="dataset")
        self._progress = progress
        self._done = self._all = 0

    def expect(self, more: int) -> None:
        """So many jobs more will come; told before they do, the bar does not jump back."""
        self._all += more

    def run(self, jobs: Sequence[Callable[[], T]]) -> list[T]:
        """What the jobs return, in their order."""
        waiting: list[Future[T]] = [self._pool.submit(job) for job in jobs]
        for each in as_completed(waiting):
            each.result()
            self._done += 1
            if self._progress:
                self._progress(self._done, max(self._done, self._all))
        return [each.result() for each in waiting]

    def close(self) -> None:
        """Wait for those that run; the others never begin."""
        self.halt.set()
        self._pool.shutdown(cancel_futures=True)


@contextmanager
def crew(progress: Progress | None) -> Generator[Crew]:
    """A `Crew` that is gone afterwards, however it ends."""
    workers = Crew(progress)
    try:
        yield workers
    finally:
        workers.close()


def prepare(
    files: Sequence[str | Path],
    *,
    speakers: Speakers = "one",
    settings: DatasetSettings,
    cache: Cache,
    home: Path | None = None,
    device: Device = CPU,
    progress: Progress | None = None,
) -> Dataset:
    """The data set of these recordings.

    Everything made on the way is kept in `cache` by what it was made from; killed at any moment,
    the next call goes on where it was, and one with the same files and settings finds all of it.

    files     paths of files and folders, or NAME=PATH
    home      where encoders and detectors are installed
    progress  called with (jobs done, jobs known of); raise in it to stop

    Raises `ConfigError` and `AudioError` when nothing can be trained with this, and `AssetMissing`
    when the encoder or the detector is not installed.
    """
    ears = open_ears(settings, home, device)
    with crew(progress) as workers:
        found = explore(files, speakers, settings, cache, ears, workers)
        _check(found, settings)
        material = [
            Material(r.sha256, r.source.speaker, each)
            for r, each in zip(found.recordings, found.slices, strict=True)
        ]
        division = split(material, found.alike, settings)
        used = [k for k, each in enumerate(found.slices) if each]
        pieces = {k: parts(found.recordings[k]) for k in used}
        workers.expect(len(used) + sum(map(len, pieces.values())))
        said = workers.run([lambda k=k: say(found.recordings[k], settings, cache) for k in used])
        todo = [part for k in used for part in pieces[k]]
        content = iter(
            workers.run(
                [lambda p=p: describe(p, ears, settings, cache, workers.halt) for p in todo]
            )
        )
        f0 = {k: tuple(intone(part, ears, settings, cache) for part in pieces[k]) for k in used}
    stored = {
        k: Stored(
            path,
            tuple(next(content) for _ in pieces[k]),
            f0[k],
            found.recordings[k].gain_db,
            settings.sample_rate // 100,
        )
        for k, path in zip(used, said, strict=True)
    }
    return _dataset(found, division, stored, ears, settings)


def explore(
    files: Sequence[str | Path],
    speakers: Speakers,
    settings: DatasetSettings,
    cache: Cache,
    ears: Ears,
    workers: Crew,
) -> Found:
    """Listen to everything and judge it; no content features yet."""
    collection = collect(files, speakers)
    workers.expect(2 * len(collection.sources))
    digests = workers.run([lambda s=s: sha256(s.path) for s in collection.sources])
    first: dict[str, Source] = {}
    copies: list[tuple[str, str]] = []
    for source, digest in zip(collection.sources, digests, strict=True):
        if first.setdefault(digest, source) is not source:
            copies.append((source.name, first[digest].name))
    heard = workers.run(
        [lambda d=d, s=s: _listened(s, d, settings, cache) for d, s in first.items()]
    )
    recordings = [each for each in heard if isinstance(each, Recording)]
    refused = [each for each in heard if not isinstance(each, Recording)]
    pieces = [parts(each) for each in recordings]
    workers.expect(sum(map(len, pieces)))
    flat = [part for each in pieces for part in each]
    melodies = iter(workers.run([lambda p=p: intone(p, ears, settings, cache) for p in flat]))
    f0 = [np.concatenate([np.load(next(melodies)) for _ in each]) for each in pieces]
    return Found(
        collection,
        tuple(recordings),
        tuple(f0),
        tuple(
            pitch(each.heard(0, each.frames), own) for each, own in zip(recordings, f0, strict=True)
        ),
        tuple(
            tuple(slices(r.levels()[: r.frames], r.quality.threshold_db, settings))
            for r in recordings
        ),
        tuple(refused),
        tuple(copies),
        tuple(shared([each.print() for each in recordings])),
    )


def _listened(
    source: Source, digest: str, settings: DatasetSettings, cache: Cache
) -> Recording | tuple[str, str]:
    """A recording, or the file's name and why it cannot be used."""
    try:
        return listen(source, digest, settings, cache)
    except AudioError as error:
        return source.name, str(error)


def _check(found: Found, settings: DatasetSettings) -> None:
    if not found.recordings:
        told = "\n".join(f"  {name}: {why}" for name, why in found.refused)
        raise AudioError(f"None of the recordings can be used:\n{told}")
    if found.usable_seconds < settings.least_s:
        raise AudioError(
            f"There are {found.usable_seconds:.1f} s of speech in the recordings, and at least "
            f"{settings.least_s:g} s are needed. 10 minutes make a good voice."
        )


def _dataset(
    found: Found, division: Split, stored: dict[int, Stored], ears: Ears, settings: DatasetSettings
) -> Dataset:
    sides: dict[str, list[Clip]] = {"training": [], "held out": [], "neither": []}
    for k, own in stored.items():
        recording = found.recordings[k]
        for (begin, end), side in zip(found.slices[k], division.sides[k], strict=True):
            clip = Clip(
                recording.source.name,
                recording.sha256,
                recording.source.speaker,
                begin,
                end - begin,
                own,
            )
            sides[side].append(clip)
    training, held_out = tuple(sides["training"]), tuple(sides["held out"])
    models = (*ears.encoder_files, *ears.detector_files)
    return Dataset(
        speakers=found.collection.speakers,
        sample_rate=settings.sample_rate,
        encoder=settings.encoder,
        dim=ears.encoder.dim,
        training=training,
        held_out=held_out,
        recordings=tuple(_facts(found, k) for k in range(len(found.recordings))),
        refused=found.refused,
        remarks=tuple(_remarks(found, division)),
        settings=settings,
        key=dataset_key((training, held_out), settings, *models),
    )


def _facts(found: Found, k: int) -> dict[str, object]:
    recording = found.recordings[k]
    return {
        "file": recording.source.name,
        "sha256": recording.sha256,
        "speaker": found.collection.speakers[recording.source.speaker],
        "gain_db": recording.gain_db,
        **recording.quality.model_dump(mode="json"),
        "pitch": found.pitches[k].model_dump(mode="json", exclude={"counts"}),
    }


def _remarks(found: Found, division: Split) -> list[str]:
    """What is to be known of how the set was made."""
    told = [f"{copy} is a copy of {first}: used once." for copy, first in found.copies]
    for k in division.ends:
        recording = found.recordings[k]
        who = found.collection.speakers[recording.source.speaker]
        told.append(
            f"There are too few recordings of {who} to keep one for judging: the end of "
            f"{recording.source.name} is kept instead, with 2 s between. Judged on the day's same "
            "microphone and room, the voice looks a little better than it is; more recordings help."
        )
    return told
