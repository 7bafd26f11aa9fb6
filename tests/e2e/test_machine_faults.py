"""What breaks in a server's machine while streams run: its clock, its disk, its voices."""

import asyncio
import io
import json
import shutil
import subprocess
import sys
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from crowds import RATE, SOON_S, Served, Talker, all_talk, served, serving_timbral, talker, talking
from dial import dialled, rest

from server.protocol import Failure, SetVoice, Start, VoiceNow
from stream.models.store import PACKAGE, Store
from stream.models.voice import CARD

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc"),
]

PATIENT = {"max_late_s": 2.0}  # a machine that runs tests may itself stall for a moment
DAY_S = 86_400
SHIFTED_CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static long shift(void) {
    static const volatile long *shared;
    if (!shared) {
        int file = open(getenv("CLOCK_SHIFT"), O_RDONLY);
        shared = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    }
    return *shared;
}

int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(id, now);
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) now->tv_sec += shift();
    return failed;
}

time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}
"""


async def two(stack: AsyncExitStack, server: Served) -> list[Talker]:
    """Two streams, in two voices, which should notice nothing."""
    return [await stack.enter_async_context(talker(server.url, v)) for v in ("ada", "ben")]


async def ask(method: str, url: str, **options: Any) -> tuple[int, str]:
    """Status and text of the answer."""
    async with aiohttp.ClientSession() as http, http.request(method, url, **options) as answer:
        return answer.status, await answer.text()


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_a_wall_clock_that_jumps_moves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day on, two back, ten years on; every clock of the process but the monotonic ones."""
    source, library, shift = tmp_path / "shift.c", tmp_path / "shift.so", tmp_path / "shift"
    source.write_text(SHIFTED_CLOCK)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    shift.write_bytes(bytes(8))
    monkeypatch.setenv("CLOCK_SHIFT", str(shift))

    def jump(seconds: int) -> None:
        with shift.open("r+b") as file:
            file.write(seconds.to_bytes(8, sys.byteorder, signed=True))

    async def main(server: Served) -> None:
        async with AsyncExitStack() as stack:
            talkers = await two(stack, server)
            talk = asyncio.create_task(all_talk(talkers, 3.0))
            lost = await stack.enter_async_context(talker(server.url))
            lost.link.transport.abort()
            years: set[int] = set()
            for seconds in (DAY_S, -DAY_S, 3650 * DAY_S, 0):
                jump(seconds)
                await asyncio.sleep(0.6)
                logged = (await ask("GET", f"{server.url}/metrics"))[1]
                assert "timbral_ready 1" in logged
                years.add(time.gmtime(await date(server)).tm_year)
            assert len(years) > 1, "the clock did not jump"
            secret = lost.ready.resume
            back = await stack.enter_async_context(talker(server.url, resume=secret))
            assert back.ready.resumed
            await talk
            for each in talkers:
                each.check_whole()
            assert (await server.figures())["timbral_loop_lag_seconds"] < 2.0

    async def date(server: Served) -> float:
        async with aiohttp.ClientSession() as http, http.get(f"{server.url}/healthz") as answer:
            told = answer.headers["Date"]
            return time.mktime(time.strptime(told, "%a, %d %b %Y %H:%M:%S %Z"))

    with served(limits=PATIENT, preload=library) as server:
        asyncio.run(main(server))


