"""The page on devices of a real sound server: what it plays, another program can hear."""

import browser
import numpy as np
import pytest
import soundserver
from browser import background, begin, delays, tell, visiting
from soundserver import noise, sound_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not browser.CHROMIUM, reason=browser.MISSING),
    pytest.mark.skipif(not soundserver.HERE, reason="PulseAudio is missing here: make system"),
]
ENOUGH = 3  # clean windows: a busy machine makes few
CABLE = [
    *("sink_name=cable", "master=bus", "master_channel_map=front-right", "channels=1"),
    *("channel_map=mono", "remix=no", "sink_properties=device.description=Cable"),
]


def test_what_the_microphone_hears_comes_converted_out_of_the_chosen_output() -> None:
    """The server turns the sign, so that a leak of the raw voice would be seen.

    The noise is wide below `browser.LOW`: a narrow band is like itself upside down half a period
    later.
    """
    with (
        sound_server() as sounds,
        background() as server,
        browser.driving() as driver,
        browser.browser(driver, None, sounds.environment) as chromium,
        visiting(chromium, server.url) as page,
        sounds.feeding(noise(4.0, lowest=30.0)),
    ):
        sounds.control("load-module", "module-remap-sink", *CABLE)
        begin(page)
        page.wait_for_selector("#output option:has-text('Cable')", state="attached")
        page.select_option("#input", label="FakeMic")
        page.select_option("#output", label="Cable")
        late: list[float] = []
        alike: list[float] = []
        for _ in range(4):
            page.wait_for_timeout(1500)
            with sounds.recording() as recording:
                page.wait_for_timeout(2500)
            left, right = recording.read().T
            for found, new in zip((late, alike), delays(left, right), strict=True):
                found += new
            if len(late) >= ENOUGH:
                break
        told = page.inner_text("#budget-total")
    median = 1000 * float(np.median(late))
    tell(f"microphone to virtual cable: median {median:.1f} ms of {len(late)} clean windows")
    tell(f"the page says {told}; windows {np.round(1000 * np.array(late))}, {np.round(alike, 2)}")
    assert len(late) >= ENOUGH
    assert np.median(alike) < -0.9, alike
    assert median < 700
