"""Charts as SVG text: lines, bars and pictures between two labelled axes.

Colours and strokes are classes of page.css, so a chart follows its page into the dark and onto
paper. Every text is escaped; what is no number leaves a gap.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

WIDTH, HEIGHT = 720, 280
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 12, 46  # margins of the plot inside the picture
ROW, LETTER = 18, 7  # of a legend: its rows' height, and about how wide a letter is
INKS = 8  # series that page.css tells apart
MOST_POINTS = 800  # of a drawn line: about one a pixel
LABELLED_POINTS = 60  # a line of no more points says each value under the mouse

Series = Mapping[str, tuple[ArrayLike, ArrayLike]]
"""A line's name, and its x [n] and y [n]."""


@dataclass(frozen=True)
class Axis:
    """Numbers from `low` to `high` on a line from pixel `start` to pixel `stop`."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of `value`."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        return self.start + (self._scaled(value) - low) / (high - low) * (self.stop - self.start)

    def ticks(self) -> list[float]:
        """Round numbers inside."""
        if not self.log:
            return ticks(self.low, self.high)
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        few = (1.0, 2.0, 5.0) if len(decades) < 4 else (1.0,)
        all_of_them = [10.0**decade * step for decade in decades for step in few]
        return [value for value in all_of_them if self.low <= value <= self.high]

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.log else value


def ticks(low: float, high: float, wanted: int = 6) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten in low..high, about `wanted` of them.

    >>> ticks(0.0, 10.0)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """The points [m, 2] to draw for x [n], y [n]: all, or the least and greatest y of each bin.

    So no peak is lost, however long the line is. A bin without a number is one gap (NaN).
    """
    points = np.stack([x, y], axis=1)
    if len(points) <= MOST_POINTS:
        return points
    kept: list[int] = []
    for part in np.array_split(np.arange(len(points)), MOST_POINTS // 2):
        if np.isnan(y[part]).all():
            kept.append(int(part[0]))
            continue
        ends = {int(part[np.nanargmin(y[part])]), int(part[np.nanargmax(y[part])])}
        kept.extend(sorted(ends))
    return points[kept]


def lines(title: str, x_label: str, y_label: str, series: Series, *, log_y: bool = False) -> str:
    """SVG of lines over a common x; with `log_y`, values that are not above 0 are gaps."""
    drawn = {name: _points(*xy, log_y) for name, xy in series.items()}
    both = np.concatenate([np.zeros((0, 2)), *drawn.values()])
    x = _axis(both[:, 0], LEFT, WIDTH - RIGHT)
    y = _axis(both[:, 1], HEIGHT - BOTTOM, TOP, log_y)
    curves = [_curve(points, x, y, ink) for ink, points in enumerate(drawn.values())]
    return _svg(title, [_frame(x, y, x_label, y_label), *curves], list(drawn))


def histogram(
    title: str,
    x_label: str,
    y_label: str,
    edges: Sequence[float],
    series: Mapping[str, Sequence[float]],
) -> str:
    """SVG of counts [n] between edges [n + 1]; several series stand before each other."""
    x = Axis(float(edges[0]), float(edges[-1]), LEFT, WIDTH - RIGHT)
    y = _heights(series)
    bars = [
        _bar(x.at(low), x.at(high), y, value, ink, f"{_number(low)}..{_number(high)}")
        for ink, values in enumerate(series.values())
        for low, high, value in zip(edges, edges[1:], values, strict=False)
    ]
    return _svg(title, [_frame(x, y, x_label, y_label), *bars], list(series), "bar")


def bars(
    title: str, y_label: str, labels: Sequence[str], series: Mapping[str, Sequence[float]]
) -> str:
    """SVG of one group of bars for each label, one bar of each series in it."""
    room = (WIDTH - RIGHT - LEFT) / max(1, len(labels))
    wide = 0.8 * room / max(1, len(series))
    y = _heights(series)
    drawn: list[str] = []
    for ink, values in enumerate(series.values()):
        for place, value in enumerate(values):
            left = LEFT + room * (place + 0.1) + wide * ink
            drawn.append(_bar(left, left + wide, y, value, ink, labels[place]))
    for place, label in enumerate(labels):
        short = label if len(label) * 7 < room or len(label) < 5 else label[: int(room / 7)] + "…"
        drawn.append(_text(LEFT + room * (place + 0.5), HEIGHT - BOTTOM + 18, short, "middle"))
    frame = _frame(None, y, "", y_label)
    return _svg(title, [frame, *drawn], list(series), "bar")


def picture(
    title: str,
    image: bytes,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
) -> str:
    """SVG of a PNG that fills the plot, its corners at the ends of both ranges."""
    x = Axis(*x_range, LEFT, WIDTH - RIGHT)
    y = Axis(*y_range, HEIGHT - BOTTOM, TOP)
    data = base64.b64encode(image).decode("ascii")
    inside = (
        f'<image x="{LEFT}" y="{TOP}" width="{WIDTH - RIGHT - LEFT}" '
        f'height="{HEIGHT - BOTTOM - TOP}" preserveAspectRatio="none" '
        f'href="data:image/png;base64,{data}"/>'
    )
    return _svg(title, [inside, _frame(x, y, x_label, y_label, grid=False)])


def _points(x: ArrayLike, y: ArrayLike, log_y: bool) -> NDArray[np.float64]:
    xs, ys = np.array(x, np.float64).reshape(-1), np.array(y, np.float64).reshape(-1)
    if len(xs) != len(ys):
        raise ValueError(f"x has {len(xs)} values and y has {len(ys)}")
    drawable = np.isfinite(xs) & np.isfinite(ys) & ((ys > 0) | (not log_y))
    return thinned(xs, np.where(drawable, ys, np.nan))


def _axis(values: NDArray[np.float64], start: float, stop: float, log: bool = False) -> Axis:
    """One that holds all `values`, with some air around a single one."""
    known = values[np.isfinite(values)]
    if not len(known):
        known = np.array([0.1, 1.0])
    low, high = float(known.min()), float(known.max())
    if math.isclose(low, high, rel_tol=1e-9, abs_tol=1e-12):
        low, high = (low / 2, high * 2) if log else (low - 0.5, high + 0.5)
    return Axis(low, high, start, stop, log)


def _heights(series: Mapping[str, Sequence[float]]) -> Axis:
    values = [float(value) for many in series.values() for value in many if np.isfinite(value)]
    low, high = min(0.0, *values, 0.0), max(0.0, *values, 0.0)
    return Axis(low, high if high > low else low + 1.0, HEIGHT - BOTTOM, TOP)


def _curve(points: NDArray[np.float64], x: Axis, y: Axis, ink: int) -> str:
    path, pen = "", "M"
    dots: list[str] = []
    for one, two in points.tolist():
        if math.isnan(one) or math.isnan(two):
            pen = "M"
            continue
        path += f"{pen}{x.at(one):.1f} {y.at(two):.1f}"
        pen = "L"
        if len(points) <= LABELLED_POINTS:
            says = f"<title>{_number(one)}: {_number(two)}</title>"
            dots.append(
                f'<circle class="f{ink % INKS}" cx="{x.at(one):.1f}" cy="{y.at(two):.1f}" '
                f'r="2.5">{says}</circle>'
            )
    return f'<path class="curve s{ink % INKS}" d="{path}"/>' + "".join(dots)


def _bar(left: float, right: float, y: Axis, value: float, ink: int, what: str) -> str:
    if not np.isfinite(value):
        return ""
    top, foot = sorted((y.at(value), y.at(0.0)))
    return (
        f'<rect class="bar s{ink % INKS} f{ink % INKS}" x="{left:.1f}" y="{top:.1f}" '
        f'width="{max(0.5, right - left - 0.5):.1f}" height="{foot - top:.1f}">'
        f"<title>{escape(what)}: {_number(value)}</title></rect>"
    )


def _frame(x: Axis | None, y: Axis, x_label: str, y_label: str, grid: bool = True) -> str:
    right, foot = WIDTH - RIGHT, HEIGHT - BOTTOM
    drawn: list[str] = []
    for value in y.ticks():
        at = y.at(value)
        if grid:
            drawn.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{right}"/>')
        drawn.append(_text(LEFT - 6, at + 4, _number(value), "end"))
    for value in x.ticks() if x else []:
        at = x.at(value) if x else 0.0
        drawn.append(f'<path class="axis" d="M{at:.1f} {foot}v4"/>')
        drawn.append(_text(at, foot + 18, _number(value), "middle"))
    drawn.append(f'<path class="axis" d="M{LEFT} {TOP}V{foot}H{right}"/>')
    drawn.append(_text((LEFT + right) / 2, HEIGHT - 8, x_label, "middle"))
    middle = (TOP + foot) / 2
    drawn.append(
        f'<text text-anchor="middle" transform="translate(14 {middle}) rotate(-90)">'
        f"{escape(y_label)}</text>"
    )
    return "".join(drawn)


def _legend(names: list[str], kind: str) -> tuple[str, int]:
    """The names of the series, in rows from y = 0 down, and how high they are."""
    drawn: list[str] = []
    left, y = float(LEFT), ROW - 4
    for ink, name in enumerate(names):
        wide = LETTER * len(name) + 50
        if left + wide > WIDTH - RIGHT and left > LEFT:
            left, y = float(LEFT), y + ROW
        sample = (
            f'<path class="curve s{ink % INKS}" d="M{left:.0f} {y - 4}h26"/>'
            if kind == "curve"
            else f'<rect class="bar f{ink % INKS}" x="{left + 12:.0f}" y="{y - 9}" '
            'width="14" height="9"/>'
        )
        drawn.append(sample + _text(left + 32, y, name, "start", "name"))
        left += wide
    return "".join(drawn), y + 4


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<text{name} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _number(value: float) -> str:
    return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.3g}"


def _svg(title: str, parts: list[str], names: Sequence[str] = (), kind: str = "curve") -> str:
    """The whole; a legend stands above it where there is more than one name."""
    legend, above = _legend(list(names), kind) if len(names) > 1 else ("", 0)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + above}" role="img" aria-label="{escape(title)}">'
        f'{legend}<g transform="translate(0 {above})">{"".join(parts)}</g></svg>'
    )
