"""Running a server: figures, draining, tokens with their rights, TLS."""

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from calls import START, FakeVoices
from dial import HOP, dialled, frame, rest, serving, speak, talking, whole
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidHandshake, InvalidStatus

from server.app import Server
from server.config import Limits, ServerConfig
from server.door import Certificate
from server.failures import Refused
from server.figures import Figures
from server.logs import AUDIT, FACTS
from server.protocol import (
    Failure,
    Ready,
    ServerMessage,
    SetVoice,
    Stop,
    Stopped,
    server_message,
)
from server.room import Room
from server.tokens import Token, digest, remove_token, write_tokens
from stream.errors import ConfigError

TESTS = Path(__file__).parents[1]
Answer = tuple[int, str]
NEVER_LATE = Limits(max_late_s=3600.0)  # a busy machine is no failure


async def get(url: str, token: str | None = None, method: str = "GET", **options: Any) -> Answer:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, url, headers=headers, **options) as answer,
    ):
        return answer.status, await answer.text()


def tokens(folder: Path, **each: dict[str, Any]) -> Path:
    """A file of tokens, each of whose secrets is its name and `-secret`."""
    path = folder / "tokens.json"
    made = date(2026, 1, 1)
    write_tokens(
        path,
        [
            Token.model_validate(
                {"name": n, "sha256": digest(f"{n}-secret"), "made": made, **facts}
            )
            for n, facts in each.items()
        ],
    )
    return path


def start(name: str, voice: str = "ada") -> str:
    return START.model_copy(update={"token": f"{name}-secret", "voice": voice}).model_dump_json()


def test_figures_tell_of_streams_while_they_are_open_and_after() -> None:
    async def main() -> None:
        async with serving(max_streams=2, limits=NEVER_LATE) as server:

            async def figures() -> dict[str, float]:
                status, text = await get(f"{server.url}/metrics")
                assert status == 200
                found = {
                    f"{s.name}{sorted(s.labels.values())}": s.value
                    for family in text_string_to_metric_families(text)
                    for s in family.samples
                }
                names = {family.name for family in text_string_to_metric_families(text)}
                ours = {name.removesuffix("_total") for name in Figures().registry.names()}
                assert names == ours
                return found

            before = await figures()
            assert before["timbral_ready[]"] == 1
            assert before["timbral_streams_most[]"] == 2
            async with talking(server.url) as link, dialled(server.url) as other:
                await speak_a_little(link)
                await other.send(START.model_dump_json())
                assert isinstance(server_message.validate_json(await other.recv()), Ready)
                async with dialled(server.url) as third:
                    await third.send(START.model_dump_json())
                    await rest(third)
                during = await figures()
                assert during["timbral_streams['ada']"] == 2
                assert during["timbral_client_streams['(local)']"] == 2
                assert during["timbral_streams_refused_total['overloaded']"] == 1
                assert during["timbral_streams_admitted_total[]"] == 2
                assert during["timbral_hop_load_ratio_count['ada']"] >= 5
                assert during["timbral_connections[]"] >= 2
                await link.send(Stop().model_dump_json())
                await rest(link)
            await asyncio.sleep(0.1)
            after = await figures()
            assert "timbral_streams['ada']" not in after
            assert after["timbral_streams_admitted_total[]"] == 2
            assert after["timbral_streams_ended_total['1000']"] == 2
            assert after["timbral_requests_total['200']"] >= 2
            for name, value in during.items():
                if "_total" in name or "_count" in name or "_bucket" in name:
                    assert after[name] >= value, f"{name} fell"

    asyncio.run(main())


async def speak_a_little(link: Any) -> None:
    """Send ten hops and take five answers with sound."""
    for position in range(0, 10 * HOP, HOP):
        await link.send(frame(position))
    answers = 0
    while answers < 5:
        answers += isinstance(await asyncio.wait_for(link.recv(), 30), bytes)


