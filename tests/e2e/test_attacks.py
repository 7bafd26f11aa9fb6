"""What strangers try, on a real server: each is refused, and an honest client notices nothing.

SECURITY.md tells of each by the name of its test.
"""

import asyncio
import copy
import gzip
import io
import re
import select
import socket
import threading
import zipfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
import trustme
from calls import START, FakeVoices
from dial import dialled, rest, serving, speak, talking, whole
from websockets.exceptions import InvalidStatus

from server.app import Server
from server.config import Limits, ServerConfig
from server.figures import resident_bytes
from server.protocol import PATH, Failure, Message, Ready, server_message
from server.studio import Studio
from server.tokens import Token, digest, new_secret, write_tokens

SECRET = "timbral_the-right-one"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455's example


def head(path: str, *headers: str, method: str = "GET") -> bytes:
    """A request's head as bytes, with nothing normalised on the way."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", *headers, "", ""]).encode("latin-1")


async def ask(server: Server, data: bytes, wait_s: float = 10.0) -> str:
    """The first line of the answer to raw bytes; "" when the connection was closed without one."""
    reader, writer = await connected(server)
    try:
        with suppress(ConnectionError):
            writer.write(data)
            await writer.drain()
        with suppress(ConnectionError):
            return (await asyncio.wait_for(reader.readline(), wait_s)).decode("latin-1").strip()
        return ""
    finally:
        writer.close()


async def connected(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def closed(reader: asyncio.StreamReader, within_s: float = 10.0) -> bool:
    """Whether the server closes, whatever it says before."""
    try:
        await asyncio.wait_for(reader.read(), within_s)
    except asyncio.TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


def own(server: Server) -> str:
    return f"Host: {server.url.removeprefix('http://')}"


@asynccontextmanager
async def unharmed(server: Server) -> AsyncGenerator[None, None]:
    """An honest client talks meanwhile, and every sample comes back."""
    async with talking(server.url) as link:
        talk = asyncio.create_task(speak(link, 0.5))
        yield
        assert whole(await asyncio.wait_for(talk, 60), 0.5)


def test_a_page_of_another_site_gets_no_socket_and_no_answer() -> None:
    upgrade = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {KEY}",
    )

    async def main() -> None:
        async with serving() as server:
            host = server.url.removeprefix("http://")
            port = host.split(":")[1]
            assert "101" in await ask(server, head(PATH, own(server), *upgrade))
            for origin in (
                "https://evil.example",
                "null",
                f"http://evil.example:{port}",
                f"http://{host}.evil.example",
                f"http://{host}@evil.example",
                "http://127.0.0.1",
                f"file://{host}",
                f"http://localhost:{int(port) + 1}",
            ):
                asked = head(PATH, own(server), f"Origin: {origin}", *upgrade)
                assert "403" in await ask(server, asked), origin
                with pytest.raises(InvalidStatus, match="403"):
                    async with dialled(server.url, origin=origin):
                        pass
            for site in ("cross-site", "same-site"):
                said = f"Sec-Fetch-Site: {site}"
                assert "403" in await ask(server, head("/v1/voices", own(server), said))
                assert "403" in await ask(server, head(PATH, own(server), said, *upgrade))
                assert "200" in await ask(server, head("/", own(server), said)), (
                    "a link to the page"
                )
            assert "200" in await ask(
                server, head("/v1/voices", own(server), "Sec-Fetch-Site: same-origin")
            )

    asyncio.run(main())


def test_a_name_that_is_pointed_at_this_machine_is_refused() -> None:
    async def main() -> None:
        async with serving(allowed_hosts=("voice.localhost",), token="a-long-secret") as server:
            for name in ("evil.example", "127.0.0.1.evil.example", "localhost.", "[::1", "", "a@b"):
                for path in ("/", "/v1/info", PATH):
                    assert "403" in await ask(server, head(path, f"Host: {name}")), name
            assert "200" in await ask(server, head("/", "Host: voice.localhost:1"))
            assert "200" in await ask(server, head("/healthz", "Host: 10.0.0.7")), "a probe"

    asyncio.run(main())


def test_no_old_other_or_guessed_token_opens_anything(tmp_path: Path) -> None:
    path, day = tmp_path / "tokens.json", date(2026, 1, 1)
    old = {"expires": day + timedelta(days=1)}
    write_tokens(
        path,
        [
            Token(name="ada", sha256=digest(SECRET), made=day),
            Token.model_validate({"name": "old", "sha256": digest("old"), "made": day, **old}),
        ],
    )
    strangers = (
        "",
        "old",
        new_secret(),
        digest(SECRET),
        SECRET.upper(),
        SECRET + " x",
        SECRET[:-1],
        "\x00",
        "é" * 200,
    )

    async def main() -> None:
        async with serving(tokens=path) as server:
            for given in strangers:
                for by in ("Bearer", "Basic", "bearer  "):
                    asked = head("/v1/info", own(server), f"Authorization: {by} {given}")
                    line = await ask(server, asked)
                    assert "401" in line or "400" in line, (given, line)
            assert "401" in await ask(server, head(f"/v1/info?token={SECRET}", own(server)))
            for given in (None, *strangers):
                async with dialled(server.url) as link:
                    await link.send(START.model_copy(update={"token": given}).model_dump_json())
                    (error,), _ = await rest(link)
                    assert isinstance(error, Failure)
                    assert (error.code, link.close_code) == ("unauthorized", 1008)
            asked = head("/v1/info", own(server), f"Authorization: Bearer {SECRET}")
            assert "401" in await ask(server, asked), "who guesses so often is not heard"

    limits = Limits(wrong_tokens_per_minute=1000)

    async def patient() -> None:
        async with serving(tokens=path, limits=limits) as server:
            for given in strangers:
                await ask(server, head("/v1/info", own(server), f"Authorization: Bearer {given}"))
            asked = head("/v1/info", own(server), f"Authorization: Bearer {SECRET}")
            assert "200" in await ask(server, asked)
            async with dialled(server.url) as link:
                await link.send(START.model_copy(update={"token": SECRET}).model_dump_json())
                assert isinstance(server_message.validate_json(await link.recv()), Ready)

    asyncio.run(main())
    asyncio.run(patient())


def test_a_token_that_was_replaced_opens_nothing_and_its_streams_end(tmp_path: Path) -> None:
    """Rotation: another secret under the same name, while the old one's stream is open."""
    path, day = tmp_path / "tokens.json", date(2026, 1, 1)
    write_tokens(path, [Token(name="ada", sha256=digest(SECRET), made=day)])

    async def start(server: Server, token: str, **more: str) -> Any:
        async with dialled(server.url) as link:
            said = START.model_copy(update={"token": token, **more})
            await link.send(said.model_dump_json())
            return server_message.validate_json(await link.recv())

    async def main() -> None:
        async with serving(tokens=path) as server, dialled(server.url) as link:
            await link.send(START.model_copy(update={"token": SECRET}).model_dump_json())
            ready = server_message.validate_json(await link.recv())
            assert isinstance(ready, Ready)
            write_tokens(path, [Token(name="ada", sha256=digest("new-secret"), made=day)])
            (*_, error), _ = await asyncio.wait_for(rest(link), 20)
            assert isinstance(error, Failure)
            assert (error.code, link.close_code) == ("unauthorized", 1008)
            for more in ({}, {"resume": ready.resume}):
                refused = await start(server, SECRET, **more)
                assert isinstance(refused, Failure)
                assert refused.code == "unauthorized"
            assert isinstance(await start(server, "new-secret"), Ready)
            asked = head("/v1/info", own(server), f"Authorization: Bearer {SECRET}")
            assert "401" in await ask(server, asked)

    asyncio.run(main())


