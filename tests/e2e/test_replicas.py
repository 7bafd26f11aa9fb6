"""Several servers behind nginx: real processes, and clients that come back to them."""

import asyncio
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from calls import START
from dial import HOP, speak
from proxy import free_ports, fronted, needs_nginx, trusting
from speaker import SOON_S, Speaker, home
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from clients.link import stream_url
from server.protocol import SUBPROTOCOL, Ready, server_message

TESTS = Path(__file__).parents[1]
FAIL_S = 3.2  # 2 s in the recipe, but nginx counts whole ones
pytestmark = [
    pytest.mark.slow,
    needs_nginx,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send"),
]
Process = subprocess.Popen[bytes]


@asynccontextmanager
async def replicas(
    folder: Path, names: Sequence[str], most: int = 8
) -> AsyncGenerator[tuple[str, dict[str, Process], dict[str, str]], None]:
    """Servers of these names behind one address, as processes, and where each is."""
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    async with AsyncExitStack() as stack:
        running: dict[str, Process] = {}
        for name, port in ports.items():
            environment = {
                **os.environ,
                "PYTHONPATH": f"{TESTS.parent}:{TESTS}",
                "TIMBRAL_REPLICA": name,
                "TIMBRAL_MAX_STREAMS": str(most),
            }
            running[name] = subprocess.Popen(
                [sys.executable, "halver.py", str(port), "", "60"],
                cwd=TESTS,
                env=environment,
                stdout=subprocess.PIPE,
            )
            stack.callback(_end, running[name])
        for process in running.values():
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.readline) == b"ready\n"
        https, _ = await stack.enter_async_context(fronted(folder, list(ports.values())))
        inside = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
        yield f"https://localhost:{https}", running, inside


def _end(process: Process) -> None:
    process.kill()
    process.communicate()


async def begun(link: ClientConnection, **changes: Any) -> Ready:
    """The answer to `start`."""
    await link.send(START.model_copy(update=changes).model_dump_json(exclude_none=True))
    ready = server_message.validate_json(await asyncio.wait_for(link.recv(), SOON_S))
    assert isinstance(ready, Ready)
    return ready


async def converted(link: ClientConnection) -> bool:
    """Whether speech is answered as voice ada does, but for the first answer after a break."""
    first, *others = await speak(link, 0.2)
    heard = b"".join(bytes(each.pcm) for each in others)
    at_once = first.samples("f32le") + len(heard) // 4 == 10 * HOP
    return at_once and set(np.frombuffer(heard, "<f4").tolist()) == {np.float32(-0.25)}


async def counted(inside: dict[str, str]) -> dict[str, int]:
    """How many streams each replica has."""
    async with aiohttp.ClientSession() as http:
        found: dict[str, int] = {}
        for name, url in inside.items():
            async with http.get(f"{url}/v1/info") as answer:
                told = await answer.json()
                assert told["replica"] == name
                found[name] = told["streams"]["open"]
        return found


async def is_ready(url: str) -> bool:
    """What the server itself says of that."""
    async with aiohttp.ClientSession() as http, http.get(f"{url}/readyz") as answer:
        return answer.status == 200


def dial(url: str, trust: ssl.SSLContext, resume: str = "") -> connect:
    """A connection as a client makes it that knows this secret, without a word said."""
    spoken = [Subprotocol(SUBPROTOCOL)]
    return connect(stream_url(url, resume), ssl=trust, subprotocols=spoken, proxy=None)


def test_streams_are_spread_a_full_replica_is_passed_over_and_who_comes_back_finds_its_own(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with replicas(tmp_path, "ab", most=2) as (url, _, inside), AsyncExitStack() as stack:
            trust = trusting(tmp_path)

            async def opened(resume: str = "") -> tuple[ClientConnection, Ready]:
                link = await stack.enter_async_context(dial(url, trust, resume))
                return link, await begun(link, resume=resume or None)

            talks = [await opened() for _ in range(4)]
            assert sorted(home(ready) for _, ready in talks) == ["a", "a", "b", "b"]
            with pytest.raises(InvalidStatus, match=r"50[23]"):
                await opened()
            for k, (link, ready) in enumerate(talks):
                link.transport.abort()
                talks[k] = await opened(ready.resume)
                assert (talks[k][1].resumed, talks[k][1].session) == (True, ready.session)
            assert await counted(inside) == {"a": 2, "b": 2}
            link, ready = talks[0]
            assert await converted(link), "a stream that was resumed is not heard"
            while (await counted(inside))[home(ready)] == 2:
                await asyncio.sleep(0.05)
            await asyncio.sleep(FAIL_S)  # for which nginx leaves alone who refused
            assert home((await opened())[1]) == home(ready)

    asyncio.run(asyncio.wait_for(main(), 120))


def test_clients_of_a_replica_that_drains_or_is_killed_go_on_with_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with replicas(tmp_path, "ab") as (url, running, inside):
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
            speakers = [Speaker(url) for _ in range(4)]
            for each in speakers:
                await each.until(lambda each=each: each.heard > 5 * HOP)
            assert sorted(each.homes[0] for each in speakers) == ["a", "a", "b", "b"]
            stays, leaves = [each for each in speakers if each.homes == ["a"]]
            others = [each for each in speakers if each.homes == ["b"]]
            running["a"].send_signal(signal.SIGTERM)
            while await is_ready(inside["a"]):
                await asyncio.sleep(0.05)
            leaves.cut()
            await leaves.until(lambda: leaves.homes == ["a", "b"] and leaves.heard > 5 * HOP)
            newcomer = Speaker(url)
            await newcomer.until(lambda: newcomer.heard > 5 * HOP)
            assert newcomer.homes == ["b"]
            before = stays.heard
            await stays.until(lambda: stays.heard > before + 5 * HOP)
            assert stays.homes == ["a"], "a stream was disturbed that might come to its end"
            await stays.end()
            assert await asyncio.to_thread(running["a"].wait, SOON_S) == 0
            assert all(each.homes == ["b"] for each in others)

    asyncio.run(asyncio.wait_for(main(), 120))


def test_clients_of_a_replica_that_is_killed_begin_anew_on_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with replicas(tmp_path, "ab") as (url, running, _):
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
            speakers = [Speaker(url) for _ in range(4)]
            for each in speakers:
                await each.until(lambda each=each: each.heard > 5 * HOP)
            running["b"].kill()
            for each in speakers:
                if each.homes == ["b"]:
                    await each.until(
                        lambda each=each: len(each.homes) == 2 and each.heard > 5 * HOP
                    )
                assert (each.homes[-1], any(each.resumed)) == ("a", False)
                await each.end()

    asyncio.run(asyncio.wait_for(main(), 120))
