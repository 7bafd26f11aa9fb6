"""Plays all cases: `make fuzz`. Exit status 1 when a law broke.

What was found is written down with the command that plays it again.
"""

import argparse
import json
import os
import secrets
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import IO

from fuzz.engine import Score, play
from fuzz.pieces import pieces_of, run, target_of
from fuzz.targets import TARGETS

TOLD_S = 10.0  # between two lines of progress


def main() -> int:
    """The command."""
    given = _arguments()
    if given.case is not None:
        return _one(given.target, given.seed, given.case)
    chosen = [t for t in TARGETS if given.target in (None, t.name)]
    pieces = list(pieces_of(chosen, given.share))
    total, began = sum(piece.count for piece in pieces), time.monotonic()
    _say(f"{total} cases, seed {given.seed}, {given.workers} processes")
    scores = {target.name: Score(target.name) for target in chosen}
    told = 0.0
    given.out.parent.mkdir(parents=True, exist_ok=True)
    with given.out.open("w", encoding="utf-8") as out:
        for played, part in run(pieces, given.seed, given.workers, scores):
            lasted = time.monotonic() - began
            if lasted - told >= TOLD_S and part > 0.0:
                told, left = lasted, lasted * (1.0 - part) / part
                found = _write(scores, out)
                _say(f"{played} of {total}, {found} found, {lasted:.0f} s, about {left:.0f} s left")
        _write(scores, out)
    return _sum_up(scores, time.monotonic() - began, given.out)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz ARGS=...", description=__doc__)
    names = [target.name for target in TARGETS]
    parser.add_argument("--target", choices=names, help="only this one")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--case", type=int, help="only this one, with its trace; needs --target")
    parser.add_argument("--share", type=float, default=1.0, help="of all cases")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=Path("build/fuzz/found.jsonl"))
    given = parser.parse_args()
    if given.case is not None and given.target is None:
        parser.error("--case needs --target")
    return given


def _one(name: str, seed: int, number: int) -> int:
    with tempfile.TemporaryDirectory(prefix="timbral-fuzz-") as folder:
        score = play(target_of(name), seed, [number], Path(folder))
    for found in score.findings:
        _say(found.trace)
    _say(f"{name} {number}: {', '.join(score.became)}")
    return 1 if score.findings else 0


def _sum_up(scores: dict[str, Score], seconds: float, out: Path) -> int:
    found = [each for score in scores.values() for each in score.findings]
    _say(f"\n{'target':10}{'cases':>10}{'process s':>11}{'grew MiB':>10}{'found':>7}  became")
    for name, score in scores.items():
        became = ", ".join(f"{word} {count}" for word, count in _most(score.became))
        row = f"{score.played:>10}{score.seconds:>11.0f}{score.grown >> 20:>10}"
        _say(f"{name:10}{row}{len(score.findings):>7}  {became}")
    played = sum(score.played for score in scores.values())
    _say(f"{played} cases in {seconds:.0f} s, {len(found)} found")
    for error, count in Counter(each.error[:120] for each in found).most_common(20):
        first = next(each for each in found if each.error.startswith(error))
        _say(f"{count:>6}  {error}\n        {first.repeat}")
    if found:
        _say(f"all are in {out}")
    return 1 if found else 0


def _most(became: Counter[str]) -> list[tuple[str, int]]:
    return became.most_common(6)


def _write(scores: dict[str, Score], out: IO[str]) -> int:
    """Write down what was found, all anew; how much it is."""
    found = [each for score in scores.values() for each in score.findings]
    out.seek(0)
    out.truncate()
    out.writelines(f"{json.dumps({**asdict(each), 'repeat': each.repeat})}\n" for each in found)
    out.flush()
    return len(found)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
