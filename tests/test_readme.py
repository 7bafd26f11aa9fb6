"""What the README says is so. Run as a program, this writes docs/command.md anew: `make docs`."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from tiny_server import mirror, running
from typer.main import get_command
from typer.testing import CliRunner

from timbral import app

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = ROOT / "docs" / "command.md"
AREAS = ("stream", "server", "offline", "clients", "tests")
DOCUMENTS = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/*.md"),
    *(path for area in AREAS for path in ROOT.glob(f"{area}/**/*.md")),
]
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
TREE: Any = get_command(app)


def help_text(verb: str) -> str:
    run = CliRunner().invoke(
        app, [*verb.split(), "--help"], prog_name="timbral", env={"COLUMNS": "80"}
    )
    assert run.exit_code == 0, run.output
    return run.output


def code(text: str) -> str:
    """The text between fences and in backticks: where commands are."""
    fenced = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return "\n".join([*fenced, *inline])


def commands(text: str) -> list[list[str]]:
    """Every call of `timbral`, without its name, comments and placeholders."""
    lines = re.findall(r"^(?:\$ )?(?:\S*/)?timbral (.+)$", code(text), re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def check(words: list[str]) -> None:
    """Raise unless `words` call a verb that there is, with options that it has."""
    command, words = TREE, list(words)
    while words and hasattr(command, "commands"):
        if words[0] == "--help":
            return
        if words[0] not in command.commands and hasattr(command, "default"):
            words.insert(0, command.default)
        assert words[0] in command.commands, f"no verb {words[0]}"
        command = command.commands[words.pop(0)]
    options = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    for word in words:
        assert not word.startswith("--") or word in {*options, "--help"}, f"no option {word}"


@pytest.mark.parametrize("words", ["sing a.wav", "send a b --loud", "voices sing", "serve --x"])
def test_a_command_that_there_is_not_would_be_found(words: str) -> None:
    with pytest.raises(AssertionError):
        check(words.split())


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_the_documents_exist_with_their_options(path: Path) -> None:
    for words in commands(path.read_text("utf-8")):
        check(words)


def verbs(command: Any = TREE, path: str = "") -> dict[str, Any]:
    """The command itself, every verb, and the verbs of verbs, each by its words."""
    found = {path: command}
    for name, inner in getattr(command, "commands", {}).items():
        found |= verbs(inner, f"{path} {name}".strip())
    return found


def pages() -> str:
    """The help of everything, as a document."""
    begin = "# The command\n\nWritten by `make docs` from the command itself.\n"
    shown = [(" ".join(["timbral", *verb.split(), "--help"]), help_text(verb)) for verb in verbs()]
    return begin + "".join(f"\n```console\n$ {call}\n{text}```\n" for call, text in shown)


def test_the_verbs_that_people_talk_with_are_in_the_readme() -> None:
    shown = {words[0] for words in commands(README.read_text("utf-8"))}
    assert set(TREE.commands) - shown <= {"version"}


def test_the_pages_of_the_command_are_its_help() -> None:
    assert PAGES.read_text("utf-8") == pages(), "run `make docs`"


def test_examples_in_the_help_exist_with_their_options() -> None:
    for verb, command in verbs().items():
        if hasattr(command, "commands") or verb == "version":
            continue
        examples = re.findall(r"^ +timbral (.+)$", help_text(verb), re.MULTILINE)
        assert examples, f"{verb} shows no example"
        for example in examples:
            check(shlex.split(example))


@pytest.mark.parametrize("number", range(len(PYTHON.findall(README.read_text("utf-8")))))
def test_python_in_the_readme_runs(number: int) -> None:
    text = PYTHON.findall(README.read_text("utf-8"))[number]
    with running(mirror()) as url:
        text = text.replace("ws://127.0.0.1:8765", url)
        exec(compile(text, "README.md", "exec"), {})


def test_make_targets_in_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for path in DOCUMENTS:
        asked = set(re.findall(r"^(?:\$ )?make ([a-z]+)", code(path.read_text("utf-8")), re.M))
        assert asked <= targets, path


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in LINK.findall(path.read_text("utf-8")):
        assert (path.parent / target).exists(), f"{path.name} links to {target}"


if __name__ == "__main__":
    PAGES.write_text(pages(), "utf-8")
