"""The application for Ray Serve on a real Ray: two servers, and real clients."""

import asyncio
import json
import os
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from importlib import import_module
from pathlib import Path
from typing import Any

import aiohttp
import halver
import pytest
from calls import START
from dial import HOP, frame
from proxy import DEPLOY, free_ports, fronted, needs_nginx, trusting
from speaker import SOON_S, Speaker
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from clients.link import open_link, stream_url
from server.cluster.app import Options, build
from server.config import ServerConfig
from server.protocol import AudioFrame, Stopped

TESTS = Path(__file__).parents[1]
FOLDERS = [*filter(None, [os.environ.get("PYTHONPATH")]), str(TESTS), str(TESTS.parent)]
MOST = 3  # streams a server
STARTS_S = 120.0  # for Ray to start a process, on a busy machine
WHY = "Ray Serve is not installed: pip install 'timbral[cluster]'"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]


def begin(ray: Any) -> None:
    """Start Ray on two cores."""
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(FOLDERS)}},
    )


def begin_patiently(ray: Any) -> None:
    """The same, a second time if need be: Ray gives its own processes 30 s, on any machine."""
    try:
        begin(ray)
    except Exception as error:
        if "timed out" not in str(error):
            raise
        ray.shutdown()
        begin(ray)


@pytest.fixture(scope="module")
def cluster() -> Generator[str, None, None]:
    """The address of the entrance of two servers."""
    ray: Any = pytest.importorskip("ray", reason=WHY)
    serve: Any = pytest.importorskip("ray.serve", reason=WHY)
    (port,) = free_ports(1)
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", str(STARTS_S))
    patch.setenv("RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S", str(STARTS_S))
    try:
        begin_patiently(ray)
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        config = ServerConfig(
            port=0, voice="ada", max_streams=MOST, workers=1, easing=False, drain_s=30.0
        )
        serve.run(build(Options(replicas=2, cpus=1), config, halver.halving))
        url = f"http://127.0.0.1:{port}"
        asyncio.run(until(lambda: len(servers(url)) == 2))
        yield url
    finally:
        serve.shutdown()
        ray.shutdown()
        patch.undo()


def servers(url: str) -> dict[str, str]:
    """Where each server is, by its name."""
    with urllib.request.urlopen(f"{url}/v1/targets", timeout=SOON_S) as answer:
        told = json.load(answer)
    return {each["labels"]["replica"]: each["targets"][0] for each in told}


