"""`card.md`: what a trained voice is made of, how, and what it is worth, for people."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from offline.judge.scores import Scores, table
from offline.train.index import Made
from offline.train.parity import Parity

BARS: Final = "▁▂▃▄▅▆▇█"
LISTED: Final = 40  # recordings that are named one by one


@dataclass(frozen=True, kw_only=True)
class Story:
    """All that the card tells.

    facts    of the data: `Dataset.facts()`
    history  what was judged, by step; installed: the finished voice itself, heard live
    recipe   hash of all settings
    missing  judges that were not there
    """

    name: str
    family: str
    step: int
    sample_rate: int
    encoder: str
    consent: str
    licence: str
    facts: Mapping[str, Any]
    history: Mapping[int, Scores]
    installed: Scores | None
    parity: Parity
    index: Made
    recipe: str
    f0_hz: tuple[float, float, float]
    missing: Sequence[str] = ()


def write_story(story: Story) -> str:
    """The card as Markdown."""
    return "\n".join([*_head(story), *_data(story), *_worth(story), *_how(story)]) + "\n"


def curve(values: Sequence[float]) -> str:
    """Values as bars, the highest at the highest.

    >>> curve([3.0, 2.0, 1.0]), curve([1.0]), curve([])
    ('█▅▁', '▁', '')
    """
    if not values:
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1))] for value in values)


def _head(story: Story) -> list[str]:
    low, median, high = story.f0_hz
    return [
        f"# {story.name}",
        "",
        f"A voice trained with timbral: family {story.family}, {story.sample_rate} Hz, hears with "
        f"{story.encoder}. It speaks at {median:.0f} Hz ({low:.0f} to {high:.0f}).",
        "",
        f"- Licence: {_cell(story.licence)}",
        f"- Consent: {_cell(story.consent)}",
        "",
    ]


def _data(story: Story) -> list[str]:
    facts = story.facts
    recordings: Sequence[Mapping[str, Any]] = facts.get("recordings", ())
    lines = [
        "## Data",
        "",
        f"{facts.get('training_minutes', 0.0):.1f} minutes of {len(recordings)} recordings to "
        f"train on, {facts.get('held_out_minutes', 0.0):.1f} minutes held out to judge by; "
        f"{_count(len(facts.get('speakers', ())), 'speaker')}.",
        "",
    ]
    lines += [
        f"- {_cell(one.get('file', '?'))} (sha256 {str(one.get('sha256', '?'))[:16]})"
        for one in recordings[:LISTED]
    ]
    if len(recordings) > LISTED:
        lines.append(f"- and {len(recordings) - LISTED} more")
    refused: Sequence[Mapping[str, str]] = facts.get("refused", ())
    lines += [
        f"- left out: {_cell(one['file'])}: {_cell(_homeless(one['why']))}" for one in refused
    ]
    lines += [f"- {_cell(remark)}" for remark in facts.get("remarks", ())]
    return [*lines, ""]


def _worth(story: Story) -> list[str]:
    named = {f"step {step}": scores for step, scores in sorted(story.history.items())}
    if story.installed is not None:
        named["as installed, live"] = story.installed
    lines = ["## What it is worth", ""]
    if named:
        chosen = story.history.get(story.step)
        lines += [(story.installed or chosen or next(iter(named.values()))).words, ""]
        head, rows = table(named)
        lines += [_row(head), _row(["---"] * len(head)), *map(_row, rows), ""]
    else:
        lines += ["Nothing was held out to judge by.", ""]
    if len(story.history) > 1:
        values = [scores.value for _, scores in sorted(story.history.items())]
        lines += [
            f"Learning curve, all errors in one figure, {values[0]:.2f} to {values[-1]:.2f}: "
            f"`{curve(values)}`",
            "",
        ]
    return lines + [f"- {_cell(text)}" for text in story.missing] + [""] * bool(story.missing)


def _how(story: Story) -> list[str]:
    return [
        "## How it was made",
        "",
        f"- Step {story.step} of the recipe {story.recipe}, data {story.facts.get('key', '?')}",
        f"- {story.parity.told}.",
        f"- Retrieval: {story.index.told}.",
    ]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(text: object) -> str:
    """On one line, without what Markdown or HTML would take for its own."""
    shown = "".join(c if c.isprintable() else " " for c in str(text))
    shown = re.sub(r"([\\|`*_\[\]])", r"\\\1", shown)
    return shown.replace("<", "&lt;").replace(">", "&gt;")


def _homeless(text: str) -> str:
    """Without the folders of this machine, which are nobody's business.

    >>> _homeless("/home/ada/a.wav holds nothing")
    'a.wav holds nothing'
    """
    return re.sub(r"([A-Za-z]:)?[\\/]([^\\/\s]+[\\/])+", "", text)


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
