"""A real OBS records what the filter makes of a film, while all that can happen to it happens."""

import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from obs_bench import Server, build, display, require, require_libobs, tell
from real_obs import (
    SOURCE,
    Found,
    find_burst,
    make_clip,
    read_recording,
    read_screen,
    real_obs,
    write_png,
)

from stream.audio import Audio

pytestmark = pytest.mark.slow

CLIP_S = 8
QT_CRASHED = -11
DELAY_MS = 700  # more than is needed: this is about OBS, and the machine may be busy
STAGE_S = 2.0
CONVERTED, LOUDER, ORIGINAL = 0.5, 0.707, 1.0  # of the clip's loudness
TOLERANCE_MS = 64.0  # OBS moves a late source by whole ticks of 21 ms; see the film without filter


@dataclass
class Evening:
    """What is left of a run of OBS."""

    bursts: list[Found]
    offsets_ms: list[float]
    after: Audio  # what was recorded once the server was dead
    screen: NDArray[np.uint8]
    log: str
    status: int


def settings(server: Server) -> dict[str, Any]:
    fixed = {"delay_mode": "fixed", "delay_ms": DELAY_MS, "timing": "sync"}
    return {"server": server.url, "voice": "ada", **fixed}


def record(home: Path, screen: str, mirror: Path, server: Server, clip: Path) -> Evening:
    sweep = make_clip(clip, CLIP_S)
    server.start()
    with real_obs(home, screen, clip, settings(server)) as obs:
        time.sleep(1.5)  # the filter connects
        obs.call("StartRecord")
        time.sleep(2 * STAGE_S)
        obs.set_filter(pitch=6)
        time.sleep(STAGE_S)
        obs.call("TriggerHotkeyByName", hotkeyName="timbral.bypass.Voice")
        time.sleep(STAGE_S)
        obs.call("TriggerHotkeyByName", hotkeyName="timbral.bypass.Voice")
        obs.call("OpenInputFiltersDialog", inputName=SOURCE)
        time.sleep(STAGE_S)
        picture = read_screen(mirror)
        server.kill()
        time.sleep(STAGE_S)
        path = Path(obs.call("StopRecord")["outputPath"])
        obs.call("RemoveInput", inputName=SOURCE)  # and with it the dialog
        time.sleep(1.0)
        status = obs.quit()
    log = (home / "log").read_text(errors="replace")
    film = read_recording(path)
    bursts = [find_burst(film, sweep, flash) for flash in film.flashes[1:-1]]
    offsets = [
        1000 * (burst.time - flash)
        for burst, flash in zip(bursts, film.flashes[1:-1], strict=True)
        if burst.gain > 0.2
    ]
    end = round((film.flashes[-1] - 0.1) * 48_000)
    if status == QT_CRASHED:
        status, log = end_well(home.parent / "again", screen, server, clip)
    return Evening(bursts, offsets, film.sound[end - 24_000 : end], picture, log, status)


def end_well(home: Path, screen: str, server: Server, clip: Path) -> tuple[int, str]:
    """A short run of OBS, up to three times: its status and log.

    On a starved machine one in six runs of OBS 29 crashes while its window closes, with this,
    another filter or none: events of a window that is gone, in Qt's own code.
    """
    status, log = QT_CRASHED, ""
    for attempt in range(3):
        if status == QT_CRASHED:
            own = home / str(attempt)
            own.mkdir(parents=True)
            with real_obs(own, screen, clip, settings(server)) as obs:
                time.sleep(1.0)
                status = obs.quit()
            log = (own / "log").read_text(errors="replace")
    return status, log


@pytest.fixture(scope="module")
def evening(tmp_path_factory: pytest.TempPathFactory) -> Generator[Evening, None, None]:
    require_libobs()
    require("obs")
    build("plain")
    home = tmp_path_factory.mktemp("obs")
    server = Server()
    try:
        with display("1280x1024") as (screen, mirror):
            yield record(home, screen, mirror, server, home / "clip.mkv")
    finally:
        server.kill()


def test_what_is_recorded_is_the_converted_voice(evening: Evening) -> None:
    gains = [burst.gain for burst in evening.bursts]
    tell("gains " + " ".join(f"{gain:.2f}" for gain in gains))
    assert min(abs(gain - CONVERTED) for gain in gains) < 0.03


def test_a_setting_changed_by_another_program_is_heard(evening: Evening) -> None:
    assert min(abs(burst.gain - LOUDER) for burst in evening.bursts) < 0.04


def test_a_hotkey_is_obeyed(evening: Evening) -> None:
    assert min(abs(burst.gain - ORIGINAL) for burst in evening.bursts) < 0.05


def test_sound_and_picture_stay_together(evening: Evening) -> None:
    tell("A/V offset " + " ".join(f"{offset:+.0f}" for offset in evening.offsets_ms) + " ms")
    assert len(evening.offsets_ms) >= 6
    assert abs(float(np.median(evening.offsets_ms))) < TOLERANCE_MS


def test_nothing_is_heard_when_the_server_dies(evening: Evening) -> None:
    assert np.abs(evening.after).max() < 1e-4


def test_obs_ends_well_and_nothing_leaks(evening: Evening) -> None:
    assert evening.status == 0
    assert "Number of memory leaks: 0" in evening.log


def test_the_dialog_is_shown(evening: Evening, tmp_path: Path) -> None:
    write_png(tmp_path / "dialog.png", evening.screen)
    assert len(np.unique(evening.screen.astype(np.uint32) @ (65536, 256, 1))) > 50
