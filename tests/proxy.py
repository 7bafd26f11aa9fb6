"""The recipe for nginx in a real nginx, in front of servers on this machine, for tests."""

import asyncio
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

DEPLOY = Path(__file__).parents[1] / "docs" / "deploy"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
needs_nginx = pytest.mark.skipif(
    NGINX is None, reason="nginx is not installed: apt install nginx-light"
)


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def adapted(
    folder: Path, https: int, http: int, servers: Sequence[int], recipe: str = "nginx.conf"
) -> Path:
    """The recipe with other ports, other certificates, and nginx's own files in `folder`."""
    text = (DEPLOY / recipe).read_text("utf-8")
    made = trustme.CA()
    issued = made.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    made.cert_pem.write_to_path(folder / "ca.pem")
    if len(servers) > 1:
        text = text.replace("#+ ", "")
    changes = {
        r"listen 80;": f"listen 127.0.0.1:{http};",
        r"listen 443 ssl;": f"listen 127.0.0.1:{https} ssl;",
        r"server_name voice\.example\.org;": "server_name localhost;",
        r"/etc/letsencrypt\S+/fullchain\.pem": str(folder / "cert.pem"),
        r"/etc/letsencrypt\S+/privkey\.pem": str(folder / "key.pem"),
    }
    first = int(re.search(r"server 127\.0\.0\.1:(\d+)", text)[1])  # pyright: ignore[reportOptionalSubscript]
    for number, port in enumerate(servers):
        changes[rf"127\.0\.0\.1:{first + number}\b"] = f"127.0.0.1:{port}"
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
async def fronted(
    folder: Path, servers: Sequence[int], recipe: str = "nginx.conf"
) -> AsyncGenerator[tuple[int, int], None]:
    """nginx in front of the servers at these ports: its own ports for https and http."""
    https, http = free_ports(2)
    config = adapted(folder, https, http, servers, recipe)
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
    """Believes in the certificate of that nginx."""
    return ssl.create_default_context(cafile=folder / "ca.pem")


def port_of(url: str) -> int:
    """The port in a server's address."""
    return int(url.rsplit(":", 1)[1])
