"""Files converted by the server: `POST /v1/convert`."""

import asyncio
import io
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
import soundfile
from dial import serving, speak, talking, whole

from offline.convert import convert as convert_here
from server.config import Limits
from server.tokens import Token, digest, write_tokens
from server.whole import Order, Whole
from stream.controls import Controls
from stream.errors import AudioError
from stream.models.store import Store

SPEECH = Path(__file__).parents[1] / "speech" / "sense-and-sensibility-0870.wav"
Sent = tuple[int, bytes]


async def post(url: str, data: Any, token: str | None = None, **query: str) -> Sent:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(f"{url}/v1/convert", data=data, params=query) as answer,
    ):
        return answer.status, await answer.read()


def copying(order: Order) -> float:
    """In place of a conversion: the target tells the order; what begins with `bad` is none."""
    sent = order.source.read_bytes()
    if sent.startswith(b"bad"):
        raise AudioError(f"{order.source} holds no audio.")
    order.target.write_bytes(f"{order.voice} {order.controls} ".encode() + sent)
    return 30.0


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Order], float]], None]:
    """Has servers do something else in place of a conversion."""

    def instead(work: Callable[[Order], float]) -> None:
        monkeypatch.setattr(Whole, "_apart", lambda _self, order: work(order))  # pyright: ignore

    return instead


def test_a_file_comes_back_converted_and_nothing_stays(tmp_path: Path, copies: Any) -> None:
    copies(copying)

    async def main() -> None:
        async with serving(home=tmp_path) as server:
            asked = {"voice": "ben", "controls": '{"pitch": 3}', "filename": "../../a.wav"}
            status, body = await post(server.url, b"sound", to="flac", **asked)
            assert (status, body) == (200, b"ben {'pitch': 3.0} sound")
            assert await post(server.url, b"sound") == (200, b"ada {} sound")
            for query, status in (
                ({"to": "exe"}, 400),
                ({"controls": "{"}, 400),
                ({"controls": '{"pitch": 99}'}, 400),
                ({"controls": '{"sing": 1}'}, 400),
            ):
                assert (await post(server.url, b"sound", **query))[0] == status, query
            status, text = await post(server.url, b"bad", filename="song.wav")
            assert (status, text) == (422, b"song.wav holds no audio.\n")

    asyncio.run(main())
    assert list(tmp_path.rglob("*")) == [tmp_path / "voices"]


def test_files_are_bounded_and_one_is_converted_at_a_time(tmp_path: Path, copies: Any) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slow(order: Order) -> float:
        began.set()
        go_on.wait(60.0)
        return copying(order)

    copies(slow)

    async def main() -> None:
        async with serving(home=tmp_path, limits=Limits(convert_bytes=1000)) as server:
            assert (await post(server.url, bytes(1001)))[0] == 413
            first = asyncio.ensure_future(post(server.url, b"one"))
            await asyncio.to_thread(began.wait, 60.0)
            assert (await post(server.url, b"two"))[0] == 503
            async with talking(server.url) as link:
                assert whole(await speak(link, 0.2), 0.2), "a stream had to wait"
            go_on.set()
            assert (await first)[0] == 200
            assert (await post(server.url, b"three"))[0] == 200

    asyncio.run(main())


def test_a_token_is_needed_and_its_voices_and_minutes_hold(tmp_path: Path, copies: Any) -> None:
    copies(copying)
    path = tmp_path / "tokens.json"
    facts = {"name": "ada", "sha256": digest("ada-secret"), "made": date(2026, 1, 1)}
    limits = {"voices": ["ada"], "minutes_per_day": 1.0}
    write_tokens(path, [Token.model_validate({**facts, **limits})])

    async def main() -> None:
        async with serving(home=tmp_path, tokens=path) as server:
            assert (await post(server.url, b"sound"))[0] == 401
            assert (await post(server.url, b"sound", "ada-secret", voice="ben"))[0] == 404
            assert (await post(server.url, b"sound", "ada-secret"))[0] == 200
            assert (await post(server.url, b"sound", "ada-secret"))[0] == 200
            status, text = await post(server.url, b"sound", "ada-secret")
            assert (status, b"used up" in text) == (403, True), "two files of half a minute"

    asyncio.run(main())


@pytest.mark.slow
def test_the_server_converts_as_the_command_does(tmp_path: Path) -> None:
    said, rate = soundfile.read(SPEECH, frames=24_000)
    soundfile.write(tmp_path / "said.wav", said, rate)

    async def main() -> bytes:
        async with serving(home=tmp_path) as server:
            sound = (tmp_path / "said.wav").read_bytes()
            status, body = await post(server.url, sound, voice="starter", controls='{"pitch": 2}')
            assert status == 200, body
            return body

    heard, rate = soundfile.read(io.BytesIO(asyncio.run(main())))
    voice, controls = Store(tmp_path).load("starter"), Controls(pitch=2.0)
    convert_here(tmp_path / "said.wav", tmp_path / "here.wav", voice, controls=controls)
    here, same_rate = soundfile.read(tmp_path / "here.wav")
    assert (len(heard), rate) == (len(here), same_rate)
    np.testing.assert_allclose(heard, here, atol=2e-3)
