"""Print what a stream costs on its way: in nginx with TLS, and in Ray Serve if its frames passed.

    python tests/measure_proxy.py [--streams 10] [--seconds 10] [--ray]

CPU time and memory of all processes in between, for streams of 48 kHz s16le in frames of 20 ms
that a server answers without converting them.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import typer
from proxy import free_ports, fronted
from websockets.asyncio.client import connect

from clients.link import VoiceLink, open_link
from server.protocol import AudioFrame, Start

TESTS = Path(__file__).parent
START = Start(voice="ada", sample_rate=48_000, encoding="s16le", profile="low")
FRAME_S = 0.02
FRAME = bytes(round(2 * START.sample_rate * FRAME_S))
Frames = Callable[[], Any]


def spent(process: int) -> float:
    """Seconds of CPU that a process took."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(process: int) -> int:
    """Bytes of memory that a process has."""
    status = Path(f"/proc/{process}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line)


def named(part: str) -> list[int]:
    """Processes with `part` in their command, this one left out."""
    found: list[int] = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                command = (folder / "cmdline").read_text()
            except OSError:  # it has ended
                continue
            found += [int(folder.name)] if part in command else []
    return found


async def paced(send: Callable[[], Any]) -> None:
    """A frame whenever one is due, until cancelled."""
    begun, k = time.perf_counter(), 0
    while True:
        k += 1
        await asyncio.sleep(max(0.0, begun + k * FRAME_S - time.perf_counter()))
        await send()


async def told(what: str, processes: Sequence[int], seconds: float, streams: int) -> None:
    """Print what `processes` take while streams run."""
    await asyncio.sleep(1.0)
    begun, before = time.perf_counter(), sum(map(spent, processes))
    await asyncio.sleep(seconds)
    took = time.perf_counter() - begun
    cost = 1000.0 * (sum(map(spent, processes)) - before) / took / streams
    typer.echo(f"{what}: {cost:.1f} ms CPU a second and stream")


@asynccontextmanager
async def halving() -> AsyncGenerator[int, None]:
    """The port of a server, in a process of its own."""
    (port,) = free_ports(1)
    environment = {
        **os.environ,
        "PYTHONPATH": f"{TESTS.parent}:{TESTS}",
        "TIMBRAL_MAX_STREAMS": "200",
    }
    words = [sys.executable, "halver.py", str(port), "", "0"]
    with subprocess.Popen(words, cwd=TESTS, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield port
        finally:
            process.kill()


async def through_nginx(streams: int, seconds: float) -> None:
    """Measure nginx."""
    folder = Path(tempfile.mkdtemp())
    async with halving() as port, fronted(folder, [port]) as (https, _):
        os.environ["SSL_CERT_FILE"] = str(folder / "ca.pem")
        (worker,) = map(int, children(int((folder / "pid").read_text())))
        empty, heard = resident(worker), [0]

        async def talk() -> None:
            async with open_link(f"https://localhost:{https}", START) as link:
                await asyncio.gather(paced(lambda: link.send(FRAME)), listen(link, heard))

        tasks = [asyncio.create_task(talk()) for _ in range(streams)]
        await asyncio.sleep(2.0)
        heard[0] = 0
        begun = time.perf_counter()
        await told(f"nginx, {streams} streams", [worker], seconds, streams)
        answered = heard[0] / START.sample_rate / (time.perf_counter() - begun) / streams
        size = (resident(worker) - empty) / streams
        typer.echo(f"  {size / 1e3:.0f} kB a stream; {answered:.0%} of the sound was answered")
        await ended(tasks)


async def listen(link: VoiceLink, heard: list[int]) -> None:
    """Take what comes."""
    async for event in link.events():
        if isinstance(event, AudioFrame):
            heard[0] += event.samples(START.encoding)


def children(process: int) -> list[str]:
    """The processes that one began."""
    return Path(f"/proc/{process}/task/{process}/children").read_text().split()


async def ended(tasks: Sequence["asyncio.Task[None]"]) -> None:
    """No more of them."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def echoing() -> Any:
    """An application that sends every frame back."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                kind = (await receive())["type"]
                await send({"type": f"{kind}.complete"})
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "bytes": message["bytes"]})

    return app


async def through_ray(streams: int, seconds: float) -> None:
    """Measure what Ray Serve takes to pass frames."""
    import ray  # pyright: ignore[reportMissingImports]
    from ray import serve  # pyright: ignore[reportMissingImports]

    class Echo:
        """Ray's replica."""

    (port,) = free_ports(1)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    entered: Any = serve.deployment(serve.ingress(lambda: echoing())(Echo))
    serve.run(entered.bind())

    async def talk() -> None:
        async with connect(f"ws://127.0.0.1:{port}/", proxy=None, compression=None) as link:
            await asyncio.gather(paced(lambda: link.send(FRAME)), swallow(link))

    processes = named("ray::")
    await told("Ray Serve, nobody there", processes, seconds, 1)
    tasks = [asyncio.create_task(talk()) for _ in range(streams)]
    await told(f"Ray Serve, {streams} streams", processes, seconds, streams)
    await ended(tasks)
    serve.shutdown()
    ray.shutdown()


async def swallow(link: Any) -> None:
    """Take what comes."""
    async for _ in link:
        pass


def main(streams: int = 10, seconds: float = 10.0, ray: bool = False) -> None:
    """Measure."""
    asyncio.run((through_ray if ray else through_nginx)(streams, seconds))


if __name__ == "__main__":
    typer.run(main)
