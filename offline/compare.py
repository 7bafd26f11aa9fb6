"""Two sound files side by side: each in figures, and how alike they are."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from offline.cover.judge import melody
from offline.cover.look import Look, look
from offline.cover.report import draw
from offline.curve import Curve, detect
from offline.judge.files import speakers
from offline.judge.similarity import open_speaker
from offline.judge.spectra import Spectra
from offline.page import Page, Player
from offline.sound import facts, pieces
from stream.audio import ANALYSIS_RATE
from stream.errors import AssetMissing, AudioError, ConfigError
from stream.models.f0 import Detectors

PIECE_SECONDS = 10.0
IN_STEP = 0.25  # s that two files may differ in length and still be compared moment by moment


@dataclass(frozen=True)
class Comparison:
    """Two files, `one` and `other`, compared.

    looks, pitches  of each file
    f0_correlation, f0_cents, voicing_error   of their melodies, as in `cover.judge.Judged`
    mel_db      distance of their spectra moment by moment; None where their lengths differ
    similarity  of who is heard, -1..1;  `missing` tells why a figure is not there
    """

    files: tuple[Path, Path]
    looks: tuple[Look, Look]
    pitches: tuple[Curve, Curve]
    f0_correlation: float | None
    f0_cents: float | None
    voicing_error: float
    mel_db: float | None
    similarity: float | None
    missing: tuple[str, ...]

    @property
    def each(self) -> list[tuple[str, str, str]]:
        """What is known of each: (figure, of one, of the other)."""
        a, b = (one.figures for one in self.looks)
        hz = [f"{curve.median_hz:.1f}" if curve.median_hz else "-" for curve in self.pitches]
        return [
            ("seconds", f"{a.seconds:.2f}", f"{b.seconds:.2f}"),
            ("rate, Hz", str(a.rate), str(b.rate)),
            ("channels", str(a.channels), str(b.channels)),
            ("loudness, LUFS", f"{a.lufs:.1f}", f"{b.lufs:.1f}"),
            ("true peak, dBTP", f"{a.true_peak_db:.1f}", f"{b.true_peak_db:.1f}"),
            ("samples at full scale", str(a.clipped), str(b.clipped)),
            ("median pitch, Hz", hz[0], hz[1]),
        ]

    @property
    def both(self) -> list[tuple[str, str]]:
        """How alike they are: (figure, value), of those that are known."""
        known = [
            ("speaker similarity (-1..1)", self.similarity, ".3f"),
            ("melody: correlation of log f0 (-1..1)", self.f0_correlation, ".3f"),
            ("melody: median distance, cents", self.f0_cents, ".1f"),
            ("only one is voiced, share of the time", self.voicing_error, ".3f"),
            ("mel distance, dB", self.mel_db, ".2f"),
        ]
        return [(name, format(value, form)) for name, value, form in known if value is not None]


def compare(one: Path, other: Path, home: Path) -> Comparison:
    """Compare two files. Memory does not grow with them. Raises `AudioError`.

    Law: a file and a louder copy of it differ in loudness only.
    """
    files, missing = (one, other), list[str]()
    with tempfile.TemporaryDirectory(prefix="timbral-") as folder:
        looks = (
            look(one, Path(folder), listen=False),
            look(other, Path(folder), listen=False),
        )
    pitches = (_pitch(one, home), _pitch(other, home))
    correlation, cents, voicing = melody(*pitches)
    similarity = None
    try:
        a, b = speakers(open_speaker(home), files)
        similarity = a.like(b) if a and b else None
        if similarity is None:
            missing.append("There is too little to hear to tell whose voices they are.")
    except AssetMissing as error:
        missing.append(str(error))
    mel_db = None
    if abs(looks[0].figures.seconds - looks[1].figures.seconds) <= IN_STEP:
        mel_db = _apart(one, other)
    else:
        missing.append("They are not equally long, so no moment is compared with another.")
    return Comparison(
        files, looks, pitches, correlation, cents, voicing, mel_db, similarity, tuple(missing)
    )


def _pitch(path: Path, home: Path) -> Curve:
    heard = (piece.mean(axis=1) for piece in pieces(path, PIECE_SECONDS, ANALYSIS_RATE))
    found = facts(path)
    length = -(-found.frames * ANALYSIS_RATE // found.rate)
    return detect(heard, Detectors(home)["swift"], length)


def _apart(one: Path, other: Path) -> float:
    """The mean mel distance in dB, of 10 s at a time, weighted by their lengths."""
    spectra = Spectra(ANALYSIS_RATE)
    both = (pieces(path, PIECE_SECONDS, ANALYSIS_RATE) for path in (one, other))
    total = weight = 0.0
    for a, b in zip(*both, strict=False):
        n = min(len(a), len(b))
        total += n * spectra.mel_distance(a[:n].mean(axis=1), b[:n].mean(axis=1))
        weight += n
    return total / weight


def check_page(path: Path, files: tuple[Path, Path]) -> None:
    """Raise `ConfigError` unless a page can be written to `path`, which is none of `files`."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{path} must end in .html.")
    if not path.parent.is_dir():
        raise ConfigError(f"There is no folder {path.parent} to write {path.name} to.")
    if any(path.exists() and path.samefile(file) for file in files):
        raise ConfigError(f"{path} is one of the files to compare. Give the page another name.")


def write_page(found: Comparison, path: Path) -> Path:
    """The comparison as a page, which plays both files from where they are; raises `AudioError`."""
    names = [file.name for file in found.files]
    if names[0] == names[1]:
        names = [str(file) for file in found.files]
    page = Page(f"{names[0]} and {names[1]}")
    page.table(
        ["", *names],
        [["", *(Player(file) for file in found.files)], *(list(row) for row in found.each)],
    )
    page.section("How alike they are")
    page.table(["", ""], [list(row) for row in found.both])
    for why in found.missing:
        page.text(why)
    shown = {
        name: (curve.times, np.where(curve.hz > 0.0, curve.hz, np.nan))
        for name, curve in zip(names, found.pitches, strict=True)
    }
    page.lines("Pitch", "s", "Hz", shown, log_y=True)
    levels = {name: (one.times, one.level) for name, one in zip(names, found.looks, strict=True)}
    page.lines("Level", "s", "dBFS", levels)
    for name, one in zip(names, found.looks, strict=True):
        draw(page, name, one)
    try:
        return page.write(path)
    except OSError as error:
        raise AudioError(f"{path} cannot be written: {error}.") from error
