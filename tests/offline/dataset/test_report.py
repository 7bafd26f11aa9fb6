from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from offline.cache import Cache
from offline.dataset import DatasetSettings, Inspection, inspect, prepare, write_report
from offline.dataset.inspection import WHAT_TO_DO, notes
from offline.dataset.quality import Pitch, Quality
from stream.audio import Audio
from stream.errors import AudioError

SHORT = DatasetSettings(least_s=2.0)
GOOD = Quality(
    seconds=10.0,
    source_rate=48_000,
    bandwidth_hz=14_000.0,
    peak_db=-3.0,
    clipped=0.0,
    speech_db=-20.0,
    noise_db=-60.0,
    threshold_db=-50.0,
    silence=0.2,
    tonal=0.01,
)
STEADY = Pitch(voiced=0.6, median_hz=120.0, low_hz=90.0, high_hz=200.0, counts=(), unsteady=0.1)


class Text(HTMLParser):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text, self.tags = "", list[str]()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def looked(folder: Path, cache: Cache, home: Path, clips: list[Audio]) -> Inspection:
    """At three good recordings, a clipped one with a bad name, a high one, a copy and a ruin."""
    loud = np.clip(6 * clips[3], -1.0, 1.0)
    soundfile.write(folder / "<b>loud & bad.wav", loud, 16_000)
    high = soxr.resample(clips[2], 16_000 * 1.8, 16_000)
    soundfile.write(folder / "high.wav", high, 16_000)
    (folder / "copy.wav").write_bytes((folder / "one.wav").read_bytes())
    (folder / "ruin.wav").write_bytes(b"RIFF" + bytes(99))
    return inspect([folder], settings=SHORT, cache=cache, home=home)


def advised(looked: Inspection, *words: str) -> str:
    """The one piece of advice with all these words in it."""
    [found] = [a for a in looked.advice if all(word in a.text for word in words)]
    return found.mood


def test_every_fault_is_named_with_what_to_do(looked: Inspection) -> None:
    assert looked.usable
    assert advised(looked, "s of speech") == "warn"
    assert advised(looked, "ruin.wav is left out") == "bad"
    assert advised(looked, "<b>loud & bad.wav", "peaks are cut off") == "bad"
    assert advised(looked, "high.wav", "somebody else") == "warn"
    assert advised(looked, "one.wav is a copy of copy.wav") == "warn"
    assert advised(looked, "<b>loud & bad.wav", "three.wav", "the same sound") == "warn"
    clean = [row for row in looked.rows if row.name == "two.wav"]
    assert clean[0].notes == ()


def test_the_page_tells_it_all_and_shows_it(
    looked: Inspection, folder: Path, cache: Cache, home: Path
) -> None:
    data = prepare([folder], settings=SHORT, cache=cache, home=home)
    page = Text(write_report(looked, folder / "report.html", data))
    for advice in looked.advice:
        assert advice.text in page.text
    for row in looked.rows:
        assert row.name in page.text
    [held_out] = {clip.recording for clip in data.held_out}
    assert f"never learnt from: {held_out}." in page.text
    assert page.tags.count("audio") == len(looked.rows) == 5
    assert page.tags.count("svg") >= 5
    assert page.tags.count("image") >= 2
    assert page.tags.count("b") == len(looked.advice) + len(data.remarks)


def test_too_little_is_said_and_no_error(
    tmp_path: Path, cache: Cache, home: Path, clips: list[Audio]
) -> None:
    soundfile.write(tmp_path / "short.wav", clips[1], 16_000)
    looked = inspect([tmp_path], settings=DatasetSettings(), cache=cache, home=home)
    assert not looked.usable
    assert looked.advice[0].mood == "bad"
    assert "too little" in looked.advice[0].text
    (tmp_path / "short.wav").write_bytes(b"RIFF" + bytes(99))
    looked = inspect([tmp_path], settings=SHORT, cache=cache, home=home)
    assert looked.rows == ()
    assert "svg" not in Text(write_report(looked, tmp_path / "r.html")).tags
    with pytest.raises(AudioError, match="no audio in"):
        inspect([home], settings=SHORT, cache=cache, home=home)


@pytest.mark.parametrize(
    ("quality", "pitch", "expected"),
    [
        ({}, {}, []),
        ({"clipped": 0.002}, {}, ["clipped"]),
        ({"clipped": 0.02}, {}, ["badly clipped"]),
        ({"noise_db": -35.0, "tonal": 0.0}, {}, ["noisy"]),
        ({"noise_db": -25.0, "tonal": 0.0}, {}, ["very noisy"]),
        ({"speech_db": -45.0, "noise_db": -99.0}, {}, ["very quiet"]),
        ({"bandwidth_hz": 4_000.0}, {}, ["telephone sound"]),
        ({"bandwidth_hz": 6_500.0}, {}, ["dull"]),
        ({"silence": 0.7}, {}, ["mostly silence"]),
        ({"tonal": 0.5, "noise_db": -50.0}, {}, ["music or hum in the pauses"]),
        ({"tonal": 0.5, "noise_db": -80.0}, {}, []),
        ({}, {"unsteady": 0.3}, ["a second voice, music or echo?"]),
        ({}, {"unsteady": None}, []),
        ({}, {"median_hz": 210.0}, ["another person?"]),
        ({}, {"median_hz": 0.0}, []),
    ],
)
def test_figures_become_notes_with_advice(
    quality: dict[str, float], pitch: dict[str, float], expected: list[str]
) -> None:
    heard, sung = GOOD.model_copy(update=quality), STEADY.model_copy(update=pitch)
    found = list(notes(heard, sung, 120.0, SHORT))
    assert found == expected
    assert set(found) <= set(WHAT_TO_DO)
