"""The recipe for nginx, in front of real servers, in a real nginx."""

import asyncio
import io
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from calls import START
from dial import dialled, rest, serving, speak, whole
from websockets.exceptions import InvalidStatus

from server.app import Server
from server.logs import AUDIT, FACTS
from server.protocol import Failure, Ready, server_message

RECIPE = Path(__file__).parents[2] / "docs" / "deploy" / "nginx.conf"
TOKEN = "a-long-secret"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed: apt install nginx-light"),
]
SETTINGS: dict[str, Any] = {"token": TOKEN, "allowed_hosts": ("localhost", "voice.example.org")}


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def adapted(folder: Path, https: int, http: int, servers: list[int]) -> Path:
    """The recipe with other ports, other certificates, and nginx's own files in `folder`."""
    text = RECIPE.read_text("utf-8")
    made = trustme.CA()
    issued = made.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    made.cert_pem.write_to_path(folder / "ca.pem")
    replicas = "\n".join(
        f"server 127.0.0.1:{port} max_fails=1 fail_timeout=2s;" for port in servers
    )
    changes = {
        r"server 127\.0\.0\.1:8765[^\n]*": replicas,
        r"listen 80;": f"listen 127.0.0.1:{http};",
        r"listen 443 ssl;": f"listen 127.0.0.1:{https} ssl;",
        r"server_name voice\.example\.org;": "server_name localhost;",
        r"/etc/letsencrypt\S+/fullchain\.pem": str(folder / "cert.pem"),
        r"/etc/letsencrypt\S+/privkey\.pem": str(folder / "key.pem"),
    }
    for pattern, new in changes.items():
        text, count = re.subn(pattern, new, text)
        assert count, f"{pattern} is not in the recipe"
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path = folder / "nginx.conf"
    path.write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;\n"
        f"events {{ }}\nhttp {{\naccess_log off;\n{temporary}{text}\n}}\n"
    )
    return path


@asynccontextmanager
async def fronted(folder: Path, servers: list[Server]) -> AsyncGenerator[tuple[int, int], None]:
    """nginx in front of `servers`: its ports for https and http."""
    https, http = free_ports(2)
    ports = [int(server.url.rsplit(":", 1)[1]) for server in servers]
    config = adapted(folder, https, http, ports)
    assert NGINX is not None
    process = subprocess.Popen([NGINX, "-e", f"{folder}/error.log", "-c", config, "-p", folder])
    try:
        for _ in range(100):
            await asyncio.sleep(0.1)
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", https)) == 0:
                    break
        else:
            pytest.fail((folder / "error.log").read_text())
        yield https, http
    finally:
        process.terminate()
        process.wait(20)


def trusting(folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=folder / "ca.pem")


def test_streams_pages_and_voices_pass_and_strangers_do_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        settings: dict[str, Any] = {**SETTINGS, "home": tmp_path, "proxies": ("127.0.0.1",)}
        async with serving(**settings) as server, fronted(tmp_path, [server]) as (https, http):
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
            fronted(tmp_path, [one, two]) as (https, _),
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
