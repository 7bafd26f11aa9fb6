"""The arithmetic of docs/scaling.md: its tables are computed from those that it begins with.

    PYTHONPATH=tests python tests/test_scaling.py

writes them anew.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path

from server.cluster.board import AIM
from server.protocol import HEADER, AudioFrame

PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"
SIZES = (1, 1_000, 100_000)
MINUTES = 10.0  # of a stream, on average
NGINX_BUSY, ENTRANCE_BUSY = 0.6, 0.5
FRAME_S = 0.02
WEBSOCKET, TLS, PACKET, SEGMENT = 8, 22, 52, 1448  # bytes; the last is what a packet holds
HOURS_A_MONTH = 730
ENCODINGS = (("s16le", 2, 48_000), ("f32le", 4, 48_000), ("s16le", 2, 16_000), ("s16le", 2, 24_000))


def measured(page: str) -> dict[str, float]:
    """The figures and estimates that the page begins with, by name."""
    return {
        name: float(value) for name, value in re.findall(r"^\| ([\w-]+) \| ([\d.]+) \|", page, re.M)
    }


def line(width: int, rate: int) -> float:
    """Bytes a second and way of a stream of samples of `width` bytes."""
    payload = width * rate * FRAME_S + HEADER.size + WEBSOCKET + TLS
    return (payload + math.ceil(payload / SEGMENT) * PACKET) / FRAME_S


def said(value: float) -> str:
    """A number for people: three digits that count, none too many.

    >>> said(0.4371), said(23.81), said(238095.2)
    ('0.44', '24', '238 095')
    """
    if value < 1.0:
        return f"{value:.2f}".rstrip("0").rstrip(".") or "0"
    return (
        f"{value:.1f}"
        if value < 10.0 and value != round(value)
        else f"{round(value):,}".replace(",", " ")
    )


def streams_table(known: Mapping[str, float]) -> str:
    """What so many streams take."""
    n = known["streams"]

    def machines(bears: float, count: int) -> str:
        return said(math.ceil(count / (AIM * bears)))

    def many(cores: int) -> float:
        return n * (1.0 + (cores / 2 - 1) * known["e-scale"])

    def servers(count: int) -> int:
        return math.ceil(count / (AIM * n))

    starts = {count: count / (60.0 * MINUTES) for count in SIZES}
    rows = {
        "machines of 2 cores": [machines(n, s) for s in SIZES],
        "machines of 16 cores (estimate)": [machines(many(16), s) for s in SIZES],
        "machines of 64 cores (estimate)": [machines(many(64), s) for s in SIZES],
        "L40S or RTX 4090, full-size voices (estimate)": [
            machines(known["e-gpu"], s) for s in SIZES
        ],
        "H100, full-size voices (estimate)": [machines(known["e-gpu-big"], s) for s in SIZES],
        "memory of all servers of 2 cores, GB": [
            said((servers(s) * known["base"] + s * known["memory"]) / 1000.0) for s in SIZES
        ],
        "cores for nginx with TLS": [said(s * known["nginx"] / 1000.0 / NGINX_BUSY) for s in SIZES],
        "memory of nginx, GB": [said(s * known["nginx-memory"] / 1000.0) for s in SIZES],
        "files open in nginx": [said(2 * s) for s in SIZES],
        "Gbit/s each way, 48 kHz `s16le`": [said(8e-9 * s * line(2, 48_000)) for s in SIZES],
        "Gbit/s each way, 16 kHz `s16le`": [said(8e-9 * s * line(2, 16_000)) for s in SIZES],
        "TB out in a month, 48 kHz `s16le`": [
            said(1e-12 * s * line(2, 48_000) * 3600 * HOURS_A_MONTH) for s in SIZES
        ],
        "placements a second": [said(starts[s]) for s in SIZES],
        "cells, by what half of an entrance's time answers": [
            said(math.ceil(starts[s] / (ENTRANCE_BUSY * known["placements"]))) for s in SIZES
        ],
        "cores that Ray Serve would take to pass the audio": [
            said(s * known["ray"] / 1000.0) for s in SIZES
        ],
    }
    head = f"| streams at once | {' | '.join(map(said, SIZES))} |\n|---|{'--:|' * len(SIZES)}\n"
    return head + "".join(f"| {name} | {' | '.join(cells)} |\n" for name, cells in rows.items())


def bandwidth_table() -> str:
    """What a stream takes of the line."""
    head = "| samples | bytes a second | kbit/s | GB an hour |\n|---|--:|--:|--:|\n"
    return head + "".join(
        f"| `{name}`, {rate // 1000} kHz | {said(line(width, rate))} "
        f"| {said(8e-3 * line(width, rate))} | {said(3.6e-6 * line(width, rate))} |\n"
        for name, width, rate in ENCODINGS
    )


def written(page: str) -> str:
    """The page with its tables computed."""
    tables = {"streams": streams_table(measured(page)), "bandwidth": bandwidth_table()}
    for name, table in tables.items():
        page, count = re.subn(
            rf"(<!-- computed: {name} -->\n).*?(<!-- end -->)",
            rf"\g<1>\n{table}\n\g<2>",
            page,
            flags=re.S,
        )
        assert count == 1, f"the page has no place for {name}"
    return page


def test_the_tables_of_scaling_are_computed_from_what_was_measured() -> None:
    page = PAGE.read_text("utf-8")
    assert written(page) == page, "run `make docs`"


def test_more_streams_measured_make_fewer_machines() -> None:
    known = measured(PAGE.read_text("utf-8"))
    assert {"streams", "base", "memory", "nginx", "ray", "e-gpu"} <= known.keys()
    tables = (streams_table({**known, "streams": n}) for n in (6.0, 12.0))
    rows = [table.splitlines()[2].split("|") for table in tables]
    assert [row[1].strip() for row in rows] == ["machines of 2 cores"] * 2
    assert [[int(cell.replace(" ", "")) for cell in row[2:5]] for row in rows] == [
        [1, 239, 23_810],
        [1, 120, 11_905],
    ]


def test_a_line_carries_what_frames_are_made_of() -> None:
    frame = AudioFrame(0, 0, bytes(1920)).pack()
    packets = 2
    assert line(2, 48_000) == 50 * (len(frame) + WEBSOCKET + TLS + packets * PACKET)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
