"""Reports: one HTML file that holds all of itself. Tables, charts, spectrograms and sounds.

No script, nothing fetched: it opens from a memory stick. Light or dark as the reader's system is,
readable on paper. Every text given is shown as it is, never taken for HTML.

    page = Page("Recordings of ada")
    page.advice("Turn the gain down: two recordings are clipped.", "warn")
    page.table(["File", "Minutes"], [["one.wav", 3.2]])
    page.lines("Loss", "step", "loss", {"training": (steps, losses)})
    page.sound("Preview", samples, rate=24_000)
    page.write(folder / "report.html")
"""

import base64
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import numpy as np
import soundfile

from offline import chart
from offline.png import coloured, png
from stream.audio import Audio

Mood = Literal["good", "warn", "bad"]
WORDS: dict[Mood, str] = {"good": "Good", "warn": "Mind", "bad": "Problem"}
Part = Callable[[Path], str]
"""A piece of the page, given the folder in which the page will lie."""


@dataclass(frozen=True)
class Player:
    """A sound to play on the page.

    A file is linked, relative to the page; an array [n] or [n, channels] at `rate` Hz is put into
    the page itself as FLAC (16 bits).
    """

    sound: Path | Audio
    rate: int = 0


Cell = str | int | float | Player | None
"""What a table may hold; numbers are set right-aligned, None is an empty cell."""


class Page:
    """A report that grows from top to bottom. `refresh_s` > 0: an open page reloads itself.

    Law: what is written parses as HTML, needs no other file but the sounds that are linked, and
    holds no markup that came from a text.
    """

    def __init__(self, title: str, *, refresh_s: int = 0) -> None:
        self.title = title
        self._refresh = refresh_s
        self._parts: list[Part] = []

    def section(self, title: str) -> None:
        """A heading."""
        self._add(f"<h2>{escape(title)}</h2>")

    def text(self, text: str) -> None:
        """A paragraph."""
        self._add(f"<p>{escape(text)}</p>")

    def advice(self, text: str, mood: Mood = "warn") -> None:
        """A sentence that stands out: what is good, what to mind, or what is wrong."""
        self._add(
            f'<ul class="advice"><li class="{mood}"><b>{WORDS[mood]}</b>{escape(text)}</li></ul>'
        )

    def table(self, head: Sequence[str], rows: Sequence[Sequence[Cell]], title: str = "") -> None:
        """A table. Raises `ValueError` for a row of another length than `head`."""
        if wrong := [row for row in rows if len(row) != len(head)]:
            raise ValueError(f"a row of {len(wrong[0])} cells under {len(head)} headings")
        columns = list(zip(*rows, strict=True))
        numeric = [_is_number(column) for column in columns] or [False] * len(head)
        kinds = [' class="number"' if number else "" for number in numeric]
        top = "".join(
            f"<th{kind}>{escape(name)}</th>" for name, kind in zip(head, kinds, strict=True)
        )
        caption = f"<caption>{escape(title)}</caption>" if title else ""

        def drawn(folder: Path) -> str:
            lines = (
                "".join(
                    f"<td{kind}>{_cell(cell, folder)}</td>"
                    for cell, kind in zip(row, kinds, strict=True)
                )
                for row in rows
            )
            body = "".join(f"<tr>{line}</tr>\n" for line in lines)
            return (
                f'<div class="scroll"><table>{caption}<thead><tr>{top}</tr></thead>'
                f"<tbody>\n{body}</tbody></table></div>"
            )

        self._parts.append(drawn)

    def lines(
        self,
        title: str,
        x_label: str,
        y_label: str,
        series: chart.Series,
        *,
        log_y: bool = False,
        note: str = "",
    ) -> None:
        """Curves: name -> (x [n], y [n]). What is no number is a gap; no peak is lost."""
        drawn = chart.lines(title, x_label, y_label, series, log_y=log_y)
        self._figure(title, drawn, note)

    def bars(
        self,
        title: str,
        y_label: str,
        labels: Sequence[str],
        series: Mapping[str, Sequence[float]],
        *,
        note: str = "",
    ) -> None:
        """Groups of bars: a group for each label, in it one bar of each series."""
        self._figure(title, chart.bars(title, y_label, labels, series), note)

    def histogram(
        self,
        title: str,
        x_label: str,
        y_label: str,
        edges: Sequence[float],
        series: Mapping[str, Sequence[float]],
        *,
        note: str = "",
    ) -> None:
        """Counts [n] between edges [n + 1]."""
        self._figure(title, chart.histogram(title, x_label, y_label, edges, series), note)

    def picture(
        self,
        title: str,
        values: Audio,
        *,
        x: tuple[str, float, float] = ("", 0.0, 1.0),
        y: tuple[str, float, float] = ("", 0.0, 1.0),
        limits: tuple[float, float] | None = None,
        note: str = "",
    ) -> None:
        """A field of numbers [rows, columns] in colours, row 0 at the bottom: a spectrogram.

        `x` and `y` are a label, and the numbers at the axis' ends. `limits` are the values drawn
        darkest and brightest; by default the 1 % and 99.9 % points of those given.
        """
        finite = values[np.isfinite(values)]
        if limits is None:
            limits = (
                (float(np.quantile(finite, 0.01)), float(np.quantile(finite, 0.999)))
                if len(finite)
                else (0.0, 1.0)
            )
        low, high = limits if limits[0] < limits[1] else (limits[0] - 0.5, limits[0] + 0.5)
        image = png(coloured(values[::-1], low, high))
        drawn = chart.picture(title, image, x[0], y[0], x[1:], y[1:])
        self._figure(title, drawn, note)

    def sound(self, title: str, sound: Path | Audio, rate: int = 0, note: str = "") -> None:
        """A player. An array needs its `rate` in Hz."""
        player = Player(sound, rate)
        self._parts.append(lambda folder: _framed(title, _audio(player, folder), note))

    def write(self, path: Path) -> Path:
        """Write the page, beside its place first: there is never half of it. Returns `path`."""
        css = Path(__file__).with_name("page.css").read_text("utf-8")
        body = "\n".join(part(path.parent) for part in self._parts)
        again = f'<meta http-equiv="refresh" content="{self._refresh}">\n' if self._refresh else ""
        html = (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"{again}<title>{escape(self.title)}</title>\n<style>\n{css}</style>\n</head>\n<body>\n"
            f"<h1>{escape(self.title)}</h1>\n{body}\n<footer>Written by timbral.</footer>\n"
            "</body>\n</html>\n"
        )
        beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            beside.write_text(html, "utf-8")
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
        return path

    def _add(self, html: str) -> None:
        self._parts.append(lambda _folder: html)

    def _figure(self, title: str, drawn: str, note: str) -> None:
        self._add(_framed(title, drawn, note))