def test_what_is_known_of_anothers_stream_does_not_open_it(tmp_path: Path) -> None:
    """Its session is in the log, its token may have leaked: without its secret, neither helps."""
    path, day = tmp_path / "tokens.json", date(2026, 1, 1)
    tokens = {"ada": SECRET, "ben": "timbral_bens"}
    write_tokens(path, [Token(name=n, sha256=digest(t), made=day) for n, t in tokens.items()])

    async def main() -> None:
        async with serving(tokens=path) as server, dialled(server.url) as link:
            await link.send(START.model_copy(update={"token": SECRET}).model_dump_json())
            ready = server_message.validate_json(await link.recv())
            assert isinstance(ready, Ready)
            guesses = (ready.session, digest(ready.resume)[:64], ready.resume[:-1], SECRET)
            for token in tokens.values():
                for guess in guesses:
                    async with dialled(server.url) as other:
                        asked = {"token": token, "resume": guess}
                        await other.send(START.model_copy(update=asked).model_dump_json())
                        told = server_message.validate_json(await other.recv())
                        assert isinstance(told, Ready)
                        assert not told.resumed, guess
                        assert told.session != ready.session
            assert whole(await speak(link, 0.2), 0.2), "the stream was disturbed"

    asyncio.run(main())


DOTS = ("..", "%2e%2e", "..%2f..", "%2e%2e%2f", "..%5c..", "....//", "%252e%252e", "..%00", "..;")
PLACES: dict[str, Callable[[str], str]] = {
    "preview": lambda dots: f"/v1/voices/{dots}/preview.wav",
    "deeper": lambda dots: f"/v1/voices/{dots}/{dots}/{dots}/etc/passwd",
    "page": lambda dots: f"/web/{dots}/{dots}/timbral.py",
    "root": lambda dots: f"/{dots}/{dots}/etc/passwd",
    "absolute": lambda dots: f"/web//etc/{dots}/passwd",
}


