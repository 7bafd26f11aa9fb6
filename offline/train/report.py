"""The report of a training run: one HTML file with its curves, and what they mean in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from offline.judge.scores import Scores, best, table
from offline.page import Page, Player
from offline.train.exam import PREVIEWS, read_history
from offline.train.journal import events
from offline.train.loop import Outcome
from offline.train.plan import DATA, REPORT, Plan, read_plan
from stream.files import SoundFile

LABELS: Mapping[str, tuple[str, str]] = {
    "nll": ("Prior", "negative log-likelihood of the voice's spectra; lower is better"),
    "mel": ("Spectra", "distance of log-mel bands of what was said; lower is better"),
    "kl": ("Divergence", "between what is heard and what is said; lower is better"),
    "critics": ("Critics", "their own loss; it should neither vanish nor grow"),
    "score": ("Deceit", "how well the critics tell what was made; lower is better"),
    "features": ("Features", "distance inside the critics; lower is better"),
}
REFRESH_S = 20
SMOOTH = 20
"""Reports over which a curve is averaged for the eye."""


def write_report(folder: Path, outcome: Outcome | None = None) -> Path:
    """Write `report.html` into the run's folder, live while there is no outcome; its path."""
    plan, told, history = read_plan(folder), events(folder), read_history(folder)
    page = Page(f"Training of {plan.name}", refresh_s=0 if outcome else REFRESH_S)
    for text, mood in verdict(plan, told, history, outcome):
        page.advice(text, mood)
    if history:
        page.section("On held-out speech")
        head, rows = table({f"step {step}": scores for step, scores in history.items()})
        page.table(head, rows)
        _examinations(page, history)
        _previews(page, folder, sorted(history))
    page.section("Learning")
    steps = [event for event in told if event["kind"] == "step"]
    for name in dict.fromkeys(key for event in steps for key in event):
        if name in LABELS:
            _curve(page, name, [event for event in steps if name in event])
    page.section("What it was made of")
    page.table(("", ""), _made_of(plan, folder, steps))
    return page.write(folder / REPORT)


def verdict(
    plan: Plan,
    told: Sequence[Mapping[str, Any]],
    history: Mapping[int, Scores],
    outcome: Outcome | None,
) -> list[tuple[str, Any]]:
    """How it stands, in sentences, each with its mood."""
    last = max((int(event["step"]) for event in told), default=0)
    said: list[tuple[str, Any]] = []
    if outcome is None:
        said.append((f"The training goes on; step {last} is done.", "good"))
    elif outcome.end == "done":
        said.append((f"The training is done: {outcome.step} steps.", "good"))
    elif outcome.end == "no gain":
        said.append((f"Stopped at step {outcome.step}: {_no_gain(plan, history)}", "good"))
    else:
        said.append(
            (f"Interrupted at step {outcome.step}; go on with: timbral train --name {plan.name} "
             "--resume", "warn")
        )  # fmt: skip
    if history:
        chosen = best(history)
        said.append((f"The best is step {chosen}. {history[chosen].words}", "good"))
        if chosen == max(history) and len(history) > 2 and outcome and outcome.end == "done":
            said.append(("It was still getting better at the end: train longer.", "warn"))
    return said


def _no_gain(plan: Plan, history: Mapping[int, Scores]) -> str:
    chosen = best(history)
    return (
        f"held-out speech was not said better than at step {chosen} in the "
        f"{sum(step > chosen for step in history)} examinations after it "
        f"(patience {plan.training.patience}). More would be learning by heart."
    )


def _curve(page: Page, name: str, steps: Sequence[Mapping[str, Any]]) -> None:
    x = np.array([event["step"] for event in steps], np.float64)
    y = np.array([event[name] for event in steps], np.float64)
    title, note = LABELS[name]
    lines = {"each": (x, y)}
    if len(y) > SMOOTH:
        smooth = np.convolve(y, np.full(SMOOTH, 1 / SMOOTH), "valid")
        lines[f"mean of {SMOOTH}"] = (x[SMOOTH - 1 :], smooth)
    page.lines(f"{title}: {note}", "step", name, lines)


def _examinations(page: Page, history: Mapping[int, Scores]) -> None:
    steps = sorted(history)
    if len(steps) < 2:
        return
    x = np.array(steps, np.float64)
    for name, label in (("mel_db", "mel distance, dB"), ("similarity", "like the voice")):
        y = [history[step].told.get(name) for step in steps]
        if all(value is not None for value in y):
            page.lines(label, "step", label, {"held-out": (x, np.array(y, np.float64))})


def _previews(page: Page, folder: Path, steps: Sequence[int]) -> None:
    """What was said in the first, the middle and the last examination, beside the original."""
    shown = sorted({steps[0], steps[len(steps) // 2], steps[-1]})
    rows: list[list[str | Player]] = []
    for original in sorted((folder / PREVIEWS).glob("*-original.wav")):
        number = original.name.split("-")[0]
        paths = [folder / PREVIEWS / f"{number}-step-{step:08d}.wav" for step in shown]
        if all(path.is_file() for path in paths):
            rows.append([f"clip {number}", *(_player(path) for path in (original, *paths))])
    if rows:
        page.table(["", "original", *(f"step {step}" for step in shown)], rows)


def _player(path: Path) -> Player:
    file = SoundFile(path)
    return Player(file.read(), file.rate)


def _made_of(plan: Plan, folder: Path, steps: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    settings = plan.training
    rows = [("family", settings.family), ("rate", f"{settings.sample_rate} Hz")]
    data = folder / DATA
    if data.is_file():
        held = json.loads(data.read_text("utf-8"))
        rows += [
            ("speakers", ", ".join(held["speakers"])),
            ("minutes to learn from", str(held["training_minutes"])),
            ("minutes held out", str(held["held_out_minutes"])),
        ]
    rows += [(name, str(value)) for name, value in settings.model_dump().items()]
    if steps:
        rows.append(("seconds trained", f"{steps[-1]['seconds']:.0f}"))
    return [*rows, ("consent", plan.consent), ("licence", plan.licence)]
