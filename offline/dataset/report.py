"""The report of recordings as a page."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from offline.dataset.clips import Dataset
from offline.dataset.inspection import Inspection, Row
from offline.dataset.quality import PITCH_EDGES
from offline.page import Page, Player
from stream.audio import ANALYSIS_RATE, CONTENT_HOP, Audio

MOST_PICTURES = 4
PICTURE_S = 8
MOST_BARS = 24
WINDOW, HOP = 512, 160  # samples at 16 kHz

HEAD = (
    *("Recording", "Speaker", "Mind", "Length, s", "Speech, s", "SNR, dB", "Speech, dBFS"),
    *("Noise, dBFS", "Clipped, %", "Reaches, kHz", "File, Hz", "Pitch, Hz", "5–95 %, Hz", "Listen"),
)


def write_report(inspection: Inspection, path: Path, dataset: Dataset | None = None) -> Path:
    """Write the page; `dataset` adds what became of the recordings. Returns `path`."""
    page = Page(f"Recordings of {' and '.join(inspection.speakers)}")
    for advice in inspection.advice:
        page.advice(advice.text, advice.mood)
    if dataset is not None:
        _made(page, dataset)
    page.section("Recordings")
    page.table(HEAD, [_cells(row) for row in inspection.rows])
    if inspection.refused:
        page.table(("Left out", "Why"), list(inspection.refused))
    if inspection.rows:
        _charts(page, inspection)
        _pictures(page, inspection)
    return page.write(path)


def _made(page: Page, dataset: Dataset) -> None:
    """How the speech was divided."""
    training, held = (sum(c.seconds for c in s) for s in (dataset.training, dataset.held_out))
    names = sorted({clip.recording for clip in dataset.held_out})
    page.section("Training and judging")
    page.text(
        f"{training / 60:.1f} minutes in {len(dataset.training)} pieces to learn from; "
        f"{held / 60:.1f} minutes to judge by, never learnt from: {', '.join(names) or 'none'}."
    )
    for remark in dataset.remarks:
        page.advice(remark, "warn")


def _cells(row: Row) -> tuple[str | float | Player, ...]:
    quality, pitch = row.quality, row.pitch
    return (
        row.name,
        row.speaker,
        ", ".join(row.notes) or "–",
        round(quality.seconds, 1),
        round(row.usable_seconds, 1),
        round(quality.snr_db, 1),
        round(quality.speech_db, 1),
        round(quality.noise_db, 1),
        round(100 * quality.clipped, 2),
        round(quality.bandwidth_hz / 1000, 1),
        quality.source_rate,
        round(pitch.median_hz),
        f"{pitch.low_hz:.0f}–{pitch.high_hz:.0f}",
        Player(row.path),
    )


def _charts(page: Page, inspection: Inspection) -> None:
    by_speaker = {
        name: np.sum([row.pitch.counts for row in rows], axis=0) / 100.0
        for name, rows in _speakers(inspection)
    }
    page.section("Pitch")
    used = np.flatnonzero(np.sum(list(by_speaker.values()), axis=0))
    first, last = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, len(PITCH_EDGES) - 1)
    page.histogram(
        "How much is said at which pitch",
        "Hz",
        "seconds",
        PITCH_EDGES[first : last + 1],
        {name: counts[first:last].tolist() for name, counts in by_speaker.items()},
        note="A bar is a semitone wide. The voice can only say well what it has heard.",
    )
    page.section("Loudness")
    levels = [recording.levels() for recording in inspection.found.recordings]
    edges = np.arange(-100.0, 1.0, 2.0)
    page.histogram(
        "Levels of speech and of what else is there",
        "dBFS",
        "seconds",
        edges.tolist(),
        {"all recordings": (np.histogram(np.concatenate(levels), edges)[0] / 50.0).tolist()},
        note="Two hills far apart are speech and a quiet room; one broad hill is a noisy one.",
    )
    rows = sorted(inspection.rows, key=lambda row: row.quality.snr_db)[:MOST_BARS]
    page.bars(
        "Speech above noise",
        "dB",
        [row.name[-14:] for row in rows],
        {"SNR": [row.quality.snr_db for row in rows]},
        note="The noisiest first. Above 30 dB is a studio, below 20 a busy room.",
    )


def _pictures(page: Page, inspection: Inspection) -> None:
    """Spectrograms of what has most to mind, or of the first recording where all is well."""
    page.section("What it looks like")
    pairs = list(zip(inspection.rows, inspection.found.recordings, strict=True))
    worst = sorted(pairs, key=lambda pair: -len(pair[0].notes))[:MOST_PICTURES]
    for row, recording in worst if worst[0][0].notes else pairs[:1]:
        if worst[0][0].notes and not row.notes:
            continue
        frames = min(recording.frames, PICTURE_S * ANALYSIS_RATE // CONTENT_HOP)
        begin = _liveliest(recording.levels(), frames)
        page.picture(
            row.name,
            spectrogram(recording.heard(begin, begin + frames)),
            x=("seconds", begin / 50.0, (begin + frames) / 50.0),
            y=("kHz", 0.0, ANALYSIS_RATE / 2000.0),
            note=", ".join(row.notes),
        )


def _liveliest(levels: Audio, frames: int) -> int:
    """Where the loudest `frames` frames begin."""
    sums = np.concatenate([[0.0], np.cumsum(np.maximum(levels, -100.0) + 100.0)])
    return int(np.argmax(sums[frames:] - sums[: len(sums) - frames])) if len(levels) else 0


def spectrogram(heard: Audio) -> Audio:
    """dB, [bins, frames] of 16 kHz audio [n]."""
    padded = np.pad(heard, (0, max(0, WINDOW - len(heard))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(WINDOW)))
    return (20.0 * np.log10(spectrum + 1e-5)).T.astype(np.float32)


def _speakers(inspection: Inspection) -> Iterator[tuple[str, list[Row]]]:
    for name in inspection.speakers:
        rows = [row for row in inspection.rows if row.speaker == name]
        if rows:
            yield name, rows
