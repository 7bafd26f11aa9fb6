"""The OBS filter inside libobs, against the real server around voices that can be compared."""

import signal
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from obs_bench import ROOT, Server, build, display, inside_obs, require_libobs, tell
from scipy.io import wavfile
from scipy.signal import resample_poly

pytestmark = pytest.mark.slow

TALKING = 4
NONE, ENCRYPTED, AWAY, STRANGER, TOKEN, VOICE = 1, 3, 6, 7, 9, 11
DELAY = 500
SPEECH = ROOT / "tests/speech/sense-and-sensibility-0870.wav"


@pytest.fixture(scope="module")
def screen() -> Generator[str, None, None]:
    require_libobs()
    with display() as (name, _):
        yield name


@pytest.fixture(scope="module")
def plain(screen: str) -> str:
    build("plain")
    return screen


@pytest.fixture
def server() -> Generator[Server, None, None]:
    server = Server()
    yield server
    server.kill()


def source(of: Server, **settings: Any) -> dict[str, Any]:
    fixed = {"delay_mode": "fixed", "delay_ms": DELAY, "timing": "sync", "voice": "ada"}
    return {"server": of.url, **fixed, **settings}


def test_a_whole_evening(plain: str, server: Server, tmp_path: Path) -> None:
    """Server late, changes while talking, a source that jumps, a server that stalls and dies."""
    sources = [
        source(server),
        source(server, timing="live", voice="ben"),
        source(server, away="original"),
        source(server, bypass=True),
        source(server, wet=50),
    ]
    with inside_obs(tmp_path, plain, *sources) as obs:
        obs.wait(0, trouble=AWAY)
        obs.settle(0, 0.0, DELAY)  # silence
        obs.settle(2, 1.0, DELAY)  # the original, because it was asked for
        server.start()
        obs.wait(0, state=TALKING)
        errors = [obs.settle(i, g, DELAY) for i, g in enumerate([-0.5, 0.25, -0.5, 1.0, 0.25])]
        assert max(errors) < -80
        assert [obs.shift_ns(i) for i in (0, 1)] == [DELAY * 1_000_000, 0]

        obs.set(0, pitch=12)
        obs.settle(0, -1.0, DELAY)
        obs.set(0, pitch=0, voice="ben")
        obs.settle(0, 0.25, DELAY)
        assert obs.stats(0)["sessions"] == 1, "a change of voice took a new connection"

        for restarts, jump_ms in enumerate((1500, -700), 1):
            obs.ask("jump", 0, str(jump_ms))
            obs.wait(0, restarts=restarts)
            obs.pass_time(DELAY)
            obs.settle(0, 0.25, DELAY)
        assert obs.stats(0)["sessions"] == 1
        obs.set(0, delay_ms=DELAY + 30)  # OBS would smooth so small a change away
        obs.settle(0, 0.25, DELAY + 30)
        assert obs.shift_ns(0) == (DELAY + 30) * 1_000_000
        obs.set(1, delay_ms=800)
        obs.settle(1, 0.25, 800)

        server.send(signal.SIGSTOP)
        obs.settle(1, 0.0, 800)
        server.send(signal.SIGCONT)
        obs.settle(1, 0.25, 800)
        assert obs.stats(1)["sessions"] == 1, "a stall took a new connection"

        server.kill()
        obs.settle(0, 0.0, DELAY)
        assert not obs.tail(0)[1].any(), "what is to be silence is not"
        obs.settle(2, 1.0, DELAY)
        server.start()
        for i, gain, delay in [(0, 0.25, DELAY + 30), (1, 0.25, 800), (2, -0.5, DELAY)]:
            obs.settle(i, gain, delay)
        cost = obs.stats(0)
        tell(f"filter_audio: mean {cost['mean_cost_us']:.1f}, worst {cost['worst_cost_us']:.0f} us")
        assert cost["mean_cost_us"] <= 60
        end = obs.quit()
    assert end["leaks"] == 0
    assert end["shutdown_ms"] < 3000


def test_hotkeys_and_the_dialog(plain: str, server: Server, tmp_path: Path) -> None:
    server.start()
    with inside_obs(tmp_path, plain, source(server), source(server)) as obs:
        obs.settle(0, -0.5, DELAY)
        assert obs.ask("press", 0, "timbral.bypass.voice 0")["pressed"]
        obs.settle(0, 1.0, DELAY)
        obs.ask("press", 0, "timbral.bypass.voice 0")
        obs.settle(0, -0.5, DELAY)
        obs.ask("press", 0, "timbral.push.voice 0")
        obs.settle(0, 1.0, DELAY)
        obs.ask("release", 0, "timbral.push.voice 0")
        obs.settle(0, -0.5, DELAY)
        obs.ask("press", 0, "timbral.next.voice 0")
        obs.settle(0, 0.25, DELAY)
        for _ in range(12):
            obs.ask("press", 0, "timbral.up.voice 0")
        obs.settle(0, 0.5, DELAY)
        obs.settle(1, -0.5, DELAY)  # the other source's filter heard none of that
        shown = obs.ask("show", 0)["properties"]
        items = {one["name"]: one for one in shown}
        assert [item["value"] for item in items["voice"]["items"]] == ["ada", "ben", "slow"]
        assert "Converting: ben" in items["status"]["text"]
        assert not items["away_warning"]["shown"]
        assert items["delay_ms"]["shown"]
        obs.set(0, away="original")
        shown = obs.ask("show", 0, "copy")
        assert {one["name"]: one["shown"] for one in shown["properties"]}["away_warning"]
        assert "voice ben" in shown["diagnostics"]
        server.send(signal.SIGUSR1)
        obs.wait_for(0, "status", "longer pieces at once, 20 ms later")
        server.send(signal.SIGUSR2)
        obs.wait_for(0, "status", "late in the last minute", but="busy")
        obs.ask("show", 0, "test")
        obs.ask("show", 0, "refresh")
        obs.wait(0, trouble=NONE)
        assert obs.quit()["leaks"] == 0


