"""The page about a cover: what was done, how it looks and sounds before and after, in figures."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from offline.cover.judge import Judged, judged
from offline.cover.look import Look, looked
from offline.cover.recipe import CURVE, JUDGE, LOOK, PITCH_AFTER
from offline.curve import Curve, read_curve
from offline.page import Cell, Page, Player
from stream.errors import AudioError

if TYPE_CHECKING:
    from offline.cover.make import Cover

QUIETEST_DB = -100.0  # drawn darkest in a spectrum, with 0 dB as the brightest
LIKE = 0.75  # similarity above which two recordings are usually of one speaker
KEPT_CORRELATION = 0.9  # of the pitch, below which something is worth a look


def write(cover: "Cover", folders: Mapping[str, Path], path: Path) -> Path:
    """Write the page to `path`, and what it plays into the folder beside it; returns `path`.

    folders  of the tasks in `recipe.looks`, and of "f0"

    Law: the page and the folder beside it can be moved together, and need nothing else. Raises
    `AudioError` when they cannot be written.
    """
    names = [name for name in folders if name.startswith(LOOK)]
    looks = {name.removeprefix(LOOK): looked(folders[name]) for name in names}
    found = judged(folders[JUDGE])
    try:
        sounds = _sounds(looks, path.with_name(f"{path.stem} (listen)"))
        page = Page(f"{cover.song.path.name}, sung by {cover.settings.voice}")
        _summary(page, cover, looks, found)
        _listen(page, looks, sounds)
        _figures(page, found)
        _curves(page, looks, {
            "its voice": read_curve(folders["f0"] / CURVE),
            "the new voice": read_curve(folders[PITCH_AFTER] / CURVE),
        })  # fmt: skip
        _how(page, cover)
        return page.write(path)
    except OSError as error:
        raise AudioError(
            f"The cover is there, but its page {path} cannot be written: {error}."
        ) from error


def _sounds(looks: Mapping[str, Look], folder: Path) -> dict[str, Path]:
    """Copies to listen to, each whole or not there."""
    folder.mkdir(exist_ok=True)
    found: dict[str, Path] = {}
    for name, look in looks.items():
        if look.sound is None:
            continue
        target = folder / f"{name}{look.sound.suffix}"
        beside = folder / f".{target.name}.{os.getpid()}.tmp"
        try:
            shutil.copyfile(look.sound, beside)
            os.replace(beside, target)
        finally:
            beside.unlink(missing_ok=True)
        found[name] = target
    return found


def _summary(page: Page, cover: "Cover", looks: Mapping[str, Look], found: Judged) -> None:
    made = looks["the cover"].figures
    page.text(
        f"{cover.song.seconds:.1f} s of song, made in {cover.took:.1f} s. The song has "
        f"{looks['the song'].figures.lufs:.1f} LUFS, the cover {made.lufs:.1f} LUFS and "
        f"{made.true_peak_db:.1f} dBTP."
    )
    for note in cover.notes:
        page.advice(note)
    if made.clipped:
        page.advice(f"{made.clipped} samples of the cover are full scale: it clips.", "bad")
    correlation = found.f0_correlation
    if correlation is not None and correlation < KEPT_CORRELATION:
        page.advice(
            f"The melody is not kept well (correlation {correlation:.2f}). See where below; the "
            "pitch can be edited: --f0-out, --f0-in."
        )
    if found.like_voice is not None and found.like_voice >= LIKE:
        page.advice(f"It is {found.like_voice:.2f} like the voice, as one speaker is.", "good")


def _listen(page: Page, looks: Mapping[str, Look], sounds: Mapping[str, Path]) -> None:
    page.section("To listen to")
    head = ["", "", "LUFS", "dBTP", "highest, dBFS", "samples at full scale"]
    page.table(head, [_row(name, look, sounds.get(name)) for name, look in looks.items()])


def _row(name: str, look: Look, sound: Path | None) -> list[Cell]:
    figures = look.figures
    decibels = (figures.lufs, figures.true_peak_db, figures.peak_db)
    rounded = [round(x, 1) for x in decibels]
    return [name, Player(sound) if sound else None, *rounded, figures.clipped]


def _figures(page: Page, found: Judged) -> None:
    page.section("The new voice in figures")
    rows = [
        ("Melody kept: correlation of log f0", found.f0_correlation, "1 is all of it"),
        ("Melody: median distance, cents", found.f0_cents, "a semitone is 100"),
        ("Only one of the two sings, share of the time", found.voicing_error, "0 is never"),
        ("Like the voice's own preview", found.like_voice, "above 0.75: mostly one speaker"),
        ("The old voice like that preview", found.was_like_voice, "the lower the further it came"),
        ("Like the old voice", found.like_singer, ""),
    ]
    shown = [[name, round(value, 3), why] for name, value, why in rows if value is not None]
    page.table(["", "", ""], shown)
    for why in found.missing:
        page.text(why)


def _curves(page: Page, looks: Mapping[str, Look], pitches: Mapping[str, Curve]) -> None:
    page.section("Pitch and loudness")
    shown = {
        name: (curve.times, np.where(curve.hz > 0.0, curve.hz, np.nan))
        for name, curve in pitches.items()
    }
    page.lines("Pitch", "s", "Hz", shown, log_y=True)
    both = {name: (looks[name].times, looks[name].level) for name in ("the song", "the cover")}
    page.lines("Level", "s", "dBFS", both)
    page.section("Waveforms and spectrograms")
    for name, look in looks.items():
        draw(page, name, look)


def draw(page: Page, name: str, look: Look) -> None:
    """Its waveform and its spectrogram."""
    x = np.repeat(look.times, 2)
    y = np.stack([look.lowest, look.highest], axis=1).ravel()
    page.lines(f"Waveform: {name}", "s", "", {"": (x, y)})
    page.picture(
        f"Spectrogram: {name}",
        look.spectrum,
        x=("s", 0.0, look.figures.seconds),
        y=(f"mel bands up to {look.figures.rate / 2000:.4g} kHz", 0.0, float(len(look.spectrum))),
        limits=(QUIETEST_DB, 0.0),
    )


def _how(page: Page, cover: "Cover") -> None:
    from offline.cover.make import plan_json

    page.section("How it was made")
    page.table(["Setting", ""], [list(row) for row in _flat(cover.settings.model_dump())])
    rows = [
        [
            step["name"],
            step["key"][:12],
            json.dumps(step["parameters"], ensure_ascii=False),
            ", ".join(step["models"]),
        ]
        for step in json.loads(plan_json(cover.plan))
    ]
    page.table(["Step", "Key begins", "Parameters", "Models (sha256)"], rows)
    page.text(f"The song's sound has the sha256 {cover.song.digest}.")


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Settings in settings, as `controls.pitch`."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", "-" if value in (None, "") else str(value)