def can_mount() -> bool:
    """Whether this user may have a disk of its own."""
    made = subprocess.run(
        ["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"],
        capture_output=True,
        check=False,
    )
    return made.returncode == 0


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_a_full_disk_is_told_and_streams_go_on(tmp_path: Path) -> None:
    """Voices, files, the audit log and the minutes used are all on it."""
    if not can_mount():
        pytest.skip("may not mount a small disk")
    home = tmp_path / "home"
    home.mkdir()
    mount = f'mount -t tmpfs -o size=2m none {home} && exec "$@"'
    words = ["unshare", "-Urm", "sh", "-c", mount, "sh"]

    async def main(server: Served) -> None:
        there = Path(f"/proc/{server.process.pid}/root{home}")
        audit, url = there / "audit.jsonl", server.url
        async with AsyncExitStack() as stack:
            talkers = await two(stack, server)
            talk = asyncio.create_task(all_talk(talkers, 3.0))
            for path in ("/v1/voices?filename=eve.pth", "/v1/convert"):
                status, text = await ask("POST", url + path, data=io.BytesIO(bytes(3 << 20)))
                assert (status, "no room" in text) == (507, True), path
            with suppress(OSError):
                (there / "filler").write_bytes(bytes(4 << 20))
            status, _ = await ask("POST", f"{url}/v1/voices?filename=eve.pth", data=b"x")
            assert status == 507
            async with talker(url) as newcomer:  # it cannot be written down
                await newcomer.talk(0.3)
                await newcomer.stop()
                newcomer.check_whole()
            (there / "filler").unlink()
            status, _ = await ask("POST", f"{url}/v1/voices?filename=eve.pth", data=b"x")
            assert status == 201
            assert [p.name for p in (there / "voices").iterdir()] == [], "something stayed"
            told = [json.loads(line)["event"] for line in audit.read_text().splitlines()]
            assert told[-1] == "voice added"
            await talk
            for each in talkers:
                each.check_whole()
            assert (await server.figures())["timbral_ready"] == 1.0

    with served(words, home=home, audit=home / "audit.jsonl", limits=PATIENT) as server:
        asyncio.run(main(server))


def voices(home: Path, *names: str) -> None:
    """The starter under other names, in the store at `home`."""
    for name in names:
        folder = home / "voices" / name
        shutil.copytree(PACKAGE / "starter", folder)
        card = json.loads((folder / CARD).read_text("utf-8"))
        (folder / CARD).write_text(json.dumps({**card, "name": name}))


def test_voices_come_and_go_while_they_are_spoken_with(tmp_path: Path) -> None:
    """Deleted over HTTP, and from outside; loaded while others speak."""
    voices(tmp_path, "mara", "nils", "eve")
    relaxed: dict[str, Any] = {"profile": "relaxed"}

    async def refused(server: Served, voice: str) -> None:
        async with dialled(server.url) as link:
            await link.send(Start(voice=voice, sample_rate=RATE).model_dump_json())
            (told,), _ = await rest(link)
            assert isinstance(told, Failure)
            assert (told.code, link.close_code) == ("voice_not_found", 1008)

    async def switched(each: Talker, voice: str) -> object:
        await each.tell(SetVoice(voice=voice))
        until = each.now + SOON_S
        while each.now < until:
            told = [m for m in each.messages if isinstance(m, Failure | VoiceNow)]
            if told:
                each.messages.remove(told[-1])
                return told[-1]
            await asyncio.sleep(0.02)
        return None

    async def main(server: Served) -> None:
        async with AsyncExitStack() as stack:
            mara, well = [
                await stack.enter_async_context(talker(server.url, name, **relaxed))
                for name in ("mara", "starter")
            ]
            async with talking(mara, well):
                assert await switched(well, "nils") == VoiceNow(voice="nils")
                assert (await ask("DELETE", f"{server.url}/v1/voices/mara"))[0] == 204
                Store(tmp_path).remove("nils")
                at = mara.heard
                for gone in ("mara", "nils"):
                    await refused(server, gone)
                told = await switched(well, "mara")
                assert isinstance(told, Failure)
                assert (told.code, told.fatal) == ("voice_not_found", False)
                for there in ("eve", "starter-low"):  # each is loaded now
                    assert await switched(well, there) == VoiceNow(voice=there)
                await asyncio.sleep(0.5)
            for each in (mara, well):
                each.check()
                assert each.close_code == 1000
                assert (each.heard, each.concealed) == (each.position, 0.0)
            assert mara.heard > at, "it went with its voice"

    never_late = {"limits_max_late_s": 3600.0, "easing": "false"}  # a busy machine is no failure
    with serving_timbral(tmp_path, **never_late) as server:
        asyncio.run(main(server))
