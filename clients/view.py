"""What `timbral mic` shows: levels, where the latency is, and the keys. Pure."""

import math
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from clients.desk import KEYS, KNOBS, Desk
from clients.mic import HERE, Scene, described
from clients.pressure import pressure
from clients.talk import Figures

WIDTH = 24  # of a level meter, characters
FLOOR_DB = -60.0
A_LINE, KNOBS_A_LINE = 6, 4  # keys and knobs
MUTE_HINT_S = 3.0  # of exact silence, after which a blocked microphone is likely


def picture(scene: Scene, now: float) -> RenderableType:
    """The whole view at `now`, in seconds of `time.monotonic`."""
    rows: list[RenderableType] = [_head(scene, now), _levels(scene.figures)]
    if scene.sound:
        rows.append(_pairs(described(scene.sound)))
    if scene.figures.ready:
        rows.append(_budget(scene))
    if busy := pressed(scene):
        rows.append(Text(busy, style="yellow"))
    rows += [_knobs(scene.desk), _keys(scene.desk)]
    note = hint(scene) or scene.desk.notice
    if note:
        rows.append(Text(note, style="yellow"))
    return Panel(Group(*rows), title=f"timbral, {escape(scene.where)}", width=78)


def line(scene: Scene, now: float) -> str:
    """The state at `now` as one line, for where there is no terminal."""
    figures = scene.figures
    if not figures.ready or not scene.sound:
        return f"{scene.state}{again(scene, now)}"
    total = sum(ms for _, ms, _ in budget(scene))
    busy = f". {pressed(scene)}" if pressed(scene) else ""
    return (
        f"{scene.state}: {figures.ready.voice} on {figures.ready.provider}, profile "
        f"{figures.ready.profile}, latency {total:.0f} ms, {counts(figures)}{busy}"
    )


def again(scene: Scene, now: float) -> str:
    """How long it is to the next attempt, as what follows the state; "" when none is due."""
    if scene.retry_at is None:
        return ""
    return f" Trying again in {max(1, math.ceil(scene.retry_at - now))} s."


def pressed(scene: Scene) -> str:
    """What is given up because the machine that converts is busy; "" for nothing."""
    figures = scene.figures
    if not figures.ready or not figures.stats:
        return ""
    who = "This machine" if scene.where == HERE else "The server"
    return pressure(figures.ready, figures.stats, who)


def budget(scene: Scene) -> list[tuple[str, float, str]]:
    """(stage, milliseconds, what it is) from the mouth to another program's ear."""
    figures, sound = scene.figures, scene.sound
    if not figures.ready or not sound or not figures.buffers:
        return []
    told = figures.stats or figures.ready
    converting = 1000.0 * told.latency_samples / figures.ready.sample_rate
    computing = figures.stats.compute_ms.p50 if figures.stats else 0.0
    queue = figures.stats.queue_ms if figures.stats else 0.0
    rest = max(0.0, figures.answer - converting - computing - queue)
    return [
        ("microphone", sound.input.latency_ms, "as its driver says"),
        ("conversion", converting, "hop, look-ahead and filters"),
        ("computing", computing, "a hop"),
        ("on the way", rest + queue, f"network and waiting; ping {figures.round_trip:.1f} ms"),
        ("jitter buffer", figures.buffers[0].report.delay_ms, _buffer(figures)),
        ("loudspeaker", sound.outputs[0].latency_ms, "as its driver says"),
    ]


def counts(figures: Figures) -> str:
    """What went wrong so far."""
    reports = [buffer.report for buffer in figures.buffers[:1]]
    parts = [f"underruns {sum(r.underruns for r in reports)}"]
    parts.append(f"skips {sum(r.skips for r in reports)}")
    if figures.stats:
        parts.append(f"late hops {figures.stats.deadline_misses}")
    if figures.dropped:
        parts.append(f"unsent {figures.dropped}")
    return ", ".join(parts)


def hint(scene: Scene) -> str:
    """What is likely wrong, and what to do; "" for nothing."""
    sound = scene.sound
    if sound and scene.figures.silent > MUTE_HINT_S * sound.rate:
        return (
            "The microphone gives exact silence: it is muted, or this terminal may not use it "
            "(macOS: System Settings, Privacy, Microphone)."
        )
    return ""


def meter(level: float, width: int = WIDTH) -> str:
    """A bar for a level, full scale 1, on a scale of -60 to 0 dB.

    >>> meter(1.0, 6), meter(0.0316, 6), meter(0.0, 6)
    ('######', '###   ', '      ')
    """
    db = 20.0 * math.log10(level) if level > 0.0 else FLOOR_DB
    part = min(1.0, max(0.0, 1.0 - db / FLOOR_DB))
    return ("#" * round(part * width)).ljust(width)


def _buffer(figures: Figures) -> str:
    report = figures.buffers[0].report
    return f"wants {report.target_ms:.0f} ms, speed {report.speed:.3f}"


def _head(scene: Scene, now: float) -> Text:
    desk, head = scene.desk, Text()
    head.append(
        " AWAY " if scene.away else " ON AIR ", "white on red" if scene.away else "white on green"
    )
    for on, word in (
        (desk.muted, "MUTED"),
        (desk.bypass and not scene.away, "BYPASS: your own voice is heard"),
        (desk.push_to_talk and not desk.open(now), "hold space to talk"),
        (scene.recording is not None, f"recording {scene.recording}"),
    ):
        if on:
            head.append(f" {word} ", "black on yellow")
    ready = scene.figures.ready
    if scene.away or not ready:
        head.append(f"  {scene.state}{again(scene, now)}")
    else:
        told = scene.figures.stats or ready
        head.append(f"  {ready.voice} on {ready.provider}, profile {told.profile}")
    return head


def _levels(figures: Figures) -> Table:
    rows = [("in", meter(figures.level_in)), ("out", meter(figures.level_out))]
    return _pairs([(name, f"|{bar}|") for name, bar in rows])


def _pairs(rows: Sequence[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(Text(name, style="dim"), Text(value))
    return table


def _budget(scene: Scene) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    stages = budget(scene)
    for name, ms, what in stages:
        table.add_row(Text(name, style="dim"), f"{ms:6.1f} ms", Text(what, style="dim"))
    total = sum(ms for _, ms, _ in stages)
    table.add_row("together", f"{total:6.1f} ms", Text(counts(scene.figures)))
    return table


def _knobs(desk: Desk) -> Text:
    text = Text()
    for number, knob in enumerate(KNOBS):
        value = f"{knob.name} {desk.controls[knob.name]:g}{knob.unit}"
        text.append(f" {value} ", "reverse" if number == desk.knob else "")
        if number % KNOBS_A_LINE == KNOBS_A_LINE - 1:
            text.append("\n")
    auto = "on" if desk.controls["auto_pitch"] else "off"
    text.append(f" auto pitch {auto} ")
    if desk.preset:
        text.append(f" preset {desk.preset} ", "bold")
    return text


def _keys(desk: Desk) -> Text:
    shown = [(key, what) for key, what in KEYS if what != "talk" or desk.push_to_talk]
    lines = [shown[at : at + A_LINE] for at in range(0, len(shown), A_LINE)]
    text = "\n".join("   ".join(f"{key} {what}" for key, what in keys) for keys in lines)
    return Text(text, style="dim")
