"""What the server answers over HTTP, and whom."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from calls import START, FakeVoices
from dial import dialled, rest, serving
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from server.app import Server
from server.config import ServerConfig
from server.protocol import Failure
from stream.errors import ConfigError, ModelNotFound


async def _get(url: str, **headers: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as http, http.get(url, headers=headers) as answer:
        return answer.status, await answer.text()


def test_the_pages_and_the_health() -> None:
    async def main() -> None:
        async with serving() as server:
            assert await _get(f"{server.url}/healthz") == (200, "alive\n")
            assert await _get(f"{server.url}/readyz") == (200, "ready\n")
            status, text = await _get(f"{server.url}/v1/info")
            info = json.loads(text)
            assert status == 200
            assert (info["provider"], info["streams"]["most"]) == ("FakeProvider", 8)
            status, text = await _get(f"{server.url}/v1/voices")
            assert [v["name"] for v in json.loads(text)["voices"]] == list(FakeVoices.NAMES)
            assert (await _get(f"{server.url}/v1/voices/ada/preview.wav"))[0] == 404
            assert (await _get(f"{server.url}/v1/voices/eve/preview.wav"))[0] == 404
            assert (await _get(f"{server.url}/v1/voices/..%2Feve/preview.wav"))[0] == 404
            assert (await _get(f"{server.url}/secret"))[0] == 404
            for path in ("/", "/web/main.js", "/web/page.css", "/web/capture.worklet.js"):
                assert (await _get(server.url + path))[0] == 200
            for path in ("/web/", "/web/secret.js", "/web/../../timbral.py", "/index.html"):
                assert (await _get(server.url + path))[0] == 404

    asyncio.run(main())


def test_the_page_may_load_nothing_from_elsewhere() -> None:
    async def main() -> None:
        async with serving() as server, aiohttp.ClientSession() as http:
            async with http.get(server.url) as answer:
                text, policy = await answer.text(), answer.headers["Content-Security-Policy"]
                assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
                assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert {"worker-src 'self'", "connect-src 'self'"} <= set(policy.split("; "))
            async with http.get(f"{server.url}/web/link.worker.js") as answer:
                assert answer.content_type == "text/javascript"
                assert answer.headers["Content-Security-Policy"] == policy
            assert "://" not in text.replace("http://www.w3.org", "")
            assert "<script>" not in text
            assert "style=" not in text

    asyncio.run(main())


def test_pages_of_other_sites_and_other_names_are_refused() -> None:
    async def main() -> None:
        async with serving() as server:
            host = server.url.removeprefix("http://")
            port = host.split(":")[1]
            assert (await _get(f"{server.url}/v1/info", Origin="https://evil.example"))[0] == 403
            assert (await _get(f"{server.url}/v1/info", Origin="null"))[0] == 403
            assert (await _get(f"{server.url}/v1/info", Origin=f"http://{host}"))[0] == 200
            assert (await _get(f"{server.url}/v1/info", Host="evil.example"))[0] == 403
            assert (await _get(f"{server.url}/v1/info", Host=f"localhost:{port}"))[0] == 200
            with pytest.raises(InvalidStatus, match="403"):
                async with dialled(server.url, origin="https://evil.example"):
                    pass
            async with dialled(server.url, origin=f"http://{host}"):
                pass

    asyncio.run(main())


def test_with_a_token_nothing_but_the_page_is_open() -> None:
    async def main() -> None:
        async with serving(token="a-long-secret") as server:
            assert (await _get(f"{server.url}/readyz"))[0] == 200
            assert (await _get(f"{server.url}/"))[0] == 200
            for wrong in ({}, {"Authorization": "Bearer nope"}, {"Authorization": "a-long-secret"}):
                assert (await _get(f"{server.url}/v1/info", **wrong))[0] == 401
            right = {"Authorization": "Bearer a-long-secret"}
            assert (await _get(f"{server.url}/v1/info", **right))[0] == 200
            async with dialled(server.url) as link:
                await link.send(START.model_dump_json())
                (error,), _ = await rest(link)
                assert isinstance(error, Failure)
                assert (error.code, link.close_code) == ("unauthorized", 1008)

    asyncio.run(main())


def test_another_subprotocol_is_refused() -> None:
    async def main() -> None:
        async with serving() as server:
            with pytest.raises(InvalidStatus, match="400"):
                async with dialled(server.url, subprotocols=[Subprotocol("chat")]):
                    pass

    asyncio.run(main())


def test_a_server_is_not_ready_until_its_voice_is_loaded() -> None:
    class Slow(FakeVoices):
        def warm(self) -> Any:
            time.sleep(0.3)
            return super().warm()

    async def main() -> None:
        server = Server(ServerConfig(port=0, voice="ada"), Slow)
        await server.start()
        assert (await _get(f"{server.url}/healthz"))[0] == 200
        assert (await _get(f"{server.url}/readyz"))[0] == 503
        assert (await _get(f"{server.url}/v1/voices"))[0] == 503
        with pytest.raises(InvalidStatus, match="503"):
            async with dialled(server.url):
                pass
        running = await server.warm()
        assert running.warm.latencies == {"low": 30.0}
        assert (await _get(f"{server.url}/readyz"))[0] == 200
        await server.stop()

    asyncio.run(main())


def test_a_voice_that_cannot_be_loaded_is_told_to_who_started_the_server() -> None:
    class Broken(FakeVoices):
        def warm(self) -> Any:
            raise ModelNotFound(Path("synth.onnx"), "Add the voice again.")

    async def main() -> None:
        server = Server(ServerConfig(port=0, voice="ada"), Broken)
        await server.start()
        with pytest.raises(ModelNotFound):
            await server.warm()
        await server.stop()

    asyncio.run(main())


def test_a_port_that_is_taken_is_told() -> None:
    async def main() -> None:
        async with serving() as server:
            port = int(server.url.rsplit(":", 1)[1])
            other = Server(ServerConfig(port=port, voice="ada"), FakeVoices)
            with pytest.raises(ConfigError, match="--port"):
                await other.start()

    asyncio.run(main())
