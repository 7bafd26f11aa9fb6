"""Voices sent to the server, and voices deleted there."""

import asyncio
import errno
import io
import json
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from calls import FakeVoices
from dial import serving
from published import rvc_file, save_pth

from server.config import Limits, ServerConfig
from server.studio import Studio
from stream.errors import ConfigError, TimbralError
from stream.models.store import STARTERS

Answer = tuple[int, str]
SMALL = Limits(upload_bytes=3 << 20)


async def post(url: str, data: Any, path: str = "/v1/voices", **headers: str) -> Answer:
    async with (
        aiohttp.ClientSession() as http,
        http.post(url + path, data=data, headers=headers) as answer,
    ):
        return answer.status, await answer.text()


async def delete(url: str, name: str, **headers: str) -> Answer:
    async with (
        aiohttp.ClientSession() as http,
        http.delete(f"{url}/v1/voices/{name}", headers=headers) as answer,
    ):
        return answer.status, await answer.text()


def form(name: str | None = None, /, **files: tuple[str, bytes]) -> aiohttp.FormData:
    data = aiohttp.FormData(quote_fields=False)
    for field, (filename, content) in files.items():
        data.add_field(field, io.BytesIO(content), filename=filename, content_type="application/x")
    if name is not None:
        data.add_field("name", name)
    return data


def test_a_form_brings_files_an_index_and_a_name(tmp_path: Path) -> None:
    voices = FakeVoices()
    big = bytes(range(256)) * 10_000

    async def main() -> None:
        async with serving(voices, home=tmp_path) as server:
            sent = form("zoe", file=("a/b/Zoë: 1.pth", big), index=("x.index", b"rows"))
            status, text = await post(server.url, sent)
            assert status == 201
            assert json.loads(text) == {"voice": {"name": "zoe"}, "missing": ""}
            status, _ = await post(server.url, form(file=("Ada.pth", b"weights")))
            assert status == 201

    asyncio.run(main())
    assert voices.added == [
        ("zoe", [("Zoë_ 1.pth", big), ("x.index", b"rows")]),
        (None, [("Ada.pth", b"weights")]),
    ]
    assert list((tmp_path / "voices").iterdir()) == []


def test_a_file_can_be_sent_as_it_is(tmp_path: Path) -> None:
    voices = FakeVoices()

    async def main() -> None:
        async with serving(voices, home=tmp_path) as server:
            path = "/v1/voices?filename=Ada.zip&name=ada-2"
            assert (await post(server.url, b"weights", path))[0] == 201
            assert (await post(server.url, b"weights"))[0] == 201

    asyncio.run(main())
    assert voices.added == [("ada-2", [("Ada.zip", b"weights")]), (None, [("voice", b"weights")])]


def test_what_cannot_be_taken_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    voices = FakeVoices()

    async def main() -> None:
        async with serving(voices, home=tmp_path, limits=SMALL) as server:
            url = server.url
            assert (await post(url, form("ben", file=("a.pth", b"x"))))[0] == 409
            status, text = await post(url, form(file=("a.pth", b"evil")))
            assert (status, "evil" in text) == (422, True)
            assert (await post(url, form("x" * 300, file=("a.pth", b"x"))))[0] == 400
            assert (await post(url, form("x")))[0] == 415
            assert (await post(url, b""))[0] == 422
            nine = {f"f{i}": ("a", b"x") for i in range(9)}
            assert (await post(url, form(None, **nine)))[0] == 400
            broken = {"Content-Type": "multipart/form-data; boundary=b"}
            assert (await post(url, b"nonsense", **broken))[0] == 400
            headers = {"Content-Type": "multipart/form-data"}
            assert (await post(url, b"--b--", **headers))[0] == 400

    asyncio.run(main())
    assert voices.added == []
    assert list((tmp_path / "voices").iterdir()) == []


