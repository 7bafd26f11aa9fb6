"""The wall clock may jump at any time: nothing that lasts is measured by it."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
AREAS = ("stream", "server", "clients")
WALL = {
    *("time.time", "time.time_ns", "time.localtime", "time.gmtime", "time.ctime"),
    *("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
    *("datetime.datetime.now", "datetime.date.today"),
}
ALLOWED = {  # what a day or a moment in people's time is needed for
    ("server/auth.py", "utc_day"): "minutes a day, and tokens that expire",
    ("server/tokens.py", "make_token"): "the day on which it was made",
    ("server/figures.py", "__init__"): "when the process began, as Prometheus wants it",
    ("stream/importer/voices.py", "_workplace"): "the age of files",
    ("clients/mic.py", "_record"): "the name of a recording",
}


def asked(tree: ast.AST, function: str = "") -> Iterator[tuple[str, str]]:
    """Which functions ask the wall clock, and how."""
    for node in ast.iter_child_nodes(tree):
        name = function
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            name = node.name
        if isinstance(node, ast.Attribute) and ast.unparse(node) in WALL:
            yield name, ast.unparse(node)
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from ((name, f"time.{a.name}") for a in node.names if f"time.{a.name}" in WALL)
        yield from asked(node, name)


def test_the_wall_clock_is_asked_only_where_the_day_matters() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), function): how
        for area in AREAS
        for path in sorted((ROOT / area).rglob("*.py"))
        for function, how in asked(ast.parse(path.read_text("utf-8")))
    }
    assert set(found) == set(ALLOWED), "measure what lasts with time.monotonic or the loop's clock"


def test_a_wall_clock_would_be_found() -> None:
    wrong = "import time\ndef wait():\n    from time import time as t\n    return time.time() - 1"
    assert set(asked(ast.parse(wrong))) == {("wait", "time.time")}
    assert len(list(asked(ast.parse(wrong)))) == 2
