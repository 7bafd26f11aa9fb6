"""The page in a real browser, with a microphone that hears what the test wants."""

import json
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pytest
from browser import RATE, app, background, begin, delays, heard_delays, record, tell, visiting
from calls import FakeConversion, FakeVoices
from playwright.sync_api import Browser, BrowserType, Page

from server import failures
from server.room import Room
from stream.audio import Audio
from stream.ladder import STEPS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not browser.CHROMIUM, reason=browser.MISSING),
]
SMALL = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def driver() -> Generator[BrowserType, None, None]:
    with browser.driving() as kind:
        yield kind


@pytest.fixture(scope="module")
def chromium(
    driver: BrowserType, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Browser, None, None]:
    """A browser whose microphone hears noise."""
    path = browser.noise_file(tmp_path_factory.mktemp("noise") / "noise.wav")
    with browser.browser(driver, path) as opened:
        yield opened


@pytest.fixture(scope="module")
def mirror() -> Generator[str, None, None]:
    """The address of a server whose voices turn the sign of every sample."""
    with background() as server:
        yield server.url


def level(sound: Audio) -> float:
    return float(np.sqrt(np.mean(sound**2)))


def says(page: Page, word: str) -> None:
    """Wait until the page says so in its banner."""
    page.wait_for_selector(f"#banner:has-text('{word}')")


def test_delays_are_found_with_their_sign() -> None:
    noise = np.random.default_rng(0).standard_normal(3 * RATE).astype(np.float32)
    late, alike = delays(noise, -0.5 * np.roll(noise, 1234))
    assert np.median(late) == 1234 / RATE
    assert np.median(alike) == pytest.approx(-1.0, abs=1e-2)
    assert delays(noise, np.roll(noise, 1)[::-1].copy()) == ([], [])


def test_sound_goes_to_the_server_and_back_whole_and_the_page_says_how_late(
    chromium: Browser, mirror: str
) -> None:
    with visiting(chromium, mirror) as page:
        begin(page)
        page.wait_for_timeout(1500)
        late, alike = heard_delays(page)
        told = 1000 * app(page, "app.figures.report.measured ?? NaN") / RATE
    median = 1000 * float(np.median(late))
    tell(f"worklet to server to worklet: median {median:.1f} ms of {len(late)} clean windows")
    tell(f"the page says {told:.1f} ms at the end; windows {np.round(1000 * np.array(late))}")
    assert np.median(alike) < -0.95
    assert median < 400
    assert np.isnan(told) or abs(told - median) < 200


def test_the_raw_voice_is_heard_only_with_bypass_which_is_off_until_it_is_pressed(
    chromium: Browser, mirror: str
) -> None:
    with visiting(chromium, mirror) as page:
        begin(page)
        page.keyboard.press("b")
        says(page, "Bypass.")
        assert page.get_attribute("#bypass", "aria-pressed") == "true"
        page.wait_for_timeout(700)
        _, alike = heard_delays(page)
        assert np.median(alike) > 0.95
        page.reload()
        begin(page)
        says(page, "Live.")
        assert page.get_attribute("#bypass", "aria-pressed") == "false"


def test_muted_is_silent(chromium: Browser, mirror: str) -> None:
    with visiting(chromium, mirror) as page:
        begin(page)
        page.click("#mute")
        says(page, "Muted.")
        page.wait_for_timeout(1000)
        spoken, heard = record(page, 1.0)
        assert level(spoken) == level(heard) == 0.0