@pytest.mark.parametrize("path", ["/v1/voices", "/v1/convert?voice=ada"])
@pytest.mark.parametrize("call", ["mkdtemp", "write"])
def test_a_full_disk_is_an_answer_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, call: str
) -> None:
    def full(*_args: Any, **_options: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def main() -> None:
        async with serving(home=tmp_path) as server:
            with monkeypatch.context() as broken:
                if call == "mkdtemp":
                    broken.setattr("server.inbox.tempfile.mkdtemp", full)
                else:
                    broken.setattr(Path, "open", full)
                status, text = await post(server.url, b"weights", path)
            assert (status, "no room" in text) == (507, True)
            assert (await post(server.url, b"weights"))[0] == 201  # nobody is busy with the first

    asyncio.run(main())
    assert list((tmp_path / "voices").iterdir()) == []


def test_what_is_too_large_is_refused_by_its_length_and_by_its_bytes(tmp_path: Path) -> None:
    async def long() -> Any:
        for _ in range(200):
            yield bytes(1 << 16)

    async def main() -> None:
        async with serving(home=tmp_path, limits=SMALL) as server:
            status, text = await post(server.url, io.BytesIO(bytes(4 << 20)))
            assert (status, "3 MiB" in text) == (413, True)
            with suppress(aiohttp.ClientError):  # the server hangs up while this is sending
                assert (await post(server.url, long()))[0] == 413
            assert (await post(server.url, b"still there"))[0] == 201

    asyncio.run(main())
    assert list((tmp_path / "voices").iterdir()) == []


def test_an_upload_that_comes_to_a_halt_is_given_up(tmp_path: Path) -> None:
    async def halting() -> Any:
        yield b"some"
        await asyncio.sleep(4.0)
        yield b"more"

    async def main() -> None:
        async with serving(home=tmp_path, limits=Limits(upload_pause_s=1.0)) as server:
            with suppress(aiohttp.ClientError):
                assert (await post(server.url, halting()))[0] == 408
            assert (await post(server.url, b"still there"))[0] == 201

    asyncio.run(main())


def test_one_voice_is_added_at_a_time(tmp_path: Path) -> None:
    class Slow(FakeVoices):
        began, go_on = threading.Event(), threading.Event()

        def add(self, files: Sequence[Path], name: str | None, index: Path | None) -> Any:
            self.began.set()
            self.go_on.wait(60.0)
            return super().add(files, name, index)

    async def main() -> None:
        voices = Slow()
        async with serving(voices, home=tmp_path) as server:
            first = asyncio.ensure_future(post(server.url, b"one"))
            await asyncio.to_thread(voices.began.wait, 60.0)
            assert (await post(server.url, b"two"))[0] == 503
            voices.go_on.set()
            assert (await first)[0] == 201
            assert (await post(server.url, b"three"))[0] == 201

    asyncio.run(main())


def test_uploads_ask_for_the_token_and_for_the_right_page(tmp_path: Path) -> None:
    voices = FakeVoices()

    async def main() -> None:
        async with serving(voices, home=tmp_path, token="a-long-secret") as server:
            assert (await post(server.url, b"x"))[0] == 401
            assert (await delete(server.url, "ben"))[0] == 401
            right = {"Authorization": "Bearer a-long-secret"}
            assert (await post(server.url, b"x", Origin="https://evil.example", **right))[0] == 403
            assert (await delete(server.url, "ben", Host="evil.example", **right))[0] == 403
            assert (await delete(server.url, "ben", **right))[0] == 204

    asyncio.run(main())
    assert (voices.added, voices.removed) == ([], ["ben"])


def test_a_voice_is_deleted_but_not_the_one_in_use() -> None:
    class Keeping(FakeVoices):
        def remove(self, voice: str) -> None:
            if voice == "slow":
                raise ConfigError("The starter voice cannot be removed.")
            super().remove(voice)

    voices = Keeping()

    async def main() -> None:
        async with serving(voices) as server:
            assert (await delete(server.url, "ben"))[0] == 204
            assert (await delete(server.url, "eve"))[0] == 404
            assert (await delete(server.url, "..%2F..%2Fetc"))[0] == 404
            assert (await delete(server.url, "ada"))[0] == 409
            assert (await delete(server.url, "slow"))[0] == 409

    asyncio.run(main())
    assert voices.removed == ["ben"]


@pytest.mark.slow
def test_a_checkpoint_becomes_a_voice_of_the_server(tmp_path: Path) -> None:
    studio = Studio(ServerConfig(home=tmp_path / "home"))
    path = save_pth(tmp_path / "Ada.pth", rvc_file(narrow=8))
    added = studio.add([path], None, None)
    assert added["voice"]["name"] == "ada"
    assert "models pull contentvec-768" in added["missing"]
    assert "ada" in [card["name"] for card in studio.cards()]
    with pytest.raises(ConfigError, match="already"):
        studio.add([path], None, None)
    path.write_bytes(b"<html>")
    with pytest.raises(TimbralError, match="web page"):
        studio.add([path], "eve", None)
    studio.remove("ada")
    assert [card["name"] for card in studio.cards()] == [*STARTERS]
    studio.close()
    with pytest.raises(TimbralError, match="stopping"):
        studio.add([path], "eve", None)
