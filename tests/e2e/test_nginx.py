"""The recipe for nginx, in front of real servers, in a real nginx."""

import asyncio
import io
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from calls import START
from dial import dialled, rest, serving, speak, whole
from proxy import fronted, needs_nginx, port_of, trusting
from websockets.exceptions import InvalidStatus

from server.logs import AUDIT, FACTS
from server.protocol import Failure, Ready, server_message

TOKEN = "a-long-secret"
pytestmark = [pytest.mark.slow, needs_nginx]
SETTINGS: dict[str, Any] = {"token": TOKEN, "allowed_hosts": ("localhost", "voice.example.org")}


def test_streams_pages_and_voices_pass_and_strangers_do_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        settings: dict[str, Any] = {**SETTINGS, "home": tmp_path, "proxies": ("127.0.0.1",)}
        async with (
            serving(**settings) as server,
            fronted(tmp_path, [port_of(server.url)]) as (https, http),
        ):
            url, trust = f"https://localhost:{https}", trusting(tmp_path)
            start = START.model_copy(update={"token": TOKEN}).model_dump_json()
            spoofed = {"X-Forwarded-For": "192.0.2.99"}
            async with dialled(url, ssl=trust, origin=url, additional_headers=spoofed) as link:
                await link.send(start)
                assert isinstance(server_message.validate_json(await link.recv()), Ready)
                delays: list[float] = []
                assert whole(await speak(link, 1.0, delays), 1.0)
                assert sorted(delays)[len(delays) // 2] < 0.3, "something collects the frames"
            for origin in (f"http://localhost:{https}", "https://evil.example"):
                with pytest.raises(InvalidStatus, match="403"):
                    async with dialled(url, ssl=trust, origin=origin):
                        pass
            async with dialled(url, ssl=trust) as link:
                await link.send(START.model_dump_json())
                (error,), _ = await rest(link)
                assert isinstance(error, Failure)
                assert link.close_code == 1008
            await over_http(url, http, trust)

    with caplog.at_level("INFO", AUDIT):
        asyncio.run(main())
    began = [r for r in caplog.records if r.getMessage() == "stream began"]
    assert [getattr(r, FACTS)["address"] for r in began] == ["127.0.0.1"], "a forged address"


async def over_http(url: str, http_port: int, trust: ssl.SSLContext) -> None:
    """The page, an upload, what is closed, and the way from http."""
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    connector = aiohttp.TCPConnector(ssl=trust)
    async with aiohttp.ClientSession(connector=connector, headers=bearer) as http:
        async with http.get(f"{url}/") as answer:
            assert answer.status == 200
            assert "max-age" in answer.headers["Strict-Transport-Security"]
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        async with http.get(f"{url}/v1/voices", headers={"Origin": url}) as answer:
            assert answer.status == 200
        async with http.get(f"{url}/metrics") as answer:
            assert answer.status == 404
        body = io.BytesIO(bytes(3 << 20))
        async with http.post(f"{url}/v1/voices?name=zoe", data=body) as answer:
            assert answer.status == 201, "nginx takes 1 MiB unless it is told"
        plain = f"http://localhost:{http_port}/"
        async with http.get(plain, allow_redirects=False) as answer:
            assert answer.status == 301
            assert answer.headers["Location"].startswith("https://localhost")


def test_a_replica_that_drains_or_died_is_passed_over(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            serving(**SETTINGS) as one,
            serving(**SETTINGS) as two,
            fronted(tmp_path, [port_of(one.url), port_of(two.url)]) as (https, _),
        ):
            url, trust = f"https://localhost:{https}", trusting(tmp_path)
            start = START.model_copy(update={"token": TOKEN}).model_dump_json()

            async def converse() -> None:
                async with dialled(url, ssl=trust) as link:
                    await link.send(start)
                    assert isinstance(server_message.validate_json(await link.recv()), Ready)
                    assert whole(await speak(link, 0.1), 0.1)

            await one.drain()
            for _ in range(4):
                await converse()
            assert (one.figures.admitted.value(), two.figures.admitted.value()) == (0, 4)
            await one.stop()
            for _ in range(4):
                await converse()
            assert two.figures.admitted.value() == 8

    asyncio.run(main())