def test_no_path_leads_out_of_what_is_served(tmp_path: Path) -> None:
    studio = Studio(ServerConfig(home=tmp_path))
    asked: list[str] = []

    class Real(FakeVoices):
        """The store's own look at names, around fake voices."""

        def preview(self, voice: str) -> Path | None:
            asked.append(voice)
            return studio.preview(voice)

        def remove(self, voice: str) -> None:
            asked.append(voice)
            studio.remove(voice)

    async def main() -> None:
        (tmp_path / "voices").mkdir()
        (tmp_path / "preview.wav").write_bytes(b"secret")
        async with serving(Real(), home=tmp_path) as server:
            for place in PLACES.values():
                for dots in DOTS:
                    line = await ask(server, head(place(dots), own(server)))
                    assert any(code in line for code in ("404", "400", "403")), (place(dots), line)
            for dots in DOTS:
                line = await ask(server, head(f"/v1/voices/{dots}", own(server), method="DELETE"))
                assert any(code in line for code in ("404", "400", "405")), (dots, line)

    asyncio.run(main())
    assert asked, "no name came as far as the store: this test looks at nothing"
    assert (tmp_path / "preview.wav").exists()


def test_no_file_name_writes_outside_its_folder(tmp_path: Path) -> None:
    seen: list[Path] = []

    class Looking(FakeVoices):
        """Notes where the files of an upload lie."""

        def add(self, files: Any, name: str | None, index: Path | None) -> dict[str, Any]:
            seen.extend(files)
            return super().add(files, name, index)

    names = ("../../x.pth", "/etc/cron.d/x", "..\\..\\x.pth", "a\x00b", "." * 300, "con", "~/x", "")

    async def main() -> None:
        async with serving(Looking(), home=tmp_path) as server, aiohttp.ClientSession() as http:
            for name in names:
                query = {"filename": name, "name": "zoe"}
                async with http.post(f"{server.url}/v1/voices", data=b"x", params=query) as answer:
                    assert answer.status == 201, name
                form = b"--7\r\n" + (
                    f'Content-Disposition: form-data; name="../f"; filename="{name}"\r\n\r\nx'
                ).encode().replace(b"\x00", b"%00")
                kind = {"Content-Type": "multipart/form-data; boundary=7"}
                async with http.post(
                    f"{server.url}/v1/voices", data=form + b"\r\n--7--\r\n", headers=kind
                ) as answer:
                    assert answer.status == 201, name

    asyncio.run(main())
    inbox = (tmp_path / "voices").resolve()
    assert len(seen) == 2 * len(names)
    assert all(inbox in path.resolve().parents for path in seen)
    assert list(tmp_path.iterdir()) == [tmp_path / "voices"]
    assert list(inbox.iterdir()) == [], "files were left behind"


