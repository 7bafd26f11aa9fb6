"""What the fuzzers found over HTTP: bytes that are no text, or no HTTP, made aiohttp stumble.

Each gets an answer that is no fault of the server's, and nothing of it is repeated.
"""

import asyncio
import logging
import time
from pathlib import Path

import pytest
from dial import serving
from fuzz.site import Said, Wire

from offline.jobs.runner import Runner
from server.app import Server
from server.config import ServerConfig
from server.inbox import MOST_PARTS
from server.whole import Order

UPGRADE = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13")
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
FORM = b"Content-Type: multipart/form-data; boundary=7"
SECRET = b"timbral_not-to-be-told"


async def answer(server: Server, *lines: bytes, body: bytes = b"") -> Said:
    """To a request of these lines, with nothing normalised on the way."""
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    wire = Wire(*await asyncio.open_connection(host, int(port)))
    try:
        length = [b"Content-Length: %d" % len(body)] if body else []
        named = (lines[0], f"Host: {host}:{port}".encode(), *lines[1:], *length, b"", b"")
        await wire.send(b"\r\n".join(named) + body)
        said = await wire.answer()
        assert said is not None
        return said
    finally:
        wire.close()


@pytest.mark.parametrize(
    "lines",
    [
        (b"GET / HTTP/1.1", b"Authoriz\x00tion: Bearer " + SECRET),
        (b"GET /?token=" + SECRET + b"\x86 HTTP/1.1",),
        (b"G\x01T / HTTP/1.1", b"Authorization: Bearer " + SECRET),
        (b"GET / BTTP/1.1", b"Authorization: Bearer " + SECRET),
    ],
)
def test_what_is_no_http_is_repeated_nowhere(
    lines: tuple[bytes, ...], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> Said:
        async with serving() as server:
            return await answer(server, *lines)

    with caplog.at_level(logging.DEBUG):
        said = asyncio.run(main())
    assert said.status == 400
    assert said.headers["server"] == "timbral"
    assert said.headers["x-content-type-options"] == "nosniff"
    assert SECRET not in said.body
    assert SECRET.decode() not in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((b"GET / HTTP/1.1", b"Expect: \xb1"), 400),
        ((b"GET /v1/stream HTTP/1.1", *UPGRADE, b"Sec-WebSocket-Key: \xb0\xb0"), 400),
        ((b"GET /v1/stream HTTP/1.1", UPGRADE[0], b"Upgrade: \xb0", KEY), 400),
        ((b"GET /v1/info HTTP/1.1", b"Authorization: Bearer \xff\xfe"), 200),
        ((b"GET /v1/info HTTP/1.1", b"Origin: \xff"), 403),
    ],
)
def test_a_header_of_bytes_that_are_no_text_is_no_fault_of_the_server(
    lines: tuple[bytes, ...], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> Said:
        async with serving() as server:
            return await answer(server, *lines)

    assert asyncio.run(main()).status == status
    assert "Traceback" not in caplog.text


PART = b'--7\r\nContent-Disposition: form-data; name="name"\r\n\r\nada\r\n'


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'--7\r\nX: "\x92\x00"\r\n\r\n--7--', b"cannot be read"),
        (b"--7\r\nX: " + b"a" * 10_000 + b"\r\n\r\n--7--", b"cannot be read"),
        (b"--7\r\nContent-Type: multipart/mixed; boundary=8\r\n\r\n--8\r\n", b"inside a form"),
        (
            b"--7\r\nContent-Type: multipart/mixe\xe4; bounIary=y\r\n\r\n{}\r\n--7--\r\n",
            b"cannot be read",
        ),
        (PART * (MOST_PARTS + 1) + b"--7--", b"parts at most"),
    ],
)
def test_a_form_that_is_none_is_refused(tmp_path: Path, body: bytes, why: bytes) -> None:
    async def main() -> Said:
        async with serving(home=tmp_path) as server:
            return await answer(server, b"POST /v1/voices HTTP/1.1", FORM, body=body)

    said = asyncio.run(main())
    assert (said.status, why in said.body) == (400, True), said.body


def test_settings_with_half_a_letter_are_no_json(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    part = (
        b'--7\r\nContent-Disposition: form-data; name="settings"\r\n\r\n{"\\ud800": 1}\r\n--7--\r\n'
    )

    async def main() -> Said:
        def jobs(config: ServerConfig) -> Runner:
            assert config.home
            return Runner(config.home, working=False)

        async with serving(home=tmp_path, open_jobs=jobs) as server:
            return await answer(server, b"POST /v1/jobs HTTP/1.1", FORM, body=part)

    said = asyncio.run(main())
    assert (said.status, b"cannot be read" in said.body) == (400, True), said.body
    assert "Traceback" not in caplog.text


def test_who_does_not_wait_for_a_converted_file_is_no_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with serving(home=tmp_path) as server:
            done, host, port = [0], *server.url.removeprefix("http://").rsplit(":", 1)

            def slow(order: Order) -> float:
                time.sleep(0.2)
                order.target.write_bytes(bytes(4 << 20))
                done[0] += 1
                return 1.0

            server._whole._convert = slow  # pyright: ignore[reportPrivateUsage]
            for count, wait_s in ((1, 0.05), (2, 0.4)):
                wire = Wire(*await asyncio.open_connection(host, int(port)))
                lines = (b"POST /v1/convert HTTP/1.1", f"Host: {host}:{port}".encode())
                await wire.send(b"\r\n".join([*lines, b"Content-Length: 1", b"", b"x"]))
                await asyncio.sleep(wait_s)
                wire.close()
                until = asyncio.get_running_loop().time() + 20.0
                while done[0] < count or list((tmp_path / "voices").iterdir()):
                    assert asyncio.get_running_loop().time() < until
                    await asyncio.sleep(0.02)
            assert server.figures.requests.value(status="500") == 0.0

    asyncio.run(main())
    assert "Traceback" not in caplog.text


def test_a_client_that_leaves_in_the_middle_is_no_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> float:
        async with serving(home=tmp_path) as server:
            host, _, port = server.url.removeprefix("http://").rpartition(":")
            refused = server.figures.uploads
            for count, kind in enumerate((FORM, b"Content-Type: application/x"), 1):
                wire = Wire(*await asyncio.open_connection(host, int(port)))
                lines = (b"POST /v1/voices HTTP/1.1", f"Host: {host}:{port}".encode(), kind)
                await wire.send(b"\r\n".join([*lines, b"Content-Length: 999", b"", b"--7\r\n"]))
                await asyncio.sleep(0.1)
                wire.close()
                until = asyncio.get_running_loop().time() + 20.0
                while refused.value(status="400") < count:
                    assert asyncio.get_running_loop().time() < until
                    await asyncio.sleep(0.02)
            return refused.value(status="400")

    assert asyncio.run(main()) == 2.0
    assert "Traceback" not in caplog.text
