"""`PROTOCOL.md` tells what the classes are."""

import re
from pathlib import Path
from typing import get_args

from calls import FakeVoices
from pydantic import BaseModel

from offline.cover.settings import Formats
from offline.jobs.job import Job, State
from offline.jobs.runner import KEEP_SECONDS, MOST_KEPT
from server.app import PAGES, Server
from server.config import Limits, ServerConfig
from server.inbox import MOST_PARTS
from server.jobs import ALIVE_S, MOST_LISTENERS
from server.protocol import (
    HEADER,
    MAX_AUDIO,
    MAX_TEXT,
    SUBPROTOCOL,
    ClientMessage,
    ControlsNow,
    ControlValues,
    ErrorCode,
    Flag,
    Percentiles,
    ServerMessage,
    SetControls,
)

PAGE = (Path(__file__).parents[2] / "server" / "PROTOCOL.md").read_text("utf-8")


def section(title: str) -> str:
    """The page's text under a heading."""
    return re.split(r"\n##+ ", PAGE.split(f"# {title}\n", 1)[1])[0]


def rows(title: str) -> list[list[str]]:
    """The cells of the tables under a heading, without their heads."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rules = [k for k, row in enumerate(cells) if set(row[0]) == {"-"}]
    return [row for k, row in enumerate(cells) if k not in rules and k + 1 not in rules]


def fields(title: str) -> dict[str, list[str]]:
    """Message -> its fields, as the table says."""
    told: dict[str, list[str]] = {}
    message = ""
    for row in rows(title):
        message = row[0].strip("`") or message
        told.setdefault(message, [])
        if row[1]:
            told[message].append(row[1].strip("`"))
    return told


def classes(messages: object) -> dict[str, list[str]]:
    """Message -> its fields, as the classes say."""
    found: dict[str, list[str]] = {}
    for message in get_args(messages):
        assert issubclass(message, BaseModel)
        names = [name for name in message.model_fields if name != "type"]
        found[message.model_fields["type"].default] = names
    return found


def test_every_message_and_field_is_told() -> None:
    client, server = classes(ClientMessage), classes(ServerMessage)
    client["controls"] = ["any of the controls below"]
    server["controls"] = ["every control"]
    assert fields("Client to server") == client
    assert fields("Server to client") == server


def test_every_control_is_told_with_its_range() -> None:
    told = {row[0].strip("`"): row[2] for row in rows("Controls")}
    assert list(told) == list(ControlValues.model_fields)
    assert list(ControlsNow.model_fields)[1:] == list(told)
    assert set(SetControls.model_fields) == {*told, "type"}
    for name, field in ControlValues.model_fields.items():
        limits = {type(m).__name__: m for m in field.metadata}
        low = f"{limits['Ge'].ge:g}" if "Ge" in limits else ""
        high = f"{limits['Le'].le:g}" if "Le" in limits else ""
        assert told[name] == (f"{low}..{high}" if low else "")


def test_defaults_of_start_are_told() -> None:
    (start,) = (m for m in get_args(ClientMessage) if m.__name__ == "Start")
    told = {row[1].strip("`"): row[3].strip("`") for row in rows("Client to server")[:8]}
    for name, field in start.model_fields.items():
        if name not in {"type", "controls"}:
            default = "" if field.is_required() else str(field.default)
            assert told[name] == default.replace("None", "null")


def test_choices_are_told() -> None:
    told = {row[1].strip("`"): row[2] for row in rows("Client to server")[:8]}
    (start,) = (m for m in get_args(ClientMessage) if m.__name__ == "Start")
    for name in ("sample_rate", "encoding", "profile"):
        choices = list(map(str, get_args(start.model_fields[name].annotation)))
        assert re.findall(r"\w+", told[name].replace(" or ", " ")) == choices


def test_every_error_code_is_told() -> None:
    assert [row[0].strip("`") for row in rows("Error codes")] == list(get_args(ErrorCode))


def test_every_flag_is_told_with_its_bit() -> None:
    told = {row[0].strip("`"): 1 << int(row[1]) for row in rows("Audio frames")[6:]}
    assert told == {str(flag.name): flag.value for flag in Flag}


def test_the_header_is_told() -> None:
    sizes = {"u8": 1, "u16": 2, "u32": 4, "u64": 8}
    offset = 0
    for row in rows("Audio frames")[:5]:
        assert int(row[0]) == offset
        offset += sizes[row[2]]
    assert offset == HEADER.size


def test_figures_are_those_of_the_code() -> None:
    limits = Limits()
    for figure in (
        f"subprotocol `{SUBPROTOCOL}`",
        f"`start`, within {limits.start_s:g} s",
        f"More than {limits.faults_per_minute} in a minute",
        f"leaves its stream waiting for {limits.resume_s:g} s",
        f"jumps ahead by up to {limits.short_gap_s:g} s",
        f"takes in at most {limits.inbox_s:g} s",
        f"waits {limits.max_late_s:g} s longer",
        f"At most {limits.outbox_s:g} s of answers",
        f"nothing at all for {limits.blocked_s:g} s is `too_slow`",
        f"nothing at all for {limits.idle_s:g} s",
        f"At most {limits.upload_bytes >> 30} GiB, one upload at a time",
        f"without a byte for {limits.upload_pause_s:g} s",
        f"at most {limits.convert_bytes >> 20} MiB, and answers",
        f"converted in {limits.convert_s:g} s",
        f"the file `song`, at most {limits.song_bytes >> 20} MiB",
        f"The last {MOST_KEPT} that are over are kept, for a week",
        f"a comment comes every {ALIVE_S:g} s",
        f"may listen to {MOST_LISTENERS} at once",
        f"slower than {limits.upload_bytes_per_s} bytes a second",
        f"A form has {MOST_PARTS} parts at most",
        f"at most {MAX_TEXT // 1024} KiB, a binary frame {MAX_AUDIO // 1024} KiB",
    ):
        assert figure in " ".join(PAGE.split()), figure
    assert limits.failed_hops == 3
    assert KEEP_SECONDS == 7 * 24 * 3600
    assert tuple(Percentiles.model_fields) == ("p50", "p95", "p99")


def test_everything_that_a_job_tells_is_told() -> None:
    job = Job("1", "ada", "song", "waiting", Path("a"), Path("b"), {}, 0.0)
    table = rows("Jobs")
    told = {row[0].strip("`"): row[1] for row in table if len(row) == 3}
    assert list(told) == list(job.told())
    assert re.findall(r"`(\w+)`", told["state"]) == list(get_args(State))
    assert set(get_args(Formats)) <= set(re.findall(r"`(\w+)`", section("Jobs")))


def test_every_path_is_told() -> None:
    server = Server(ServerConfig(), FakeVoices)
    app = server._runner.app  # pyright: ignore[reportPrivateUsage]
    served = {resource.canonical for resource in app.router.resources()}
    told = {row[0].strip("`") for row in rows("Who may connect")}
    assert told | {"/v1/stream", *PAGES} == served