def test_a_small_body_stays_small(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(64 << 20), 1)
    held: list[int] = []

    async def main() -> None:
        limits = Limits(upload_bytes=1 << 20)
        async with (
            serving(home=tmp_path, limits=limits) as server,
            aiohttp.ClientSession(auto_decompress=False) as http,
        ):
            before = resident_bytes() or 0
            for coding in ("gzip", "deflate", "br", "gzip, gzip"):
                headers = {"Content-Encoding": coding, "Content-Type": "application/x"}
                async with http.post(
                    f"{server.url}/v1/voices", data=bomb, headers=headers, skip_auto_headers=[]
                ) as answer:
                    assert answer.status == 415, coding
                held.append((resident_bytes() or 0) - before)

    asyncio.run(main())
    assert max(held) < 32 << 20


def bomb(depth: int) -> bytes:
    """256 KiB that would be 256 MiB, in so many archives one inside the other."""
    data = bytes(256 << 20) if depth == 1 else bomb(depth - 1)
    packed, kind = io.BytesIO(), zipfile.ZIP_DEFLATED if depth == 1 else zipfile.ZIP_STORED
    with zipfile.ZipFile(packed, "w", kind, compresslevel=1) as archive:
        archive.writestr("voice.pth" if depth == 1 else "inner.zip", data)
    return packed.getvalue()