def test_a_device_without_room_is_told_among_the_refusals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(_room: Room, _kind: object, _seconds: float, _hop_s: float) -> None:
        raise Refused("overloaded", "This machine is busy.", close=1013)

    monkeypatch.setattr(Room, "let_in", full)

    async def main() -> None:
        async with serving() as server:
            async with dialled(server.url) as link:
                await link.send(START.model_dump_json())
                (error,), _ = await rest(link)
                assert isinstance(error, Failure)
                assert (error.code, link.close_code) == ("overloaded", 1013)
            await asyncio.sleep(0.1)
            assert server.figures.refused.value(reason="overloaded") == 1
            assert server.figures.admitted.value() == 0
            assert server.streams == 0, "the place was not given back"

    asyncio.run(main())


def test_who_leaves_makes_room_at_once() -> None:
    """Whether it says goodbye or is lost: nobody is kept out by those who came and went."""

    async def begun(link: ClientConnection) -> ServerMessage:
        await link.send(START.model_dump_json())
        return server_message.validate_json(await asyncio.wait_for(link.recv(), 30))

    async def main() -> None:
        async with serving(FakeVoices(hop_seconds=10.0)) as server:
            for leaves in range(4):
                async with dialled(server.url, close_timeout=0.1) as link:
                    assert isinstance(await begun(link), Ready)
                    async with dialled(server.url) as another:
                        assert isinstance(await begun(another), Failure)
                    if leaves % 2:
                        link.transport.abort()
                await asyncio.sleep(0.1)

    asyncio.run(main())


def test_a_server_that_drains_takes_no_more_and_lets_streams_come_to_their_end() -> None:
    async def main() -> None:
        async with serving(drain_s=30.0) as server, talking(server.url) as link:
            talk = asyncio.create_task(speak(link, 1.0))
            await asyncio.sleep(0.1)
            drained = asyncio.create_task(server.drain())
            await asyncio.sleep(0.1)
            assert (await get(f"{server.url}/readyz"))[0] == 503
            assert (await get(f"{server.url}/healthz"))[0] == 200
            with pytest.raises(InvalidStatus, match="503"):
                async with dialled(server.url):
                    pass
            assert not drained.done()
            assert whole(await talk, 1.0), "the stream that ran was disturbed"
            await asyncio.wait_for(drained, 10)

    asyncio.run(main())


def test_draining_has_an_end() -> None:
    async def main() -> None:
        async with serving(drain_s=0.2, limits=NEVER_LATE) as server, talking(server.url) as link:
            began = asyncio.get_running_loop().time()
            await asyncio.wait_for(server.drain(), 10)
            assert asyncio.get_running_loop().time() - began > 0.15
            assert server.streams == 1, "a stream was cut off while there was time"
            assert whole(await speak(link, 0.2), 0.2), "draining disturbed it"

    asyncio.run(main())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