def ready(url: str) -> int:
    """What the entrance says to a load balancer."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=SOON_S) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


async def until(true: Callable[[], bool]) -> None:
    """Wait for what a request tells."""

    async def wait() -> None:
        while not await asyncio.to_thread(true):
            await asyncio.sleep(0.1)

    await asyncio.wait_for(wait(), STARTS_S)


def run(deed: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(deed, 2 * STARTS_S))


async def speakers(url: str, count: int) -> list[Speaker]:
    """So many clients that are heard, converted."""
    all_of_them = [Speaker(url) for _ in range(count)]
    for each in all_of_them:
        await each.until(lambda each=each: each.heard > 5 * HOP)
    return all_of_them


def test_streams_are_spread_over_both_servers_and_who_comes_back_finds_its_own(
    cluster: str,
) -> None:
    async def main() -> None:
        talking = await speakers(cluster, 4)
        assert Counter(each.homes[0] for each in talking) == dict.fromkeys(servers(cluster), 2)
        for each in talking:
            each.cut()
        for each in talking:
            await each.until(lambda each=each: len(each.homes) == 2 and each.heard > 5 * HOP)
            assert (each.resumed, len(set(each.homes))) == ([False, True], 1)
            await each.end()

    run(main())


def test_when_both_servers_are_full_the_entrance_says_so(cluster: str) -> None:
    async def main() -> None:
        await until(lambda: ready(cluster) == 200)
        talking = await speakers(cluster, 2 * MOST)
        assert set(Counter(each.homes[0] for each in talking).values()) == {MOST}
        await until(lambda: ready(cluster) == 503)
        with pytest.raises(InvalidStatus, match="503") as caught:
            async with connect(stream_url(cluster), proxy=None):
                pass
        assert caught.value.response.headers["Retry-After"] == "5"
        for each in talking:
            await each.end()
        await until(lambda: ready(cluster) == 200)

    run(main())


@needs_nginx
def test_nginx_asks_the_entrance_and_goes_to_the_server_itself(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        port = int(cluster.rsplit(":", 1)[1])
        async with fronted(tmp_path, [port], "nginx-cluster.conf") as (https, _):
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
            url = f"https://localhost:{https}"
            (talking,) = await speakers(url, 1)
            talking.cut()
            await talking.until(lambda: len(talking.homes) == 2 and talking.heard > 5 * HOP)
            assert (talking.resumed, len(set(talking.homes))) == ([False, True], 1)
            await talking.end()
            trusts = aiohttp.TCPConnector(ssl=trusting(tmp_path))
            async with aiohttp.ClientSession(connector=trusts) as http:
                for path, status in (("/", 200), ("/v1/voices", 200), ("/timbral-place", 404)):
                    async with http.get(url + path) as answer:
                        assert answer.status == status, path
            others = await speakers(cluster, 2 * MOST)
            await until(lambda: ready(cluster) == 503)
            with pytest.raises(InvalidStatus, match="503"):
                async with connect(stream_url(url)):
                    pass
            for each in others:
                await each.end()

    run(main())


def test_clients_of_a_server_that_is_killed_go_on_with_the_other_until_ray_has_a_new_one(
    cluster: str,
) -> None:
    ray: Any = import_module("ray")

    async def main() -> None:
        await until(lambda: ready(cluster) == 200)
        before = servers(cluster)
        talking = await speakers(cluster, 2)
        killed = talking[0].homes[0]
        (name,) = [
            each["name"]
            for each in ray.util.list_named_actors(all_namespaces=True)
            if each["name"].endswith(killed)
        ]
        ray.kill(ray.get_actor(name, namespace="serve"))
        await talking[0].until(lambda: len(talking[0].homes) == 2 and talking[0].heard > 5 * HOP)
        assert {talking[0].homes[1]} == set(before) - {killed}
        assert talking[0].resumed == [False, False]
        await until(lambda: killed not in servers(cluster) and len(servers(cluster)) == 2)
        (new,) = set(servers(cluster)) - set(before)
        newcomer = (await speakers(cluster, 1))[0]
        assert newcomer.homes == [new], "it is the one with less to do"
        for each in (newcomer, *talking):
            await each.end()

    run(main())


def test_a_server_that_ray_ends_lets_streams_come_to_their_end(cluster: str) -> None:
    serve: Any = import_module("ray.serve")

    async def main() -> None:
        async with open_link(cluster, START) as link:
            deleting = asyncio.create_task(asyncio.to_thread(serve.delete, "default"))
            heard = 0

            async def listen() -> None:
                nonlocal heard
                async for event in link.events():
                    heard += event.samples("f32le") if isinstance(event, AudioFrame) else 0
                    if isinstance(event, Stopped):
                        assert event.samples_in == event.samples_out == heard

            listening = asyncio.create_task(listen())
            loop = asyncio.get_running_loop()
            for k in range(300):
                await asyncio.sleep(0.01)
                await link.send(frame(0)[16:])
                assert not deleting.done(), f"it was ended {k} hops after it was told to"
            began = loop.time()
            await link.stop()
            await listening
            await deleting
            assert loop.time() - began < 20.0, "there was nobody to wait for any more"
            assert heard == 300 * HOP

    run(main())


def test_the_example_of_a_deployment_is_what_the_application_takes() -> None:
    yaml: Any = pytest.importorskip("yaml", reason=WHY)
    schema: Any = pytest.importorskip("ray.serve.schema", reason=WHY)
    told = yaml.safe_load((DEPLOY / "ray-serve.yaml").read_text("utf-8"))
    (application,) = schema.ServeDeploySchema.model_validate(told).applications
    assert application.import_path == f"{build.__module__}:app"
    options = Options.model_validate(application.args)
    assert (options.replicas, options.most) == (2, 20)
    bound = build(options, ServerConfig(), halver.halving)
    assert bound is not None