def test_settings_and_presets_survive_a_reload(
    chromium: Browser, mirror: str, tmp_path: Path
) -> None:
    with visiting(chromium, mirror) as page:
        page.click("#voices >> text=ben")
        page.fill("#controls .control:has-text('Pitch') input[type=number]", "-3.5")
        page.keyboard.press("Enter")
        page.check("#profile [value=low]", force=True)
        page.select_option("#appearance", "dark")
        page.check("#noiseSuppression")
        page.click("#preset-save")
        page.fill("#preset-name", "deep")
        page.keyboard.press("Enter")
        page.wait_for_selector("#preset option[value=deep]", state="attached")
        page.click("#reset")
        assert page.input_value("#control-pitch") == "0"
        with page.expect_download() as download:
            page.click("#preset-export")
        download.value.save_as(tmp_path / "presets.json")
        page.reload()
        page.wait_for_selector("#start:not([disabled])")
        assert page.is_checked("#voices [value=ben]")
        assert page.is_checked("#profile [value=low]")
        assert page.is_checked("#noiseSuppression")
        assert page.get_attribute("html", "data-theme") == "dark"
        page.select_option("#preset", "deep")
        assert page.input_value("#control-pitch") == "-3.5"
    held = json.loads((tmp_path / "presets.json").read_text("utf-8"))
    assert [(p["name"], p["voice"], p["controls"]["pitch"]) for p in held["presets"]] == [
        ("deep", "ben", -3.5)
    ]
    with visiting(chromium, mirror) as page:  # another listener takes it over
        page.set_input_files("#preset-file", tmp_path / "presets.json")
        page.wait_for_selector("#preset option[value=deep]", state="attached")
        page.set_input_files("#preset-file", Path(__file__))
        page.wait_for_selector(".toast.bad:has-text('not JSON')")


def test_controls_and_voices_change_while_speaking(chromium: Browser) -> None:
    voices = FakeVoices(lambda: FakeConversion(hop=browser.HOP, lag=0))
    with background(voices) as server, visiting(chromium, server.url) as page:
        begin(page)
        page.keyboard.press("]")
        page.keyboard.press("]")
        page.wait_for_timeout(500)
        assert voices.opened[-1].controls.pitch == 2.0
        page.click("#voices >> text=ben")
        says(page, "“ben” speaks")
        assert (voices.opened[-1].voice, len(voices.opened)) == ("ben", 1)
        page.click("#voices >> text=slow")  # has another latency: that takes a stream of its own
        says(page, "“slow” speaks")
        assert len(voices.opened) == 2
        assert voices.opened[-1].controls.pitch == 0.0  # the fake one does not take it from `start`
        page.click("#more summary")
        page.check("#control-f0_methods-rmvpe")
        page.wait_for_timeout(500)
        assert voices.opened[-1].controls.f0_methods == ("swift", "rmvpe")


def test_voices_are_listened_to_added_and_deleted(chromium: Browser, tmp_path: Path) -> None:
    class Recorded(FakeVoices):
        def preview(self, voice: str) -> Path | None:
            return tmp_path / "preview.wav" if voice == "ben" else None

    browser.noise_file(tmp_path / "preview.wav", 1.0)
    (tmp_path / "zoe.pth").write_bytes(b"weights")
    (tmp_path / "zoe.index").write_bytes(b"rows")
    (tmp_path / "bad.pth").write_bytes(b"evil")
    voices = Recorded()
    with (
        background(voices, home=tmp_path) as server,
        visiting(chromium, server.url) as page,
    ):
        page.click("[aria-label='Listen to ben']")
        page.wait_for_selector("[aria-label='Listen to ben'] use[href='#i-stop']", state="attached")
        page.wait_for_selector("[aria-label='Listen to ben'] use[href='#i-play']", state="attached")
        page.click("[aria-label='Listen to slow']")
        page.wait_for_selector(".toast.bad:has-text('no preview')")
        page.set_input_files("#voice-files", [tmp_path / "zoe.pth", tmp_path / "zoe.index"])
        page.wait_for_selector(".toast:has-text('Added “zoe”')")
        assert voices.added == [(None, [("zoe.pth", b"weights"), ("zoe.index", b"rows")])]
        page.set_input_files("#voice-files", tmp_path / "bad.pth")
        page.wait_for_selector(".toast.bad:has-text('evil')")
        assert page.locator("[aria-label='Delete ada']").count() == 0  # the server's default
        page.click("[aria-label='Delete ben']")
        page.click("#remove-dialog >> text=Cancel")
        page.click("[aria-label='Delete ben']")
        page.click("#remove-dialog [type=submit]")
        page.wait_for_selector(".toast:has-text('Deleted “ben”')")
        assert voices.removed == ["ben"]