def test_sigterm_drains_and_a_second_one_does_not_wait() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    serve = [sys.executable, "halver.py", str(port), "ada-secret", "600"]

    async def main(process: subprocess.Popen[bytes]) -> None:
        url = f"http://127.0.0.1:{port}"
        async with dialled(url) as first, dialled(url) as second:
            for link in (first, second):
                await link.send(start("ada"))
                await link.recv()
                await speak_a_little(link)
            process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.2)
            await first.send(Stop().model_dump_json())
            messages, _ = await rest(first)
            assert isinstance(messages[-1], Stopped)
            assert first.close_code == 1000, "it came to its own end"
            process.send_signal(signal.SIGTERM)
            messages, _ = await rest(second)
            assert isinstance(messages[-1], Stopped)
            assert second.close_code == 1001

    with subprocess.Popen(serve, cwd=TESTS, env=_path(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            asyncio.run(main(process))
            assert process.wait(30) == 0
        finally:
            process.kill()


def _path() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}"}


def test_each_token_has_its_own_voices_streams_and_rights(tmp_path: Path) -> None:
    path = tokens(
        tmp_path,
        ada={"voices": ["ada"], "max_streams": 1},
        boss={"operator": True},
        giver={"upload_bytes": 100},
    )

    async def main() -> None:
        async with serving(tokens=path, home=tmp_path) as server:
            url = server.url
            for wrong in (None, "eve-secret"):
                assert (await get(f"{url}/v1/voices", wrong))[0] == 401
            status, text = await get(f"{url}/v1/voices", "ada-secret")
            assert [voice["name"] for voice in json.loads(text)["voices"]] == ["ada"]
            assert status == 200
            assert (await get(f"{url}/v1/voices/ben/preview.wav", "ada-secret"))[0] == 404
            for name, metrics, delete in (("ada", 403, 403), ("boss", 200, 204)):
                assert (await get(f"{url}/metrics", f"{name}-secret"))[0] == metrics
                asked = f"{url}/v1/voices/ben", f"{name}-secret", "DELETE"
                assert (await get(*asked))[0] == delete
            sizes = (("ada", 1, 403), ("giver", 100, 201), ("giver", 101, 413), ("boss", 1, 403))
            for name, size, answer in sizes:
                sent = await get(f"{url}/v1/voices", f"{name}-secret", "POST", data=bytes(size))
                assert sent[0] == answer, (name, size)
            async with dialled(url) as link, dialled(url) as second, dialled(url) as other:
                await link.send(start("ada"))
                assert isinstance(server_message.validate_json(await link.recv()), Ready)
                await link.send(SetVoice(voice="ben").model_dump_json())
                assert "voice_not_found" in str(await link.recv())
                await second.send(start("ada"))
                (error,), _ = await rest(second)
                assert isinstance(error, Failure)
                assert (error.code, second.close_code) == ("overloaded", 1013)
                await other.send(start("ada", "ben"))
                (error,), _ = await rest(other)
                assert isinstance(error, Failure)
                assert (error.code, other.close_code) == ("voice_not_found", 1008)

    asyncio.run(main())
    assert [each.name for each in (tmp_path / "voices").iterdir()] == [], "files were left behind"


def test_a_stream_ends_when_its_token_is_withdrawn_or_its_minutes_are_used_up(
    tmp_path: Path,
) -> None:
    path = tokens(tmp_path, ada={}, ben={"minutes_per_day": 0.5 / 60}, boss={})

    async def main() -> None:
        async with serving(tokens=path) as server:
            links = [dialled(server.url) for _ in range(3)]
            async with links[0] as ada, links[1] as ben, links[2] as boss:
                for name, link in (("ada", ada), ("ben", ben), ("boss", boss)):
                    await link.send(start(name))
                    assert isinstance(server_message.validate_json(await link.recv()), Ready)
                remove_token(path, "ada")
                for link, why in ((ada, "missing or wrong"), (ben, "used up")):
                    messages, _ = await asyncio.wait_for(rest(link), 10)
                    error = messages[-1]
                    assert isinstance(error, Failure)
                    assert (error.code, error.fatal, link.close_code) == (
                        "unauthorized",
                        True,
                        1008,
                    )
                    assert why in error.message
                await boss.send(Stop().model_dump_json())
                messages, _ = await rest(boss)
                assert isinstance(messages[-1], Stopped), "another's stream was disturbed"
            async with dialled(server.url) as again:
                await again.send(start("ben"))
                (error,), _ = await rest(again)
                assert isinstance(error, Failure)
                assert "used up" in error.message
        used = json.loads((tmp_path / "tokens.usage.json").read_text())["seconds"]
        assert used["ben"] >= 0.5

    asyncio.run(main())


def test_the_audit_log_tells_who_did_what_and_holds_no_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tokens(tmp_path, ada={"upload_bytes": 100})

    async def main() -> None:
        async with serving(tokens=path, home=tmp_path) as server:
            await get(f"{server.url}/v1/voices", "wrong-secret")
            await get(f"{server.url}/v1/voices?name=zoe", "ada-secret", "POST", data=b"x")
            async with dialled(server.url) as link:
                await link.send(start("ada"))
                await link.recv()
                for position in range(0, 10 * HOP, HOP):
                    await link.send(frame(position))
                await link.send(Stop().model_dump_json())
                await rest(link)
            async with dialled(server.url) as link:
                await link.send(start("eve"))
                await rest(link)

    with caplog.at_level("INFO", AUDIT):
        asyncio.run(main())
    told = [
        (record.getMessage(), getattr(record, FACTS))
        for record in caplog.records
        if record.name == AUDIT
    ]
    assert [event for event, _ in told] == [
        "server listens",
        "refused",
        "voice added",
        "stream began",
        "stream over",
        "stream refused",
        "server stopped",
    ]
    facts = dict(told)
    assert facts["voice added"] == {"client": "ada", "address": "127.0.0.1", "voice": "zoe"}
    over = facts["stream over"]
    assert (over["client"], over["code"], over["samples_in"], over["samples_out"]) == (
        "ada",
        1000,
        10 * HOP,
        10 * HOP,
    )
    assert over["session"] == facts["stream began"]["session"]
    assert "secret" not in str(told)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def issue(authority: trustme.CA, folder: Path) -> tuple[Path, Path]:
    """A certificate for this machine, and its key, in files."""
    made = authority.issue_cert("localhost", "127.0.0.1")
    cert, key = folder / "cert.pem", folder / "key.pem"
    made.cert_chain_pems[0].write_to_path(cert)
    made.private_key_pem.write_to_path(key)
    return cert, key


def serial(url: str, trust: ssl.SSLContext) -> object:
    """Which certificate a server shows."""
    port = int(url.rsplit(":", 1)[1])
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        trust.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        told = secured.getpeercert()
        assert told is not None
        return told["serialNumber"]


def test_tls_by_files_that_are_read_anew(
    tmp_path: Path, authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    cert, key = issue(authority, tmp_path)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)

    async def main() -> None:
        async with serving(cert=cert, key=key) as server:
            assert server.url.startswith("https://127.0.0.1:")
            first = await asyncio.to_thread(serial, server.url, trust)
            async with dialled(server.url, ssl=trust) as link:
                await link.send(START.model_dump_json())
                assert isinstance(server_message.validate_json(await link.recv()), Ready)
                cert.write_text("half written")
                await asyncio.sleep(1.2)
                assert await asyncio.to_thread(serial, server.url, trust) == first
                issue(authority, tmp_path)
                for _ in range(50):
                    await asyncio.sleep(0.1)
                    if await asyncio.to_thread(serial, server.url, trust) != first:
                        break
                else:
                    pytest.fail("the new certificate was never shown")
                assert whole(await speak(link, 0.2), 0.2), "an open stream was disturbed"
            with pytest.raises((InvalidHandshake, OSError)):
                async with dialled(server.url.replace("https", "http")):
                    pass
            origin = server.url.replace("https", "http")
            with pytest.raises(InvalidStatus, match="403"):
                async with dialled(server.url, ssl=trust, origin=origin):
                    pass

    asyncio.run(main())
    assert any("cannot use" in record.getMessage() for record in caplog.records)


def test_a_certificate_is_a_whole_pair_and_old_tls_is_refused(
    tmp_path: Path, authority: trustme.CA
) -> None:
    cert, key = issue(authority, tmp_path)
    loaded = Certificate(cert, key)
    assert loaded.context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert not loaded.refresh()
    issue(authority, tmp_path)
    assert loaded.refresh()
    assert not loaded.refresh()
    other = tmp_path / "other"
    other.mkdir()
    _, stranger = issue(authority, other)
    with pytest.raises(ConfigError, match="of that certificate"):
        Certificate(cert, stranger)
    with pytest.raises(ConfigError, match=r"none\.pem"):
        Certificate(tmp_path / "none.pem", key)


def test_a_server_with_a_certificate_that_cannot_be_used_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("nonsense")
    config = ServerConfig(cert=tmp_path / "cert.pem", key=tmp_path / "cert.pem")
    with pytest.raises(ConfigError, match="TLS cannot use"):
        Server(config, FakeVoices)