def overlapping() -> bytes:
    """An archive of a thousand entries that all are the same megabyte of it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0000.pth", np.random.default_rng(1).bytes(1 << 18) * 16)
        for number in range(1, 1000):
            info = copy.copy(archive.infolist()[0])
            info.filename = f"{number:04}.pth"
            archive.filelist.append(info)
            archive.NameToInfo[info.filename] = info
    return packed.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: bomb(1), "was refused"),
        (lambda: bomb(2), "another archive"),
        (overlapping, "was (refused|not imported)"),
    ],
    ids=["a bomb", "a bomb in an archive", "entries on top of each other"],
)
def test_a_zip_bomb_is_refused_by_what_it_would_unpack_to(
    tmp_path: Path, make: Callable[[], bytes], why: str
) -> None:
    packed = make()
    assert len(packed) < 8 << 20
    studio = Studio(ServerConfig(home=tmp_path))

    class Importing(FakeVoices):
        """Imports as a real server does, in a process of its own."""

        def add(self, files: Any, name: str | None, index: Path | None) -> dict[str, Any]:
            return studio.add(files, name, index)

    async def main() -> None:
        async with (
            serving(Importing(), home=tmp_path) as server,
            unharmed(server),
            aiohttp.ClientSession() as http,
            http.post(f"{server.url}/v1/voices", data=io.BytesIO(packed)) as answer,
        ):
            assert answer.status == 422
            assert re.search(why, await answer.text())

    asyncio.run(main())
    assert list((tmp_path / "voices").iterdir()) == []


def test_huge_heads_are_refused_and_take_little_memory() -> None:
    async def main() -> None:
        async with serving(limits=Limits(header_s=3.0)) as server, unharmed(server):
            for asked in (
                head("/" + "a" * 100_000, own(server)),
                head("/", own(server), "X: " + "a" * 100_000),
                head("/", own(server), *(f"X-{k}: a" for k in range(1000))),
                head("/", own(server), f"Cookie: {'a' * 9000}"),
                head("/", own(server), own(server)),
                head("/", own(server), "Content-Length: 5", "Transfer-Encoding: chunked"),
                head("/", own(server), "Content-Length: -1"),
                head("/", own(server), "Content-Length: 5", "Content-Length: 6"),
                b"\x16\x03\x01\x02\x00\x01\x00",
                b"GET / HTTP/9.9\r\n\r\n",
            ):
                line = await ask(server, asked)
                assert line == "" or " 400 " in line or " 403 " in line, (asked[:60], line)
            before = resident_bytes() or 0
            reader, writer = await connected(server)
            with suppress(ConnectionError):
                for _ in range(400):
                    writer.write(b"X" * 65536)
                    await writer.drain()
            assert await closed(reader), "a head without an end was read on and on"
            assert (resident_bytes() or 0) - before < 16 << 20
            writer.close()

    asyncio.run(main())


def test_who_sends_a_head_a_byte_at_a_time_or_nothing_is_cut_off() -> None:
    async def main() -> None:
        async with serving(limits=Limits(header_s=1.0)) as server, unharmed(server):
            silent, silent_writer = await connected(server)
            slow, slow_writer = await connected(server)

            async def trickle() -> None:
                for byte in head("/", own(server), "X: " + "a" * 200):
                    slow_writer.write(bytes([byte]))
                    await slow_writer.drain()
                    await asyncio.sleep(0.1)

            trickling = asyncio.create_task(trickle())
            assert await closed(slow), "it could go on for ever"
            assert await closed(silent)
            with suppress(ConnectionError):
                await trickling
            for writer in (silent_writer, slow_writer):
                writer.close()

    asyncio.run(main())


def test_who_waits_in_the_tls_handshake_is_cut_off(tmp_path: Path) -> None:
    made = trustme.CA().issue_cert("localhost")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made.cert_chain_pems[0].write_to_path(cert)
    made.private_key_pem.write_to_path(key)

    async def main() -> None:
        limits = Limits(handshake_s=0.5)
        async with serving(cert=cert, key=key, limits=limits) as server:
            port = int(server.url.rsplit(":", 1)[1])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await closed(reader)
            writer.close()

    asyncio.run(main())


def test_an_upload_that_trickles_makes_room_for_the_next(tmp_path: Path) -> None:
    async def trickle() -> Any:
        while True:
            yield b"x"
            await asyncio.sleep(0.1)

    async def main() -> None:
        limits = Limits(upload_pause_s=0.5, upload_bytes_per_s=1000)
        async with serving(home=tmp_path, limits=limits) as server, aiohttp.ClientSession() as http:
            with suppress(aiohttp.ClientError):
                async with http.post(f"{server.url}/v1/voices", data=trickle()) as answer:
                    assert answer.status == 408
            async with http.post(f"{server.url}/v1/voices", data=b"whole") as answer:
                assert answer.status == 201

    asyncio.run(asyncio.wait_for(main(), 60))


FORM = (
    "Content-Type: multipart/form-data; boundary=7",
    "Content-Length: 60000",
    "Expect: 100-continue",
)


@pytest.mark.parametrize(
    "piece",
    [b"", b"--7\r\nX: ", b'--7\r\nContent-Disposition: form-data; name="name"\r\n\r\na\r\n'],
    ids=["nothing of a form", "a part's head", "one small part after the other"],
)
def test_a_form_that_trickles_makes_room_for_the_next(tmp_path: Path, piece: bytes) -> None:
    async def main() -> None:
        limits = Limits(upload_pause_s=0.5, upload_bytes_per_s=1000)
        async with serving(home=tmp_path, limits=limits) as server, aiohttp.ClientSession() as http:
            reader, writer = await connected(server)
            writer.write(head("/v1/voices", own(server), *FORM, method="POST"))

            async def trickle() -> None:
                while True:
                    writer.write(piece[:1] if piece.endswith(b"X: ") else piece)
                    await writer.drain()
                    await asyncio.sleep(0.1)

            writer.write(piece)
            trickling = asyncio.create_task(trickle())
            said = b""
            while b"408" not in said and b"400" not in said:
                said = await asyncio.wait_for(reader.readline(), 20)
                assert said, "no answer came"
            trickling.cancel()
            writer.close()
            async with http.post(f"{server.url}/v1/voices", data=b"whole") as answer:
                assert answer.status == 201

    asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize("most", [{"connections": 24}, {"connections_an_address": 24}])
def test_connections_are_bounded(most: dict[str, int]) -> None:
    async def main() -> None:
        async with serving(max_streams=3, limits=Limits(**most)) as server:
            async with unharmed(server):
                crowd = [await connected(server) for _ in range(60)]
                await asyncio.sleep(0.3)
                open_now = server._door.connections  # pyright: ignore[reportPrivateUsage]
                assert 20 <= open_now <= 24
                (why,) = (set(most) - {"connections"}) or {"all"}
                refused = server.figures.cut.value(reason="all" if why == "all" else "address")
                assert refused >= 60 - 24
            for _, writer in crowd:
                writer.close()
            await asyncio.sleep(0.3)
            async with talking(server.url):
                pass

    asyncio.run(main())


def test_pings_without_end_do_not_hold_up_others() -> None:
    ping = b"\x89\x80\x00\x00\x00\x00"  # masked by zeros, as a client must
    ended = threading.Event()

    def flood(port: int) -> None:
        """Ping as fast as it goes, and take the answers, so that more are made."""
        with socket.create_connection(("127.0.0.1", port)) as sock, suppress(OSError):
            upgrade = (f"Host: 127.0.0.1:{port}", "Connection: Upgrade", "Upgrade: websocket")
            version = ("Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}")
            sock.sendall(head(PATH, *upgrade, *version))
            assert b"101" in sock.recv(1000)
            sock.setblocking(False)
            while not ended.is_set():
                select.select([sock], [sock], [], 0.1)
                with suppress(BlockingIOError):
                    sock.send(ping * 10_000)
                with suppress(BlockingIOError):
                    sock.recv(1 << 20)

    async def main() -> None:
        async with serving() as server:
            port = int(server.url.rsplit(":", 1)[1])
            flooding = asyncio.create_task(asyncio.to_thread(flood, port))
            await asyncio.sleep(0.3)
            async with talking(server.url) as link:
                loop, late = asyncio.get_running_loop(), [0.0]
                talk = asyncio.create_task(speak(link, 0.5))
                while not talk.done():
                    due = loop.time() + 0.005
                    await asyncio.sleep(0.005)
                    late.append(loop.time() - due)
                assert whole(talk.result(), 0.5)
            ended.set()
            await flooding
            assert max(late) < 0.1, "the loop did nothing but answer"

    asyncio.run(main())


def test_a_message_names_only_what_it_must(tmp_path: Path) -> None:
    """What is refused tells a stranger nothing of files, versions or other clients' voices."""

    async def main() -> None:
        path = tmp_path / "tokens.json"
        facts: dict[str, Any] = {"name": "ada", "sha256": digest(SECRET), "voices": ["ada"]}
        write_tokens(path, [Token.model_validate({**facts, "made": date(2026, 1, 1)})])
        async with (
            serving(tokens=path, home=tmp_path) as server,
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {SECRET}"}) as http,
        ):
            for route in ("/nowhere", "/v1/voices/ben/preview.wav", "/metrics", "/"):
                async with http.get(server.url + route) as answer:
                    said = await answer.text() + str(dict(answer.headers))
                    assert answer.headers["X-Content-Type-Options"] == "nosniff"
                    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
                for secret in (str(tmp_path), "aiohttp", "Python/", "Traceback"):
                    assert secret not in said, route
            async with dialled(server.url) as link:
                asked = START.model_copy(update={"token": SECRET, "voice": "ben"})
                await link.send(asked.model_dump_json())
                (error,), _ = await rest(link)
                assert isinstance(error, Message)
                assert "slow" not in str(error)

    asyncio.run(main())