def test_a_server_that_dies_is_silence_and_the_stream_comes_back_by_itself(
    chromium: Browser,
) -> None:
    with background() as server, visiting(chromium, server.url) as page:
        begin(page)
        server.stop()
        says(page, "Server away")
        page.wait_for_timeout(600)
        spoken, heard = record(page, 1.0)
        assert level(spoken) > 0.001
        assert level(heard) == 0.0
        server.start()
        page.wait_for_selector("body[data-state=live]")
        page.wait_for_timeout(500)
        _, heard = record(page, 1.0)
        assert level(heard) > 0.001


def test_after_a_stall_of_the_server_the_delay_is_soon_what_it_was(chromium: Browser) -> None:
    stalls: list[float] = []

    class Stalling(FakeConversion):
        def step(self, block: Audio) -> Audio:
            while stalls:
                time.sleep(stalls.pop())
            return super().step(block)

    def delay(page: Page) -> float:
        """The least of half a second: what a busy machine adds for a moment is left out."""
        found: list[float] = []
        for _ in range(4):
            page.wait_for_timeout(125)
            found.append(app(page, "app.figures.report.delay_ms"))
        return min(found)

    voices = FakeVoices(lambda: Stalling(hop=browser.HOP, lag=0))
    with background(voices) as server, visiting(chromium, server.url) as page:
        begin(page)
        page.wait_for_timeout(1500)
        before = delay(page)
        stalls.append(0.25)
        page.wait_for_timeout(2500)
        after = delay(page)
        skips = app(page, "app.figures.report.skips")
    tell(f"delay of the buffer {before:.1f} ms, 3 s after a stall {after:.1f} ms, {skips} skips")
    assert skips >= 1
    assert after < before + 100


def test_a_full_server_is_told_and_tried_again_when_it_said(
    chromium: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "RETRY_S", 2)
    with (
        background(max_streams=1) as server,
        visiting(chromium, server.url) as first,
        visiting(chromium, server.url) as second,
    ):
        begin(first)
        second.click("#start:not([disabled])")
        says(second, "Server full")
        says(second, "All 1 streams")
        says(second, "Next try in 2 s.")
        says(second, "Next try in 1 s.")
        first.click("#start")
        says(first, "Ready.")
        second.wait_for_selector("body[data-state=live]")


