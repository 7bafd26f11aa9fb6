"""Covers asked for over HTTP: whose they are, how they go on, and what comes of them."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import labour
import pytest
from dial import serving

from offline.jobs.local import LocalExecutor
from offline.jobs.runner import Runner
from server.app import Server
from server.config import Limits, ServerConfig
from server.tokens import Token, add_token, digest

MOST_SECONDS = 60.0
Answer = tuple[int, str]


def open_jobs(config: ServerConfig) -> Runner:
    """Jobs whose work is a word; a server has them where covers would be."""
    assert config.home
    executor = LocalExecutor(labour.labour, places=2)
    return Runner(config.home, work=labour.labour, executor=executor)


@asynccontextmanager
async def desk(home: Path, **settings: Any) -> AsyncGenerator[Server]:
    async with serving(open_jobs=open_jobs, home=home, **settings) as server:
        yield server


def form(words: str = "quick", settings: Any = None, name: str = "song.txt") -> aiohttp.FormData:
    data = aiohttp.FormData()
    data.add_field("song", words.encode(), filename=name, content_type="application/x")
    if settings is not None:
        text = settings if isinstance(settings, str) else json.dumps(settings)
        data.add_field("settings", text)
    return data


async def ask(method: str, url: str, data: Any = None, token: str = "") -> Answer:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.request(method, url, data=data) as answer,
    ):
        return answer.status, await answer.text()


async def post(server: Server, data: Any, token: str = "") -> Answer:
    return await ask("POST", f"{server.url}/v1/jobs", data, token)


async def job(server: Server, identity: str, until: str = "done") -> dict[str, Any]:
    """The job, when it is as expected."""
    end = time.monotonic() + MOST_SECONDS
    while True:
        status, text = await ask("GET", f"{server.url}/v1/jobs/{identity}")
        assert status == 200
        told = json.loads(text)
        if told["state"] == until:
            return told
        assert time.monotonic() < end, told
        await asyncio.sleep(0.05)


def test_a_song_goes_in_and_its_cover_comes_out(tmp_path: Path) -> None:
    async def main() -> None:
        async with desk(tmp_path) as server:
            status, text = await post(server, form(settings={"key": 2, "format": "mp3"}))
            assert status == 201
            made = json.loads(text)
            assert (made["name"], made["owner"]) == ("song.txt", "(local)")
            url = f"{server.url}/v1/jobs/{made['id']}"
            told = await job(server, made["id"])
            assert told["settings"] == {"key": 2, "format": "mp3"}
            assert told["steps"] == {"read": [1, 1], "work": [1, 1]}
            assert json.loads((await ask("GET", f"{server.url}/v1/jobs"))[1])["jobs"] == [told]
            async with aiohttp.ClientSession() as http, http.get(url + "/result") as answer:
                assert (answer.content_type, await answer.text()) == ("audio/mpeg", "quick")
            assert (await ask("DELETE", url))[0] == 204
            assert (await ask("GET", url))[0] == 404
            assert (await ask("DELETE", url))[0] == 404

    asyncio.run(main())
    assert list((tmp_path / "voices").iterdir()) == []
    assert {path.name.split(".")[0] for path in (tmp_path / "jobs").iterdir()} == {"claim", "jobs"}


def test_events_tell_of_a_job_until_it_is_over(tmp_path: Path) -> None:
    async def main() -> list[dict[str, Any]]:
        async with desk(tmp_path) as server, aiohttp.ClientSession() as http:
            identity = json.loads((await post(server, form("wait")))[1])["id"]
            events: list[dict[str, Any]] = []
            async with http.get(f"{server.url}/v1/jobs/{identity}/events") as answer:
                assert answer.content_type == "text/event-stream"
                async for line in answer.content:
                    if line.startswith(b"data: "):
                        events.append(json.loads(line[6:]))
                        if events[-1]["steps"].get("work") == [1, 2]:
                            (tmp_path / "go").touch()
            return events

    events = asyncio.run(main())
    states = [event["state"] for event in events]
    assert states[-1] == "done"
    assert "running" in states
    assert all(a != b for a, b in pairwise(events))


def test_a_job_is_cancelled_and_its_song_goes(tmp_path: Path) -> None:
    async def main() -> None:
        async with desk(tmp_path) as server:
            identity = json.loads((await post(server, form("wait")))[1])["id"]
            await job(server, identity, "running")
            url = f"{server.url}/v1/jobs/{identity}"
            assert (await ask("DELETE", url))[0] == 202
            await job(server, identity, "cancelled")
            assert (await ask("GET", url + "/result"))[0] == 409
            assert list((tmp_path / "jobs" / identity).iterdir()) == []

    asyncio.run(main())


def test_a_job_goes_on_after_the_server_was_away(tmp_path: Path) -> None:
    async def main() -> None:
        async with desk(tmp_path) as server:
            identity = json.loads((await post(server, form("wait")))[1])["id"]
            await job(server, identity, "running")
        (tmp_path / "go").touch()
        async with desk(tmp_path) as server:
            assert (await job(server, identity))["seconds"] == 60.0

    asyncio.run(main())


def tokens(home: Path) -> Path:
    """Of ada, ben, who may speak as ben only and has 1 min, eve, who has no jobs, and a boss."""
    path = home / "tokens.json"
    few: dict[str, dict[str, Any]] = {
        "ada": {"max_jobs": 1},
        "ben": {"voices": ("ben",), "minutes_per_day": 1.0},
        "eve": {"max_jobs": 0},
        "boss": {"operator": True},
    }
    for name, rights in few.items():
        made = date(2026, 1, 1)
        add_token(path, Token(name=name, sha256=digest(f"{name}-secret"), made=made, **rights))
    return path


def test_a_job_is_there_for_its_owner_and_for_operators_only(tmp_path: Path) -> None:
    async def main() -> None:
        async with desk(tmp_path, tokens=tokens(tmp_path)) as server:
            url = f"{server.url}/v1/jobs"
            assert (await ask("GET", url))[0] == 401
            made = json.loads((await post(server, form("wait"), "ada-secret"))[1])
            for path in ("", "/events", "/result"):
                status, text = await ask("GET", f"{url}/{made['id']}{path}", token="ben-secret")
                assert (status, made["id"] in text) == (404, True)
                unknown = await ask("GET", f"{url}/0123{path}", token="ben-secret")
                assert unknown == (404, text.replace(made["id"], "0123"))
            assert (await ask("DELETE", f"{url}/{made['id']}", token="ben-secret"))[0] == 404
            assert json.loads((await ask("GET", url, token="ben-secret"))[1]) == {"jobs": []}
            all_jobs = json.loads((await ask("GET", url, token="boss-secret"))[1])["jobs"]
            assert [each["owner"] for each in all_jobs] == ["ada"]
            assert (await ask("DELETE", f"{url}/{made['id']}", token="boss-secret"))[0] == 202

    asyncio.run(main())


def test_a_token_has_so_many_jobs_and_minutes_and_its_own_voices(tmp_path: Path) -> None:
    async def main() -> None:
        async with desk(tmp_path, tokens=tokens(tmp_path)) as server:
            assert (await post(server, form(), "eve-secret"))[0] == 403
            assert (await post(server, form("wait"), "ada-secret"))[0] == 201
            assert (await post(server, form(), "ada-secret"))[0] == 429
            assert (await post(server, form(), "ben-secret"))[0] == 404  # not for `starter`
            status, text = await post(server, form(), "boss-secret")
            assert status == 201
            assert json.loads(text)["owner"] == "boss"

    asyncio.run(main())


def test_what_was_made_counts_as_minutes_of_the_token(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "tokens.json"
        made = date(2026, 1, 1)
        own = Token(name="zoe", sha256=digest("zoe-secret"), made=made, minutes_per_day=1.0)
        add_token(path, own)
        async with desk(tmp_path, tokens=path) as server:
            assert (await post(server, form(), "zoe-secret"))[0] == 201  # which gives 60 s
            end = time.monotonic() + MOST_SECONDS
            while (answer := await post(server, form("bad"), "zoe-secret"))[0] in (201, 429):
                assert time.monotonic() < end
                await asyncio.sleep(0.3)
            assert answer[0] == 403
            assert "used up" in answer[1]

    asyncio.run(main())


REFUSED: list[tuple[Any, int, str]] = [
    ({"key": 99}, 422, "key"),
    ({"loud": 1}, 422, "loud"),
    ({"format": "exe"}, 422, "format is one of wav"),
    ({"voice": "nobody"}, 404, "No voice 'nobody'"),
    ({"voice": "../starter"}, 404, "No voice"),
    ({"effects": "/etc/passwd"}, 422, "no preset of effects"),
    ({"effects": "x.toml"}, 422, "no preset of effects"),
    ({"separate": {"models": ["/tmp/x.onnx"]}}, 422, "no separator"),
    ({"denoise": {"models": ["audio-separator:x"]}}, 422, "no separator"),
    ('{"key": NaN}', 400, "NaN is no number"),
    ("[" * 9000, 400, ""),
    ("[]", 400, "no JSON object"),
    ('"' + "x" * 20_000 + '"', 400, "more than 16384 bytes"),
]


def test_what_is_wrong_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "effects").mkdir()
    (tmp_path / "effects" / "x.toml.toml").write_text("effects = []")  # its name is as a file's

    async def main() -> None:
        async with desk(tmp_path, limits=Limits(song_bytes=100_000)) as server:
            for settings, expected, says in REFUSED:
                status, text = await post(server, form(settings=settings))
                assert (status, says in text) == (expected, True), (settings, status, text)
            assert (await post(server, form("x" * 200_000)))[0] == 413
            assert (await post(server, b"as it is"))[0] == 415
            two = form()
            two.add_field("song", b"another", filename="b")
            assert (await post(server, two))[0] == 400
            assert (await post(server, aiohttp.FormData({"settings": "{}"})))[0] in (400, 415)
            assert json.loads((await ask("GET", f"{server.url}/v1/jobs"))[1]) == {"jobs": []}

    asyncio.run(main())
    assert list((tmp_path / "voices").iterdir()) == []
    assert not [path for path in (tmp_path / "jobs").iterdir() if path.is_dir()]


@pytest.mark.parametrize("max_jobs", [0, 1])
def test_a_server_without_jobs_says_so(tmp_path: Path, max_jobs: int) -> None:
    async def main() -> None:
        opener = open_jobs if max_jobs == 0 else None
        async with serving(open_jobs=opener, home=tmp_path, max_jobs=max_jobs) as server:
            assert (await post(server, form()))[0] == 501
            assert (await ask("GET", f"{server.url}/v1/jobs"))[0] == 501

    asyncio.run(main())
    assert not (tmp_path / "jobs").exists()
