"""Writes the traces that both jitter buffers, Python's and JavaScript's, must follow.

A trace is JSON: `rate` (Hz), `settings` (where they differ from the defaults), `events`, `heard`.
An event `[position, samples]` is a packet that arrives; for stream position p its sample is

    |p mod 64 - 32| / 64 + (p div 64 mod 64) / 256 - 0.375

An event `[samples]` is a block that is read. `heard` has a row for each of these, in order:

    [sum of out[k] * (k + 1) / n, last sample, target_ms, delay_ms, speed,
     playing, underruns, skips, skipped]

of the report after it. All numbers agree within 1e-5.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from arrivals import Course, Event, play, stall

from clients.jitter import JitterBuffer, JitterSettings

FOLDER = Path(__file__).parent / "jitter"
BASE = Course(rate=8_000, packet=80, block=80, seconds=3.0)


def uneven(second: float) -> float:
    """Up to 24 ms, as if by chance."""
    return (second * 7919.0 % 1.0) ** 3 * 0.024


def gaps(events: Iterator[Event]) -> Iterator[Event]:
    """A packet lost, one doubled, and a far jump ahead."""
    ahead = 0
    for event in events:
        if len(event) == 1:
            yield event
            continue
        position, count = event
        if position == 80 * 40:
            continue
        if position == 80 * 200:
            ahead = 80_000
        yield position + ahead, count
        if position == 80 * 60:
            yield position, count


TRACES: dict[str, tuple[Course, JitterSettings]] = {
    "even": (BASE, JitterSettings()),
    "hops": (replace(BASE, packet=800), JitterSettings()),
    "uneven": (replace(BASE, delay=uneven), JitterSettings()),
    "stall": (replace(BASE, seconds=4.0, packet=160, delay=stall(1.5, 0.25)), JitterSettings()),
    "slow": (replace(BASE, seconds=6.0, ppm=300.0), JitterSettings()),
    "fast": (replace(BASE, seconds=6.0, ppm=-300.0), JitterSettings(pull=2.0)),
    "backlog": (replace(BASE, first=0.2), JitterSettings()),
    "asleep": (replace(BASE, pause=(1.0, 0.3)), JitterSettings(first_ms=40.0)),
    "moved": (replace(BASE, delay=lambda t: 0.15 if t > 1.2 else 0.0), JitterSettings()),
    "gaps": (BASE, JitterSettings(window_ms=1000.0)),
}


def trace(course: Course, settings: JitterSettings, name: str) -> dict[str, object]:
    """One trace, as JSON has it."""
    events = list(gaps(iter(course)) if name == "gaps" else course)
    heard: list[list[float]] = []
    for out, report in play(JitterBuffer(course.rate, settings), iter(events)):
        weights = np.arange(1, len(out) + 1) / len(out)
        values = (float(np.dot(out.astype(np.float64), weights)), float(out[-1]))
        heard.append([round(float(x), 6) for x in (*values, *vars(report).values())])
    changed = {k: v for k, v in vars(settings).items() if v != vars(JitterSettings())[k]}
    return {"rate": course.rate, "settings": changed, "events": events, "heard": heard}


def main() -> None:
    """Write every trace."""
    FOLDER.mkdir(exist_ok=True)
    for name, (course, settings) in TRACES.items():
        text = json.dumps(trace(course, settings, name), separators=(",", ":"))
        text = text.replace(']],"heard"', ']],\n"heard"').replace("],[", "],\n[")
        (FOLDER / f"{name}.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