def _framed(title: str, drawn: str, note: str) -> str:
    below = f'<div class="note">{escape(note)}</div>' if note else ""
    return f"<figure><figcaption>{escape(title)}{below}</figcaption>{drawn}</figure>"


def _is_number(column: Sequence[Cell]) -> bool:
    """Whether all that is told in a column is numbers."""
    told = [cell for cell in column if cell is not None]
    return bool(told) and all(isinstance(cell, int | float) for cell in told)


def _cell(cell: Cell, folder: Path) -> str:
    if cell is None:
        return ""
    if isinstance(cell, Player):
        return _audio(cell, folder)
    return escape(f"{cell:.4g}" if isinstance(cell, float) else str(cell))


def _audio(player: Player, folder: Path) -> str:
    if isinstance(player.sound, Path):
        there = os.path.relpath(player.sound.resolve(), folder.resolve())
        source = quote(Path(there).as_posix())
    else:
        source = _data(player.sound, player.rate)
    return f'<audio controls preload="none" src="{source}"></audio>'


def _data(samples: Audio, rate: int) -> str:
    if rate <= 0:
        raise ValueError("a sound given as an array needs its rate")
    file = io.BytesIO()
    soundfile.write(file, np.clip(samples, -1.0, 1.0), rate, format="FLAC", subtype="PCM_16")
    return "data:audio/flac;base64," + base64.b64encode(file.getvalue()).decode("ascii")