def test_what_a_busy_server_gives_up_is_said_and_what_it_does_to_the_latency(
    chromium: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    with background() as server, visiting(chromium, server.url, viewport=SMALL) as page:
        begin(page)
        assert "busy" not in page.inner_text("#banner")
        monkeypatch.setattr(Room, "step", STEPS[3])
        says(page, "The server is busy: longer pieces are converted at once, latency is 5 ms more.")
        assert page.get_attribute("#banner-text", "title")
        page.click("#figures summary")
        page.wait_for_selector("#details:has-text('longer hops')")
        assert page.evaluate("document.documentElement.scrollWidth") <= SMALL["width"]
        monkeypatch.setattr(Room, "step", STEPS[0])
        page.wait_for_selector("#banner:not(:has-text('busy'))")
        assert not page.get_attribute("#banner-text", "title")


def test_what_keeps_sound_away_is_told(chromium: Browser, mirror: str) -> None:
    with visiting(chromium, mirror, allowed=False) as page:
        page.click("#start:not([disabled])")
        says(page, "Microphone blocked")
        assert page.inner_text("#start") == "Start"
    with visiting(chromium, mirror) as page:
        page.add_init_script("Object.defineProperty(window, 'isSecureContext', { value: false })")
        page.reload()
        says(page, "No secure connection")
    with visiting(chromium, mirror) as page:
        page.add_init_script(
            "navigator.mediaDevices.getUserMedia = () => "
            "Promise.reject(new DOMException('none', 'NotFoundError'))"
        )
        page.reload()
        page.click("#start:not([disabled])")
        says(page, "No microphone")


def test_a_voice_that_is_missing_is_told_and_another_one_speaks(chromium: Browser) -> None:
    class Haunted(FakeVoices):
        def cards(self) -> list[dict[str, Any]]:
            return [*super().cards(), {"name": "ghost", "description": "deleted a moment ago"}]

    with background(Haunted()) as server, visiting(chromium, server.url) as page:
        page.click("#voices >> text=ghost")
        page.click("#start:not([disabled])")
        says(page, "Voice missing.")
        page.click("#voices >> text=ben")
        says(page, "“ben” speaks")
        page.click("#voices >> text=ghost")
        page.wait_for_selector(".toast.bad:has-text('ghost')")
        assert page.is_checked("#voices [value=ben]")


def test_a_token_is_asked_for_and_kept_only_if_wanted(chromium: Browser) -> None:
    with background(token="a-long-secret") as server:
        with visiting(chromium, server.url) as page:
            page.click("text=Enter token")
            page.fill("#token-text", "wrong-secret")
            page.keyboard.press("Enter")
            says(page, "Token needed")
            page.click("#banner-action")
            page.fill("#token-text", "a-long-secret")
            page.keyboard.press("Enter")
            begin(page)
            assert "secret" not in page.evaluate("JSON.stringify(localStorage)")
            page.reload()
            says(page, "Token needed")
        with visiting(chromium, f"{server.url}/#token=a-long-secret") as page:
            begin(page)
            assert "token" not in page.url


def test_a_microphone_that_goes_is_silence_and_comes_back(chromium: Browser, mirror: str) -> None:
    with visiting(chromium, mirror) as page:
        begin(page)
        page.evaluate(
            "import('/web/main.js').then(({ app }) => "
            "app.session.microphone.dispatchEvent(new Event('ended')))"
        )
        says(page, "Microphone gone")
        page.evaluate("navigator.mediaDevices.dispatchEvent(new Event('devicechange'))")
        says(page, "Live.")


def test_on_a_small_screen_all_fits_and_the_actions_stay_in_reach(
    chromium: Browser, mirror: str
) -> None:
    with visiting(chromium, mirror, viewport=SMALL, has_touch=True) as page:
        page.click("#more summary")
        begin(page)
        wide = "document.documentElement.scrollWidth"
        assert page.evaluate(wide) <= SMALL["width"]
        box = page.locator("#mute").bounding_box()
        assert box
        assert box["y"] + box["height"] <= SMALL["height"]


def test_everything_is_named_and_reached_by_keys(chromium: Browser, mirror: str) -> None:
    unnamed = """[...document.querySelectorAll('button, input, select, canvas, [role]')].filter(
        (e) => e.checkVisibility() && !(e.ariaLabel || e.textContent.trim() || e.labels?.length
            || e.getAttribute('aria-labelledby') || e.getAttribute('role') === 'log'))
        .map((e) => e.outerHTML.slice(0, 120))"""
    with visiting(chromium, mirror) as page:
        page.wait_for_selector("#start:not([disabled])")
        page.click("#more summary")
        assert page.evaluate(unnamed) == []
        page.keyboard.press("?")
        page.wait_for_selector("#keys-dialog[open] >> text=Bypass")
        page.keyboard.press("m")  # not while a dialog is open
        page.keyboard.press("Escape")
        reached: set[str] = set()
        page.focus("#keys")
        for _ in range(70):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.id"))
        assert {
            "start",
            "control-pitch",
            "control-auto_pitch",
            "preset",
            "input",
            "output",
        } <= reached
        assert {"control-f0_methods-rmvpe", "control-autotune", "track", "appearance"} <= reached


def test_speech_comes_back_in_another_voice(driver: BrowserType) -> None:
    with (
        browser.starter() as url,
        browser.browser(driver, browser.SPEECH) as chromium,
        visiting(chromium, url) as page,
    ):
        page.check("#profile [value=low]", force=True)
        begin(page)
        page.wait_for_timeout(1500)
        spoken, heard = record(page, 2.5)
        tell("starter: " + page.inner_text("#budget").replace("\n", " "))
        assert page.inner_text("#version").startswith("Server ")
    assert level(heard) > 0.1 * level(spoken)
    late, alike = delays(spoken, heard, window=0.3)
    assert len(late) <= 2, f"the raw voice was heard {late} {alike}"