def test_the_proposed_delay_is_small_and_safe(plain: str, server: Server, tmp_path: Path) -> None:
    server.start()
    auto: dict[str, Any] = {"server": server.url, "voice": "ada"}
    with inside_obs(tmp_path, plain, auto) as obs:
        obs.wait(0, state=TALKING)
        time.sleep(2.5)  # the server has told what computing takes
        stats = obs.stats(0)
        allowed = stats["latency_ms"] + stats["compute_p99_ms"] + 50
        tell(
            f"proposed {stats['safe_ms']} ms for {stats['latency_ms']:.0f} ms of the server's and "
            f"{stats['compute_p99_ms']:.1f} ms of computing; used {stats['delay_ms']} ms"
        )
        assert stats["latency_ms"] < stats["safe_ms"] <= allowed
        obs.settle(0, -0.5, obs.stats(0)["delay_ms"])
        assert obs.quit()["leaks"] == 0


def test_what_the_server_refuses_is_told(plain: str, server: Server, tmp_path: Path) -> None:
    server.start("a-long-secret")
    sources = [
        source(server, token="another-secret"),
        source(server, token="a-long-secret", voice="eve"),
        source(server, server="wss://example.org"),
        source(server, token="a-long-secret"),
    ]
    with inside_obs(tmp_path, plain, *sources, low_latency=True) as obs:
        obs.wait(0, trouble=TOKEN)
        assert "eve" in obs.wait(1, trouble=VOICE)["text"]
        assert "ssh -L" in obs.wait(2, trouble=ENCRYPTED)["status"]
        obs.wait(3, state=TALKING)
        obs.set(3, timing="auto")
        assert not obs.stats(3)["sync"], "in sync, nothing would be heard with low latency"
        obs.set(0, token="a-long-secret")
        obs.settle(0, -0.5, DELAY)
        obs.set(3, voice="slow")  # cannot be changed to: a new conversation
        obs.wait(3, state=TALKING, sessions=2)
        obs.settle(3, 1.0, DELAY)
        assert obs.quit()["leaks"] == 0


@pytest.mark.parametrize(
    ("rate", "speakers", "frames"), [(44_100, 6, 441), (48_000, 1, 4096)], ids=["5.1", "mono"]
)
def test_other_rates_layouts_and_packets(
    plain: str, server: Server, tmp_path: Path, rate: int, speakers: int, frames: int
) -> None:
    server.start()
    layout = {"rate": rate, "speakers": speakers, "frames": frames}
    with inside_obs(tmp_path, plain, source(server), **layout) as obs:
        # of 5.1 the centre counts whole, left and right by half: twice the sound in each
        gain = -1.0 if speakers == 6 else -0.5
        obs.settle(0, gain, DELAY)
        _, out = obs.tail(0)
        heard = np.abs(out).max(axis=0) > 0
        assert list(heard) == [channel < 2 for channel in range(obs.channels)]
        assert obs.quit()["leaks"] == 0


def test_the_starter_voice_is_heard(plain: str, tmp_path: Path) -> None:
    rate, pcm = wavfile.read(SPEECH)
    speech = resample_poly(pcm / 32768.0, 48_000, rate)
    served = Server("-m", "timbral", "serve", "--port", "{port}")
    served.start()
    auto: dict[str, Any] = {"server": served.url, "voice": "starter", "profile": "quality"}
    try:
        with inside_obs(tmp_path, plain, auto, sound=speech) as obs:
            obs.wait(0, state=TALKING)
            obs.pass_time(4000)
            _, out = obs.tail(0, 3.0)
            stats = obs.stats(0)
            tell("starter: delay {delay_ms} ms, computing {compute_p99_ms:.0f} ms".format(**stats))
            assert stats["voice"] == "starter"
            loudness = float(np.sqrt(np.mean(out[:, 0] ** 2)))
            assert 0.003 < loudness < 0.5
            assert obs.quit()["leaks"] == 0
    finally:
        served.kill()


@pytest.mark.parametrize("kind", ["asan", "tsan"])
def test_sanitizers_find_nothing(screen: str, server: Server, tmp_path: Path, kind: str) -> None:
    build(kind)
    server.start()
    with inside_obs(tmp_path, screen, source(server), source(server), kind=kind) as obs:
        obs.settle(0, -0.5, DELAY)
        obs.set(0, voice="ben", delay_ms=700)
        obs.settle(0, 0.25, 700)
        obs.ask("show", 0, "copy")
        churned = obs.ask("churn", 1, "200" if kind == "asan" else "40")
        tell(f"{kind}: a filter took {churned['worst_ms']:.0f} ms at most to come and go")
        assert churned["worst_ms"] < 2000
        server.kill()
        obs.settle(0, 0.0, 700)
        assert obs.quit()["leaks"] == 0
